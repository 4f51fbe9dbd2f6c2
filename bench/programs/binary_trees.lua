-- Binary trees: builds and counts many short-lived trees beside one that stays.
-- Watches: allocation and collection of small tables.
local depth_limit = tonumber((...)) or 15

local function grow(depth)
  if depth == 0 then return {} end
  return {grow(depth - 1), grow(depth - 1)}
end

local function count(tree)
  local left = tree[1]
  return left and 1 + count(left) + count(tree[2]) or 1
end

local function nodes(depth) return (1 << (depth + 1)) - 1 end

local long_lived = grow(depth_limit)
local built = 0
for depth = 4, depth_limit, 2 do
  local trees = 1 << (depth_limit - depth + 4)
  local sum = 0
  for _ = 1, trees do sum = sum + count(grow(depth)) end
  if sum ~= trees * nodes(depth) then error("binary_trees: counted " .. sum) end
  built = built + sum
end
if count(long_lived) ~= nodes(depth_limit) then error("binary_trees: the long-lived tree changed") end
print(("binary_trees: depth %d, %d nodes"):format(depth_limit, built))
