-- Three interpreters in a row; the slowest sets the pace, and who waits for room does other things meanwhile.
-- expect: in order	300
-- expect: never ahead by more than	9
-- expect: others went on	true
-- expect: done
local atoll = require "atoll"

local first, second = atoll.channel(3), atoll.channel(3)
local source = atoll.spawn({code = [[
  local atoll = require "atoll"
  local sent, others = 0, 0
  return {
    run = function(out) for i = 1, 300 do out:send(i); sent = i end out:close() end,
    poke = function() others = others + 1; return sent, others end,
  }]]}, {name = "source"})
local middle = atoll.spawn({code = [[
  return {run = function(from, to) for v in from:items() do to:send({v, v * 2}) end to:close() end}]]}, {name = "middle"})
source:send("run", first)
middle:send("run", first, second)

local n, ahead, others = 0, 0, 0
for pair in second:items() do
  n = n + 1
  assert(pair[1] == n and pair[2] == 2 * n)
  if n % 10 == 0 then
    atoll.sleep(0.001)
    local sent, poked = source:call("poke") -- its task waits for room; the interpreter answers
    ahead, others = math.max(ahead, sent - n), poked
  end
end
print("in order", n)
-- Three in each channel, one in the middle's hands, one the source waits with, and one just received.
print("never ahead by more than", ahead <= 9 and 9 or ahead)
print("others went on", others == 30)
print("done")
