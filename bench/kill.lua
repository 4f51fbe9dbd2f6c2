-- How long an endless loop that keeps its errors to itself lives on after kill(): "name milliseconds" for bench/births.sh.
local atoll = require "atoll"

local code = {code = [[
  return {spin = function() while true do pcall(function() while true do end end) end end}]]}
local times = {}
for i = 1, tonumber((...)) or 300 do
  local w = atoll.spawn(code)
  local down
  atoll.monitor(w, function() down = atoll.now() end)
  w:send("spin")
  atoll.sleep(0.01 + i % 7 * 0.001) -- at another moment of the ticker's each time
  local start = atoll.now()
  w:kill()
  while not down do atoll.sleep(0.0002) end
  times[i] = (down - start) * 1000
end
table.sort(times)
print(("kill_median %.3f"):format(times[(#times + 1) // 2]))
print(("kill_worst %.3f"):format(times[#times]))
