-- Waiting for long is no deadlock: a timer, a socket, a worker in a C function, a message that comes late.
-- expect: slept
-- expect: heard	late
-- expect: worked	true	exit	0
-- expect: timeout	nil	timeout
local atoll = require "atoll"
atoll.sleep(0.9)
print("slept")
local listener = atoll.net.listen("127.0.0.1:0", function(c)
  atoll.sleep(0.9)
  c:write("late\n")
  c:close()
end)
local c <close> = atoll.net.connect(listener.address)
print("heard", c:read("line"))
listener:close()
local worker = atoll.spawn{code = [[return {work = function() return os.execute("sleep 0.9") end}]]}
print("worked", worker:call("work"))
print("timeout", atoll.channel(1):recv(0.9))
