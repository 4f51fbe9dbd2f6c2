-- An interpreter may have a shorter time slice than the others: those who wait beside it get their turns sooner.
-- options: --workers 1 --time-slice 0.2
-- expect: a call beside a slice of 4 ms is sooner answered than beside one of 200 ms: true
-- expect: the usual slice is kept: true
local atoll = require "atoll"
local code = {code = "return {loop = function() while true do end end}"}
local third = atoll.spawn{code = "return {f = function() end}"}

--- The middle one of the times that three short sleeps and calls take beside a loop.
local function beside(options)
  local w = atoll.spawn(code, options)
  w:send("loop")
  local times = {}
  for i = 1, 3 do
    local start = atoll.now()
    atoll.sleep(0.001) -- the loop begins another turn
    third:call("f")
    times[i] = atoll.now() - start
  end
  w:kill()
  table.sort(times)
  return times[2]
end

local usual = beside()
local short = beside{time_slice = 0.004}
local usual_again = beside()
print("a call beside a slice of 4 ms is sooner answered than beside one of 200 ms: " .. tostring(short < usual / 2))
print("the usual slice is kept: " .. tostring(usual > 0.15 and usual_again > 0.15))
