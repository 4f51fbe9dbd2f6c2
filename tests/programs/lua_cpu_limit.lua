-- The processor time of a message is limited: it ends with an error that it cannot keep to itself, and nobody else is harmed.
-- expect: cpu_limit	spin used 0.1 s of processor time, which is the limit for a message
-- expect: cpu_limit	stubborn used 0.1 s of processor time, which is the limit for a message
-- expect: closed: true
-- expect: waits do not count: true
-- expect: messages do not add up: true
-- expect: what a task does in several stretches does: cpu_limit
-- expect: cpu_limit	the program used 0.05 s of processor time, which is the limit for a message
-- expect: down	failed	cpu_limit
-- expect: no limit: true

local atoll = require "atoll"
local code = [[
  local atoll = require "atoll"
  local closed = false
  local function compute(seconds)
    local done = os.clock() + seconds   -- of the whole process, so less than that of this thread
    while os.clock() < done do end
  end
  return {
    spin = function() while true do end end,
    stubborn = function()
      local t <close> = setmetatable({}, {__close = function() closed = true end})
      while true do
        pcall(function() while true do end end)
        coroutine.wrap(function() while true do end end)()
      end
    end,
    closed = function() return closed end,
    sleepy = function() for _ = 1, 5 do atoll.sleep(0.05) end return true end,
    compute = function(seconds) compute(seconds) return true end,
    stretches = function() while true do for _ = 1, 1e5 do end atoll.sleep(0) end end,
  }]]
local w = atoll.spawn({code = code}, {message_cpu = 0.1})

local function fails(f, ...)
  local _, e = pcall(f, ...)
  return e.code, e.message
end
print(fails(w.call, w, "spin"))
print(fails(w.call, w, "stubborn"))
print("closed: " .. tostring(w:call("closed")))
print("waits do not count: " .. tostring(w:call("sleepy")))
local all = true
for _ = 1, 20 do all = all and w:call("compute", 0.02) end
print("messages do not add up: " .. tostring(all))
print("what a task does in several stretches does: " .. fails(w.call, w, "stretches"))

local _, e = pcall(atoll.spawn, {code = "while true do end"}, {message_cpu = 0.05})
print(e.code, e.message)
atoll.task(pcall, atoll.spawn, {code = "require('atoll').sleep(0.05) while true do end"}, {name = "doomed", message_cpu = 0.05})
atoll.sleep(0.01)
local told
atoll.monitor(atoll.find("doomed"), function(down) told = down end)
while not told do atoll.sleep(0.01) end
print("down", told.reason, told.error.code)

local free = atoll.spawn({code = code}, {message_cpu = 0})
print("no limit: " .. tostring(free:call("compute", 0.2)))
