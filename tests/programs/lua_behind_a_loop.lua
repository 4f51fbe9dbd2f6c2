-- What came in one envelope with the message of a long loop, behind it, does not wait for the loop's end; nor does a
-- task that became ready together with one that loops.
-- expect: answered before the loop was over: true
-- expect: the loop went on to its end: true
-- expect: answered behind three loops: true
-- expect: the other waiter went on before the loop was over: true
-- expect: timers set before a loop fire during it: true
-- expect: timers due after a loop began fire during it: true

local atoll = require "atoll"
local w = atoll.spawn{code = [[
  local atoll = require "atoll"
  local over = 0
  local function loop(seconds)
    local done = atoll.now() + seconds
    while atoll.now() < done do end
    over = over + 1
    return over
  end
  return {
    loop = loop,
    over = function() return over end,
    -- Two tasks wait for one future: the first to be woken loops.
    waiters = function(seconds)
      local before = over
      local f = atoll.task(atoll.sleep, 0.02)
      local looping = atoll.task(function() f:await() return loop(seconds) end)
      local other = atoll.task(function() f:await() return over == before end)
      local went_on = other:await()
      looping:await()
      return went_on
    end,
  }]]}

local loop, over = w:async("loop", 1.5), w:async("over") -- one turn, one envelope
print("answered before the loop was over: " .. tostring(over:await() == 0))
print("the loop went on to its end: " .. tostring(loop:await() == 1))

local loops = {w:async("loop", 1.5), w:async("loop", 1.5), w:async("loop", 1.5)}
over = w:async("over")
print("answered behind three loops: " .. tostring(over:await() == 1))
atoll.all(loops)

print("the other waiter went on before the loop was over: " .. tostring(w:call("waiters", 1.5)))

-- Timers that the turn of the loop set, and those that were due with it.
local ticks = {0, 0}
local every = atoll.every(0.01, function() ticks[1] = ticks[1] + 1 end)
loop = atoll.now() + 0.5
while atoll.now() < loop do end
every:cancel()
print("timers set before a loop fire during it: " .. tostring(ticks[1] > 3))

local first = atoll.task(function()
  atoll.sleep(0.05)
  local done = atoll.now() + 0.5
  while atoll.now() < done do end
  return ticks[2]
end)
atoll.after(0.06, function() ticks[2] = 1 end)
print("timers due after a loop began fire during it: " .. tostring(first:await() == 1))
