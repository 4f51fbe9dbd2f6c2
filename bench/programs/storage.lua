-- Storage: trees of arrays of random lengths, dropped as soon as they are built.
-- Watches: allocation of tables with array parts of many sizes, and their growth.
local repeats = tonumber((...)) or 420

local seed
local function random(limit)
  seed = (seed * 1309 + 13849) & 0xffff
  return seed % limit
end

-- Four children a node; leaves are arrays of 1 to 10 slots, every eighth also a list grown element by element.
local function build(depth, counter)
  counter.nodes = counter.nodes + 1
  if depth == 1 then
    local slots = random(10) + 1
    local leaf = table.pack(table.unpack({}, 1, slots))
    if counter.nodes % 8 == 0 then
      for i = 1, slots * 4 do leaf[i] = i end
      counter.grown = counter.grown + #leaf
    end
    return leaf
  end
  local node = {}
  for i = 1, 4 do node[i] = build(depth - 1, counter) end
  return node
end

local function leaves(tree, depth)
  if depth == 1 then return 1 end
  local sum = 0
  for i = 1, #tree do sum = sum + leaves(tree[i], depth - 1) end
  return sum
end

local first_grown
for _ = 1, repeats do
  seed = 74755
  local counter = {nodes = 0, grown = 0}
  local tree = build(7, counter)
  first_grown = first_grown or counter.grown
  if counter.nodes ~= 5461 or counter.grown ~= first_grown then error("storage: built " .. counter.nodes) end
  if leaves(tree, 7) ~= 4096 then error("storage: leaves are missing") end
end
print(("storage: %d trees of 5461 nodes, %d grown slots each"):format(repeats, first_grown))
