-- Channels between two Lua interpreters: prints "name figure" lines for bench/channels.sh. Nanoseconds for an item, or for a
-- round trip; `parked`: CPU milliseconds that ten thousand waiting receivers take in a second, beside what it takes without.
local atoll = require "atoll"
local n = tonumber((...)) or 1000000
local capacity = 1024

local peer = [[
  local atoll = require "atoll"
  local name, tags, kilobyte = ("n"):rep(32), {1, 2, 3}, ("k"):rep(1024)
  local make = {
    integer = function(c, n) for i = 1, n do c:send(i) end end,
    string = function(c, n) for i = 1, n do c:send(kilobyte) end end,
    record = function(c, n) for i = 1, n do c:send({id = i, name = name, tags = tags}) end end,
  }
  return {
    send = function(c, n, what) make[what](c, n) c:close() end,
    receive = function(c) local n = 0 for _ in c:items() do n = n + 1 end return n end,
    ping = function(c, d, n) for i = 1, n do c:send(i) d:recv() end end,
    pong = function(c, d, n) for i = 1, n do d:send((c:recv())) end end,
    park = function(n) for i = 1, n do atoll.task(function() atoll.channel():recv() end) end end,
  }
]]
local a, b = atoll.spawn({code = peer}, {name = "a"}), atoll.spawn({code = peer}, {name = "b"})

local function stream(what, count)
  local c = atoll.channel(capacity)
  local start = atoll.now()
  local sending = a:async("send", c, count, what)
  assert(b:call("receive", c) == count)
  sending:await()
  return (atoll.now() - start) / count * 1e9
end

local function round_trip(count)
  local c, d = atoll.channel(1), atoll.channel(1)
  local start = atoll.now()
  local ping = a:async("ping", c, d, count)
  b:call("pong", c, d, count)
  ping:await()
  return (atoll.now() - start) / count * 1e9
end

local function idle_cpu()
  local before = os.clock()
  atoll.sleep(1)
  return (os.clock() - before) * 1e3
end

for _, what in ipairs{"integer", "string", "record"} do
  stream(what, n // 10)
  print(string.format("%s %.1f", what, stream(what, n)))
end
round_trip(n // 20)
print(string.format("round_trip %.1f", round_trip(n // 5)))
local without = idle_cpu()
a:call("park", 10000)
print(string.format("idle %.3f", without))
print(string.format("parked %.3f", idle_cpu()))
a:kill()
