-- With --seed, random numbers repeat from run to run, and differ from one interpreter to the next.
-- options: --seed 42
-- expect: true
-- expect: true
local atoll = require "atoll"
local mine = math.random(1 << 40)
math.randomseed(42, atoll.self().id)
print(mine == math.random(1 << 40))
local w = atoll.spawn {code = "return {random = function() return math.random(1 << 40) end}"}
print(w:call("random") ~= mine)
