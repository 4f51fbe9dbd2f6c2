-- JSON: generates a document, encodes it, decodes the text and encodes that again; both texts must agree.
-- Watches: pattern matching, string pieces, tables with hash and array parts.
local repeats = tonumber((...)) or 60

local escapes = {['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r"}
local unescapes = {['"'] = '"', ["\\"] = "\\", ["/"] = "/", n = "\n", t = "\t", r = "\r", b = "\b", f = "\f"}

local encode

local function quote(s)
  return '"' .. s:gsub('[%c"\\]', function(c) return escapes[c] or ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function encode_array(list, out)
  out[#out + 1] = "["
  for i = 1, #list do
    if i > 1 then out[#out + 1] = "," end
    encode(list[i], out)
  end
  out[#out + 1] = "]"
end

local function encode_object(object, out)
  local keys = {}
  for key in pairs(object) do keys[#keys + 1] = key end
  table.sort(keys)
  out[#out + 1] = "{"
  for i, key in ipairs(keys) do
    out[#out + 1] = (i > 1 and "," or "") .. quote(key) .. ":"
    encode(object[key], out)
  end
  out[#out + 1] = "}"
end

function encode(value, out)
  local kind = type(value)
  if kind == "string" then
    out[#out + 1] = quote(value)
  elseif kind == "table" then
    if value[1] ~= nil or next(value) == nil then encode_array(value, out) else encode_object(value, out) end
  else
    out[#out + 1] = tostring(value)
  end
end

local function to_text(value)
  local out = {}
  encode(value, out)
  return table.concat(out)
end

local decode

local function fail(text, at, wanted)
  error(("json: expected %s at %d, near %q"):format(wanted, at, text:sub(at, at + 10)))
end

local function skip(text, at) return text:find("%S", at) or #text + 1 end

local function decode_string(text, at)
  local first, parts = at + 1, nil
  while true do
    local stop = text:find('["\\]', first)
    if not stop then fail(text, at, "the end of a string") end
    local piece = text:sub(first, stop - 1)
    if text:byte(stop) == 34 then
      return parts and table.concat(parts) .. piece or piece, stop + 1
    end
    parts = parts or {}
    parts[#parts + 1] = piece
    local letter = text:sub(stop + 1, stop + 1)
    if letter == "u" then
      parts[#parts + 1] = utf8.char(tonumber(text:sub(stop + 2, stop + 5), 16))
      first = stop + 6
    else
      parts[#parts + 1] = unescapes[letter] or fail(text, stop, "an escape")
      first = stop + 2
    end
  end
end

local function decode_array(text, at)
  local list, n = {}, 0
  at = skip(text, at + 1)
  if text:byte(at) == 93 then return list, at + 1 end
  while true do
    n = n + 1
    list[n], at = decode(text, at)
    at = skip(text, at)
    local c = text:byte(at)
    if c == 93 then return list, at + 1 end
    if c ~= 44 then fail(text, at, "',' or ']'") end
    at = at + 1
  end
end

local function decode_object(text, at)
  local object, key = {}, nil
  at = skip(text, at + 1)
  if text:byte(at) == 125 then return object, at + 1 end
  while true do
    at = skip(text, at)
    key, at = decode_string(text, at)
    at = skip(text, at)
    if text:byte(at) ~= 58 then fail(text, at, "':'") end
    object[key], at = decode(text, at + 1)
    at = skip(text, at)
    local c = text:byte(at)
    if c == 125 then return object, at + 1 end
    if c ~= 44 then fail(text, at, "',' or '}'") end
    at = at + 1
  end
end

local words = {["true"] = true, ["false"] = false}

local function decode_atom(text, at)
  local _, stop, number = text:find("^(%-?%d+%.?%d*[eE]?[+-]?%d*)", at)
  if number then return tonumber(number), stop + 1 end
  local word = text:match("^%a+", at)
  if word == nil or words[word] == nil then fail(text, at, "a value") end
  return words[word], at + #word
end

function decode(text, at)
  at = skip(text, at)
  local c = text:byte(at)
  if c == 34 then return decode_string(text, at) end
  if c == 123 then return decode_object(text, at) end
  if c == 91 then return decode_array(text, at) end
  return decode_atom(text, at)
end

local function document(people, salt)
  local list = {}
  for i = 1, people do
    list[i] = {
      id = i * salt,
      name = "person \"" .. i .. "\"\n",
      active = i % 3 == 0,
      score = i + 0.5,
      tags = {"t" .. i % 7, "u" .. i % 11, "plain"},
      address = {street = i .. " Reef Road", city = "Lagoon\t" .. i % 13, position = {i / 4, -i / 8}},
    }
  end
  return {version = 1, people = list, empty = {}}
end

local bytes = 0
for round = 1, repeats do
  local text = to_text(document(600, round))
  local back = decode(text, 1)
  if #back.people ~= 600 or back.people[600].id ~= 600 * round then error("json: people were lost") end
  if back.people[7].name ~= "person \"7\"\n" then error("json: a string changed") end
  if to_text(back) ~= text then error("json: the second text differs") end
  bytes = bytes + #text
end
print(("json: %d documents, %d bytes"):format(repeats, bytes))
