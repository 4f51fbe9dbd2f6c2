-- A monitor of a reference tells once that the owner ended, though the reference went long before; so does one set too late.
-- expect: down	owner	killed
-- expect: interpreter_gone	reference_released
-- expect: too late	gone
-- expect: over

local atoll = require "atoll"
local owner = atoll.spawn({code = "return {make = function() return setmetatable({}, {__atoll = 'ref'}) end}"}, {name = "owner"})
local kept, released = owner:call("make"), owner:call("make")
local told = 0
atoll.monitor(released, function(d)
  told = told + 1
  print("down", d.name, d.reason)
end)
atoll.monitor(kept, function() print("cancelled") end):cancel()
atoll.release(released)
owner:kill()
while told == 0 do atoll.sleep(0.001) end
local _, gone = pcall(atoll.get, kept, "x")
local _, empty = pcall(atoll.get, released, "x")
print(gone.code, empty.code)
atoll.monitor(kept, function(d)
  told = told + 1
  print("too late", d.reason)
end)
while told == 1 do atoll.sleep(0.001) end
atoll.sleep(0.02)
print(told == 2 and "over" or "told again")
