-- Who holds this? The owner, the type and the holders of every object that others hold.
-- expect: thing of bank, held by holder, main
-- expect: function of bank, held by main
-- expect: 0
local atoll = require "atoll"
local bank = atoll.spawn({code = [[
  local atoll = require "atoll"
  local thing = setmetatable({}, {__atoll = "ref", __name = "thing"})
  return {thing = function() return thing end, action = function() return atoll.ref(function() end) end}
]]}, {name = "bank"})
local holder = atoll.spawn({code = [[
  local kept
  return {keep = function(r) kept = r end, drop = function() kept = nil; collectgarbage() end}
]]}, {name = "holder"})
local thing = bank:call("thing")
local action = bank:call("action")
holder:call("keep", thing)

local function held()
  return atoll.stats("references")
end
for _, r in ipairs(held()) do
  local names = {}
  for i, h in ipairs(r.holders) do names[i] = h.name end
  table.sort(names)
  assert(r.credit > 0)
  print(r.type .. " of " .. r.owner.name .. ", held by " .. table.concat(names, ", "))
end
holder:call("drop")
atoll.release(thing)
atoll.release(action)
while #held() > 0 do atoll.sleep(0.001) end
print(#held())
