-- Strings: concatenation in a loop, table.concat, string.format, gsub, rep and reverse, checked against each other.
-- Watches: short and long strings, string buffers, and their collection.
local repeats = tonumber((...)) or 110

local function by_operator(n)
  local s = ""
  for i = 1, n do s = s .. i .. "," end
  return s
end

local function by_table(n)
  local parts = {}
  for i = 1, n do parts[#parts + 1] = i .. "," end
  return table.concat(parts)
end

local function by_format(n)
  local parts = {}
  for i = 1, n do parts[i] = string.format("%d,", i) end
  return table.concat(parts)
end

local function expand(template, values)
  return (template:gsub("%${(%w+)}", values))
end

local function page(rows)
  local lines = {}
  for i = 1, rows do
    lines[i] = expand("<li id='${id}'>${name} costs ${price}</li>",
                      {id = i, name = "item" .. i % 97, price = string.format("%.2f", i * 0.25)})
  end
  return "<ul>\n" .. table.concat(lines, "\n") .. "\n</ul>"
end

local function caesar(text, by)
  return (text:gsub("%l", function(c) return string.char((c:byte() - 97 + by) % 26 + 97) end))
end

local bytes = 0
for round = 1, repeats do
  local n = 1000 + round
  local a, b, c = by_operator(n), by_table(n), by_format(n)
  if a ~= b or b ~= c then error("string_building: three ways, different strings") end
  local html = page(1500)
  if select(2, html:gsub("<li ", "")) ~= 1500 then error("string_building: rows are missing") end
  if caesar(caesar(html, 7), 19) ~= html then error("string_building: the cipher does not come back") end
  local words = {}
  for word in html:gmatch("%w+") do words[word] = (words[word] or 0) + 1 end
  if words.costs ~= 1500 then error("string_building: miscounted " .. words.costs) end
  local long = ("x" .. round):rep(20000, "-")
  if #long:reverse():upper() ~= #long then error("string_building: a long string changed size") end
  bytes = bytes + #a + #html + #long
end
print(("string_building: %d rounds, %d bytes"):format(repeats, bytes))
