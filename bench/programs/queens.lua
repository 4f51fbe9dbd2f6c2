-- N queens: counts every placement by depth-first search over three arrays of free columns and diagonals.
-- Watches: array access, calls, closures; hardly any allocation.
local repeats = tonumber((...)) or 260
local size, solutions = 8, 92

local function new_board(n)
  local board = {n = n, row = {}, down = {}, up = {}}
  for i = 1, n do board.row[i] = true end
  for i = 1, 2 * n do board.down[i], board.up[i] = true, true end
  return board
end

local function count(board, column)
  local n, row, down, up = board.n, board.row, board.down, board.up
  if column > n then return 1 end
  local found = 0
  for r = 1, n do
    local d, u = r + column, r - column + n
    if row[r] and down[d] and up[u] then
      row[r], down[d], up[u] = false, false, false
      found = found + count(board, column + 1)
      row[r], down[d], up[u] = true, true, true
    end
  end
  return found
end

local total = 0
for _ = 1, repeats * 10 do total = total + count(new_board(size), 1) end
if total ~= solutions * repeats * 10 then error("queens: found " .. total) end
print(("queens: %d boards, %d solutions"):format(repeats * 10, total))
