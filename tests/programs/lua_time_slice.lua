-- An interpreter may have a longer time slice than the others: its turns last so long while others wait, and no longer.
-- options: --workers 1
-- expect: a call beside a slice of 10 ms is sooner answered than beside one of 200 ms: true
-- expect: the long slice is kept: true
-- expect: both loops go on: true
local atoll = require "atoll"
local code = {code = "local n = 0 return {loop = function() while true do n = n + 1 end end, n = function() return n end}"}
local third = atoll.spawn{code = "return {f = function() end}"}

--- The middle one of the times that three short sleeps and calls take beside a loop.
local function beside(loop)
  loop:send("loop")
  local times = {}
  for i = 1, 3 do
    local start = atoll.now()
    atoll.sleep(0.001) -- the loop begins another turn
    third:call("f")
    times[i] = atoll.now() - start
  end
  table.sort(times)
  return times[2]
end

local short, long = atoll.spawn(code), atoll.spawn(code, {time_slice = 0.2})
local short_time = beside(short)
local before = short:call("n")
short:kill()
local long_time = beside(long)
print("a call beside a slice of 10 ms is sooner answered than beside one of 200 ms: " .. tostring(short_time < long_time))
print("the long slice is kept: " .. tostring(long_time > 0.15))
local a = long:call("n")
print("both loops go on: " .. tostring(before > 0 and long:call("n") > a))
long:kill()
