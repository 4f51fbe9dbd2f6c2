-- RESP2, the protocol of Redis: an incremental request parser, and the replies.
-- Why: this is the hot path of the server. A pipeline that arrives in one read is parsed in one pass into one flat list,
--   [argc, name, arg, ..., argc, name, arg, ...], with no table per command and no work per byte of an argument.
-- Ownership: a parser belongs to one connection. The list that `feed` returns is shared by all parsers of the
--   interpreter and is valid until the next `feed` of any of them: use it before waiting for anything.
-- Limits are those of redis 7: what is refused is refused from its header, before any of it is buffered.

local byte, sub, find, match = string.byte, string.sub, string.find, string.match
local concat, move = table.concat, table.move

local resp = {}

resp.max_bulk = 512 * 1024 * 1024     -- one argument
resp.max_request = 1024 * 1024 * 1024 -- one command whose end has not arrived
resp.max_line = 64 * 1024             -- an inline request, or the line that holds a length
local max_args = 0x7fffffff           -- counted, never allocated ahead

-- Replies ------------------------------------------------------------------------------------------------------------

resp.ok = "+OK\r\n"
resp.null = "$-1\r\n"
resp.empty_array = "*0\r\n"

-- The heads of short bulks, made once: formatting a number costs more than the rest of a reply.
local bulk_head = {}
for length = 0, 1023 do bulk_head[length] = "$" .. length .. "\r\n" end

function resp.bulk(s)
  return (bulk_head[#s] or "$" .. #s .. "\r\n") .. s .. "\r\n"
end
resp.bulk_head = bulk_head

function resp.integer(n) return ":" .. n .. "\r\n" end

-- What goes into an error line stays on one line, as in redis.
function resp.error(message)
  return "-" .. message:gsub("[\r\n]", " ") .. "\r\n"
end

-- `items` holds replies that are encoded already.
function resp.array(items, count)
  return "*" .. (count or #items) .. "\r\n" .. concat(items)
end

-- A whole number as redis reads it: no sign but '-', no leading zero, no space, 64 bits. Otherwise nil.
function resp.parse_integer(s)
  if #s > 20 or not (s == "0" or find(s, "^%-?[1-9]%d*$")) then return nil end
  local n = tonumber(s)
  return math.type(n) == "integer" and n or nil -- out of range, tonumber gives a float
end
local parse_integer = resp.parse_integer

-- Requests -----------------------------------------------------------------------------------------------------------

local escapes = {n = "\n", r = "\r", t = "\t", b = "\b", a = "\a"}

-- Splits an inline request; "..." knows escapes, '...' only \'. nil: the quotes do not match.
local function split_inline(line)
  local args, pos, size = {}, 1, #line
  while true do
    pos = find(line, "[^ \t\n\r\v\f\0]", pos)
    if not pos then return args end
    local parts = {}
    while pos <= size do
      local c = sub(line, pos, pos)
      if find(c, "[ \t\n\r\v\f\0]") then break end
      if c == '"' or c == "'" then
        pos = pos + 1
        while true do
          local d = sub(line, pos, pos)
          if d == "" then return nil end
          if d == c then break end
          if d == "\\" and c == '"' then
            local hex = match(line, "^\\x(%x%x)", pos)
            local e = sub(line, pos + 1, pos + 1)
            if e == "" then return nil end
            parts[#parts + 1] = hex and string.char(tonumber(hex, 16)) or escapes[e] or e
            pos = pos + (hex and 4 or 2)
          elseif d == "\\" and sub(line, pos + 1, pos + 1) == "'" then
            parts[#parts + 1] = "'"
            pos = pos + 2
          else
            parts[#parts + 1] = d
            pos = pos + 1
          end
        end
        pos = pos + 1
        if pos <= size and not find(line, "^[ \t\n\r\v\f\0]", pos) then return nil end
        break
      end
      local word = match(line, "^[^ \t\n\r\v\f\0\"']+", pos)
      parts[#parts + 1] = word
      pos = pos + #word
    end
    args[#args + 1] = concat(parts)
  end
end

-- The first 13 bytes of a command with a name of three letters, "*2\r\n$3\r\nGET\r\n", tell its count and name at once:
-- one look-up instead of five steps. Filled below by `know`, so bounded by the commands there are.
local prefix_argc, prefix_name = {}, {}

-- Tells the parser which command names are worth recognising whole.
function resp.know(name)
  if #name ~= 3 then return end
  for argc = 1, 9 do
    for _, spelled in ipairs{name:lower(), name:upper()} do
      local prefix = "*" .. argc .. "\r\n$3\r\n" .. spelled .. "\r\n"
      prefix_argc[prefix], prefix_name[prefix] = argc, spelled
    end
  end
end

local scratch = {} -- the shared list; given away or replaced when it would keep large strings alive

local parser = {}
parser.__index = parser

-- State between reads: `rest`, the bytes not parsed yet, in pieces; `want`, how many there must be before another
-- attempt makes sense; `partial`, the arguments of a command whose end is missing, and `left`, how many it still needs.
function resp.parser()
  return setmetatable({rest = {}, rest_size = 0, want = 0, partial = nil, partial_n = 0, left = 0, held = 0}, parser)
end

local function too_long(size, pos) return size - pos >= resp.max_line end

-- Reads the line with a length at `pos`: the number (nil if it is none) and where the next byte is; or false while
-- the line is incomplete.
local function length_line(buf, pos, size)
  local stop = find(buf, "\r", pos, true)
  if not stop or stop + 1 > size then return false, too_long(size, pos) end
  return parse_integer(sub(buf, pos + 1, stop - 1)), stop + 2
end

-- Takes what a read returned. Returns the flat list, how many of its values count, and a protocol error if there is one
-- (after the commands before it): answer it and close the connection.
function parser:feed(data)
  if self.rest_size > 0 then
    local pieces = self.rest
    pieces[#pieces + 1] = data
    self.rest_size = self.rest_size + #data
    if self.rest_size < self.want then return scratch, 0 end
    data = concat(pieces)
    self.rest, self.rest_size = {}, 0
  end

  local buf, pos, size = data, 1, #data
  local out, n, left = self.partial or scratch, self.partial_n, self.left
  local start = n -- how much of `out` is whole commands; only looked at when a command is incomplete
  local need, problem
  if self.partial then
    start = 0
    self.partial, self.partial_n, self.left = nil, 0, 0
  end

  while left > 0 or pos <= size do
    if left == 0 then
      start = n
      local prefix = sub(buf, pos, pos + 12)
      local argc = prefix_argc[prefix]
      if argc then
        out[n + 1], out[n + 2] = argc, prefix_name[prefix]
        n, left, pos = n + 2, argc - 1, pos + 13
      else
        local c, d, r, l = byte(buf, pos, pos + 3)
        if c ~= 42 then -- not '*': an inline request
          local stop = find(buf, "\n", pos, true)
          if not stop then
            if too_long(size, pos) then problem = "too big inline request" end
            need = size - pos + 2
            break
          end
          local words = split_inline(sub(buf, pos, stop - 1))
          if not words then
            problem = "unbalanced quotes in request"
            break
          end
          if #words > 0 then
            n = n + 1
            out[n] = #words
            move(words, 1, #words, n + 1, out)
            n = n + #words
          end
          pos = stop + 1
        elseif r == 13 and l and d >= 49 and d <= 57 then
          n, left, pos = n + 1, d - 48, pos + 4
          out[n] = left
        else
          local count, after = length_line(buf, pos, size)
          if count == false then
            if after then problem = "too big mbulk count string" end
            need = size - pos + 2
            break
          elseif not count or count > max_args then
            problem = "invalid multibulk length"
            break
          end
          pos = after
          if count > 0 then -- "*0" and "*-1" are nothing at all
            n, left = n + 1, count
            out[n] = left
          end
        end
      end
    end

    while left > 0 do
      local c, d1, d2, d3, d4 = byte(buf, pos, pos + 4)
      local length, from
      if c == 36 and d2 == 13 and d3 and d1 >= 48 and d1 <= 57 then
        length, from = d1 - 48, pos + 4
      elseif c == 36 and d3 == 13 and d4 and d1 >= 49 and d1 <= 57 and d2 >= 48 and d2 <= 57 then
        length, from = d1 * 10 + d2 - 528, pos + 5
      elseif not c then
        need = 1
        break
      else
        length, from = length_line(buf, pos, size)
        if length == false then
          if from then problem = "too big bulk count string" end
          need = size - pos + 2
          break
        elseif c ~= 36 then
          problem = "expected '$', got '" .. string.char(c) .. "'"
          break
        elseif not length or length < 0 or length > resp.max_bulk then
          problem = "invalid bulk length"
          break
        end
      end
      local last = from + length - 1
      if last + 2 > size then
        need = last + 3 - pos
        break
      end
      n = n + 1
      out[n] = sub(buf, from, last)
      pos, left = last + 3, left - 1
    end
    if need or problem then break end
  end

  if problem then return out, start, "ERR Protocol error: " .. problem end
  if need then
    if left > 0 then -- keep the arguments that are there
      self.left = left
      if start == 0 then
        self.partial, self.partial_n = out, n
        if out == scratch then scratch = {} end
        out = scratch
      else
        self.partial, self.partial_n = move(out, start + 1, n, 1, {}), n - start
      end
      n = start
    end
    if pos <= size then
      self.rest, self.rest_size, self.want = {sub(buf, pos)}, size - pos + 1, need
    end
    self.held = (n == 0 and self.held or 0) + pos - 1 -- bytes of it that are parsed
    if self.held + need > resp.max_request then return out, n, "ERR Protocol error: too big request" end
  else
    self.held = 0
  end
  if size > 16384 and out == scratch then scratch = {} end
  return out, n
end

return resp
