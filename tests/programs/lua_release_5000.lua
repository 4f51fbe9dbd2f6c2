-- One interpreter gets 5000 references from an owner, drops them while the owner computes, and every one is released.
-- tests/shell/release_5000.sh reads the report of this program.
-- expect: held: 5000
-- expect: the owner was busy when they were dropped
-- expect: held: 0

local atoll = require "atoll"
local owner = atoll.spawn({code = [[
  local atoll = require "atoll"
  return {
    make = function(n)
      local list = {}
      for i = 1, n do list[i] = setmetatable({i}, {__atoll = "ref"}) end
      return list
    end,
    compute = function(seconds)  -- pure Lua: never waits
      local n, stop = 0, os.clock() + seconds
      while os.clock() < stop do for i = 1, 1000 do n = n + i % 7 end end
      return n
    end,
    held = function() return atoll.self():stats().exports end,
  }
]]}, {name = "owner"})
local holder = atoll.spawn({code = [[
  local held
  return {
    take = function(owner) held = owner:call("make", 5000); return #held end,
    drop = function() held = nil; collectgarbage(); collectgarbage() end,
  }
]]}, {name = "holder"})

print("held: " .. holder:call("take", owner))
local busy = owner:async("compute", 0.3)
atoll.sleep(0.05)
holder:call("drop")
print(busy:done() and "the owner was done already" or "the owner was busy when they were dropped")
busy:await()
local left
for _ = 1, 1000 do  -- a release comes within a few turns of its owner
  left = owner:call("held")
  if left == 0 then break end
  atoll.sleep(0.001)
end
print("held: " .. left)
