-- A TCP server whose connections are served by another interpreter, and its client.
-- expect: hello
-- expect: 10000000
-- expect: nil
-- expect: address_unavailable

local atoll = require "atoll"
local server = atoll.spawn{code = [[
  return {serve = function(c)
    local c <close> = c
    while true do
      local data = c:read()
      if not data or not c:write(data) then return end
    end
  end}]]}
local listener = atoll.net.listen("127.0.0.1:0", function(c) server:send("serve", c) end)

local c = atoll.net.connect(listener.address)
c:write("hel", "lo\r\n")
print(c:read("line"))

local big = ("x"):rep(1000000)
atoll.task(function() for _ = 1, 10 do c:write(big) end end)
local n = 0
while n < 10000000 do n = n + #c:read() end
print(n)
c:close()
print(c:read() == nil and "nil")
listener:close()
atoll.sleep(0.05)  -- the broker closes it in its own time
print(select(2, pcall(atoll.net.connect, listener.address)).code)
