-- Messages between two Lua interpreters: prints "name nanoseconds" lines for bench/messages.sh.
local atoll = require "atoll"
local n = tonumber((...)) or 1000000

local receiver = atoll.spawn({code = [[
  local sum = 0
  return {put = function(i) sum = sum + i end, echo = function(i) return i end, sum = function() return sum end}
]]}, {name = "receiver"})

local function message(count)
  local start = atoll.now()
  for i = 1, count do receiver:send("put", 1) end
  receiver:call("sum")
  return (atoll.now() - start) / count * 1e9
end

local function round_trip(count)
  local start = atoll.now()
  for i = 1, count do receiver:call("echo", i) end
  return (atoll.now() - start) / count * 1e9
end

message(n // 10)
print(string.format("message %.1f", message(n)))
assert(receiver:call("sum") == n + n // 10)
print(string.format("round_trip %.1f", round_trip(n // 5)))

-- Letting go of references that the collector finds: from the start of a collection until the owner has dropped the last.
local owner = atoll.spawn({code = [[
  local thing = {__atoll = "ref"}
  return {give = function(count)
    local all = {}
    for i = 1, count do all[i] = setmetatable({}, thing) end
    return all
  end}
]]}, {name = "owner"})

local function release(count)
  local held = {}
  while #held < count do table.move(owner:call("give", 1000), 1, 1000, #held + 1, held) end
  collectgarbage()
  held = nil
  local start = atoll.now()
  collectgarbage()
  while owner:stats().exports > 0 do end
  return (atoll.now() - start) / count * 1e9
end

release(n // 10)
print(string.format("release %.1f", release(n // 2)))
