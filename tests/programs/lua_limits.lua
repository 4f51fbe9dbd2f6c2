-- Limits of calls and of interpreters: each refuses what is too much, says what and whose it is, and harms nothing else.
-- expect: limit_reached	no further interpreter: interpreter 2 'parent' may have 3 at a time, which live already
-- expect: grandchildren count: limit_reached
-- expect: room again when one has ended: true
-- expect: timeout	no answer within 0.05 s, which is the limit for calls of interpreter <time> 'hasty'
-- expect: a future too: timeout
-- expect: by a reference: timeout
-- expect: quick calls are answered: 100
-- expect: the callee went on: true
-- expect: chain of 10: 10
-- expect: limit_reached
-- expect: 10 calls, each made by the one before it, wait for each other: deeper of interpreter <time> may make no further one to interpreter <time> (limit 10)
-- expect: still there: 10
-- expect: bad argument #2 to 'atoll.spawn' (message_cpu must be a number of seconds, or 0 for no limit)
-- expect: bad argument #2 to 'atoll.spawn' (high_water must be a whole number from 1)
-- expect: senders wait at 4 messages: true

local atoll = require "atoll"

-- interpreters
local parent = atoll.spawn({code = [[
  local atoll = require "atoll"
  local children = {}
  return {
    more = function() children[#children + 1] = atoll.spawn{code = [=[
      local atoll = require "atoll"
      return {more = function() return (pcall(atoll.spawn, {code = ""})) end,
              why = function() local _, e = pcall(atoll.spawn, {code = ""}) return e.code end}]=]} end,
    less = function() table.remove(children):stop() end,
    why = function() return children[1]:call("why") end,
  }]]}, {name = "parent", interpreters = 3})
for _ = 1, 3 do parent:call("more") end
local _, e = pcall(parent.call, parent, "more")
print(e.code, e.message)
print("grandchildren count: " .. parent:call("why"))
parent:call("less")
print("room again when one has ended: " .. tostring(pcall(parent.call, parent, "more")))
parent:stop()

-- calls that are not answered
local slow = atoll.spawn{code = [[
  local atoll = require "atoll"
  local over = 0
  local object = atoll.ref{sleep = function() atoll.sleep(0.2) over = over + 1 end}
  return {sleep = function() atoll.sleep(0.2) over = over + 1 end, quick = function() return 1 end,
          over = function() return over end, object = function() return object end}]]}
local hasty = atoll.spawn({code = [[
  local atoll = require "atoll"
  local slow = ...
  local function fails(f, ...) local _, e = pcall(f, ...) return e.code, e.message end
  return {
    call = function() return fails(slow.call, slow, "sleep") end,
    future = function() local f = slow:async("sleep") return fails(f.await, f) end,
    reference = function() local r = slow:call("object") return fails(r.sleep, r) end,
    quick = function() local n = 0 for _ = 1, 100 do n = n + slow:call("quick") end return n end,
  }]]}, {name = "hasty", args = {slow}, call_time = 0.05})
print(hasty:call("call"))
print("a future too: " .. hasty:call("future"))
print("by a reference: " .. hasty:call("reference"))
print("quick calls are answered: " .. hasty:call("quick"))
local patience = atoll.now() + 30
while slow:call("over") < 3 and atoll.now() < patience do atoll.sleep(0.02) end
print("the callee went on: " .. tostring(slow:call("over") == 3))

-- calls that wait for each other
local code = {code = [[
  local other
  return {
    meet = function(w) other = w end,
    deeper = function(n) if n <= 1 then return 1 end return 1 + other:call("deeper", n - 1) end,
  }]]}
local a, b = atoll.spawn(code, {call_depth = 10}), atoll.spawn(code, {call_depth = 10})
a:call("meet", b)
b:call("meet", a)
print("chain of 10: " .. a:call("deeper", 10))
local _, e = pcall(a.call, a, "deeper", 11)
print(e.code)
print(e.message)
print("still there: " .. a:call("deeper", 10))

-- options
local function says(f, ...)
  local _, e = pcall(f, ...)
  print((tostring(e):gsub("^.-: ", "", 1)))
end
says(atoll.spawn, {code = ""}, {message_cpu = "much"})
says(atoll.spawn, {code = ""}, {high_water = 0})

local full = atoll.spawn({code = [[return {spin = function() local t = os.clock() while os.clock() < t + 0.3 do end end,
                                          ping = function() end}]]}, {high_water = 4})
full:send("spin")
local start, sent = atoll.now(), 0
while sent < 1000 and atoll.now() < start + 30 do full:send("ping", ("x"):rep(4000)) sent = sent + 1 end
print("senders wait at 4 messages: " .. tostring(sent == 1000 and atoll.now() > start + 0.05))
