-- Glob patterns as redis has them: * ? [abc] [^abc] [a-z] and \ before a character to be taken as it is.
-- Why: not one Lua pattern with ".*" for every star, because that backtracks exponentially, inside a C function that
--   nothing can interrupt. The pattern is cut at its stars; what lies between has a fixed width and is searched left to
--   right, which is right for globs and takes at most length times pattern steps.

local find, sub, char = string.find, string.sub, string.char

local glob = {}

-- One character as an item of a Lua pattern, in a set or outside.
local function literal(c)
  return find(c, "^%p") and "%" .. c or c
end

-- Redis orders the bytes of a range as C's signed char does.
local function signed(b) return b < 128 and b or b - 256 end

-- The set that opens at `pos` ("["): its pattern item (nil: nothing matches it) and the position after it.
local function set_at(pattern, pos)
  local i, negated = pos + 1, false
  if sub(pattern, i, i) == "^" then negated, i = true, i + 1 end
  local member = {}
  while true do
    local c = sub(pattern, i, i)
    if c == "" then break end -- never closed: it ends with the pattern
    if c == "\\" and i < #pattern then
      member[pattern:byte(i + 1)] = true
      i = i + 2
    elseif c == "]" then
      i = i + 1
      break
    elseif i + 2 <= #pattern and sub(pattern, i + 1, i + 1) == "-" then
      local from, to = signed(pattern:byte(i)), signed(pattern:byte(i + 2))
      if from > to then from, to = to, from end
      for b = from, to do member[b & 255] = true end
      i = i + 3
    else
      member[c:byte()] = true
      i = i + 1
    end
  end
  local parts = {}
  for b = 0, 255 do
    if member[b] then parts[#parts + 1] = literal(char(b)) end
  end
  if #parts == 0 then return negated and "." or nil, i end
  return (negated and "[^" or "[") .. table.concat(parts) .. "]", i
end

-- Cuts the pattern: a list of {Lua pattern, width}, one more than there are stars; nil when nothing can match.
local function compile(pattern)
  local pieces, parts, i = {}, {}, 1
  local function cut()
    pieces[#pieces + 1] = {table.concat(parts), #parts}
    parts = {}
  end
  while i <= #pattern do
    local c = sub(pattern, i, i)
    local item = nil
    if c == "*" then
      cut()
    elseif c == "?" then
      item = "."
    elseif c == "[" then
      item, i = set_at(pattern, i)
      if not item then return nil end
      i = i - 1
    else
      if c == "\\" and i < #pattern then
        i = i + 1
        c = sub(pattern, i, i)
      end
      item = literal(c)
    end
    if item then parts[#parts + 1] = item end
    i = i + 1
  end
  cut()
  return pieces
end

-- Returns a function that says whether a string matches the whole pattern.
function glob.matcher(pattern)
  if find(pattern, "^%*+$") then return function() return true end end
  local pieces = compile(pattern)
  if not pieces then return function() return false end end
  local count = #pieces
  local first, last = "^" .. pieces[1][1], "^" .. pieces[count][1]
  local first_width, last_width = pieces[1][2], pieces[count][2]
  if count == 1 then
    local whole = first .. "$"
    return function(s) return #s == first_width and find(s, whole) ~= nil end
  end
  return function(s)
    if #s < first_width + last_width or not find(s, first) then return false end
    local pos = first_width + 1
    for k = 2, count - 1 do
      local _, stop = find(s, pieces[k][1], pos)
      if not stop then return false end
      pos = stop + 1
    end
    local tail = #s - last_width + 1
    return tail >= pos and find(s, last, tail) ~= nil
  end
end

return glob
