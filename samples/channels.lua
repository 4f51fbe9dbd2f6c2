-- A channel carries values from interpreter to interpreter. It has room for a few; who is ahead waits.
local atoll = require "atoll"

local numbers, squares = atoll.channel(4), atoll.channel(4)

-- Each stage is an interpreter of its own; a channel is an argument like any other.
local source = atoll.spawn({code = [[
  return {run = function(out)
    for i = 1, 1000 do out:send(i) end  -- waits while four are there
    out:close()                         -- what is in it will still be received
  end}]]}, {name = "source"})
local squarer = atoll.spawn({code = [[
  return {run = function(from, to)
    for n in from:items() do to:send(n * n) end  -- until the channel is closed and empty
    to:close()
  end}]]}, {name = "squarer"})
source:send("run", numbers)
squarer:send("run", numbers, squares)

local sum = 0
for n in squares:items() do sum = sum + n end
print("sum of the squares", sum)

-- Nobody waits longer than it wants to.
local empty = atoll.channel(1)
print("recv", empty:recv(0.01))
empty:send("full now")
print("send", empty:send("no room", 0.01))
print("try_send", empty:try_send("no room"))

-- When the only sender ends, what it sent is still there; then the channel is closed.
local mail = atoll.channel()
local writer = atoll.spawn({code = "return {write = function(to) to:send('last words') end}"}, {name = "writer"})
writer:call("write", mail)
writer:kill()
print(mail:recv())
print(mail:recv())
