-- An interpreter that computes for long does not keep the others, or its own timers, from running; it can be interrupted.
-- options: --workers 1
-- expect: ticked while computing: true
-- expect: 200000000
-- expect: interrupted	interrupted
-- expect: alive

local atoll = require "atoll"
local w = atoll.spawn{code = [[
  return {
    count = function(n) local s = 0 for i = 1, n do s = s + 1 end return s end,
    forever = function() while true do pcall(function() while true do end end) end end,
    alive = function() return "alive" end,
  }]]}

local ticks = 0
local every = atoll.every(0.01, function() ticks = ticks + 1 end)
local f = w:async("count", 200000000)
local n = f:await()
print("ticked while computing: " .. tostring(ticks > 3))
print(n)
every:cancel()

local f = w:async("forever")
atoll.sleep(0.05)
w:interrupt()
local _, e = pcall(f.await, f, 5)
print(e.code, e.message)
print(w:call("alive"))
