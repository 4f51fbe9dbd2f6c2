-- The RESP parser of samples/kv: whatever the reads cut a stream into, the same commands come out; what redis refuses is
-- refused with its words, from its header, before it is buffered.
-- expect: whole pipeline: 7 commands
-- expect: every single cut gives the same commands
-- expect: byte by byte gives the same commands
-- expect: 2 commands before the error: ERR Protocol error: invalid bulk length
-- expect: ERR Protocol error: invalid multibulk length
-- expect: ERR Protocol error: expected '$', got 'x'
-- expect: ERR Protocol error: too big inline request
-- expect: ERR Protocol error: too big mbulk count string
-- expect: ERR Protocol error: too big bulk count string
-- expect: ERR Protocol error: unbalanced quotes in request
-- expect: a bulk of 600 MB is refused: ERR Protocol error: invalid bulk length
-- expect: a request over the cap is refused: ERR Protocol error: too big request
-- expect: two parsers do not mix their halves
-- expect: a long command in small reads takes time in proportion
-- expect: numbers: 0 -1 9223372036854775807 -9223372036854775808 nil nil nil nil nil nil nil nil

package.path = (arg[0]:match("^(.*/)") or "./") .. "../../samples/kv/?.lua;" .. package.path
local resp = require "resp"
require "spec"

local function command(...)
  local parts = {"*" .. select("#", ...) .. "\r\n"}
  for _, s in ipairs{...} do parts[#parts + 1] = "$" .. #s .. "\r\n" .. s .. "\r\n" end
  return table.concat(parts)
end

-- Feeds the pieces and returns the commands as one printable text, their number, and the error.
local function parse(pieces)
  local parser, seen, count = resp.parser(), {}, 0
  for _, piece in ipairs(pieces) do
    local args, n, problem = parser:feed(piece)
    local i = 1
    while i <= n do
      local words = {}
      for k = 1, args[i] do words[k] = ("%q"):format(args[i + k]) end
      seen[#seen + 1] = table.concat(words, " ")
      count, i = count + 1, i + args[i] + 1
    end
    if problem then return table.concat(seen, "\n"), count, problem end
  end
  return table.concat(seen, "\n"), count
end

local stream = command("GET", "key") .. command("SET", "a\r\nb", "\0\255\r\n") .. "SET 'x y' \"\\x41\\n\"\r\n" ..
  command("mget", ("k"):rep(123), "", "z") .. "*0\r\n\r\nPING\n" .. command("DEL", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10") ..
  command("PING")
local want, count = parse{stream}
print("whole pipeline: " .. count .. " commands")

local same = true
for cut = 1, #stream - 1 do
  same = same and parse{stream:sub(1, cut), stream:sub(cut + 1)} == want
end
print(same and "every single cut gives the same commands" or "a cut changes the commands")

local bytes = {}
for c in stream:gmatch(".") do bytes[#bytes + 1] = c end
print(parse(bytes) == want and "byte by byte gives the same commands" or "byte by byte differs")

local _, before, problem = parse{command("PING") .. command("GET", "a") .. "*1\r\n$-5\r\n"}
print(before .. " commands before the error: " .. problem)
for _, bad in ipairs{
  "*abc\r\n", "*1\r\nx\r\n", ("y"):rep(70000), "*" .. ("1"):rep(70000), "*1\r\n$" .. ("1"):rep(70000), "GET 'a\r\n",
} do
  print((select(3, parse{bad})))
end
print("a bulk of 600 MB is refused: " .. select(3, parse{"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$629145600\r\n"}))

local cap = resp.max_request
resp.max_request = 100000
print("a request over the cap is refused: " ..
  select(3, parse{"*100\r\n" .. ("$60000\r\n" .. ("x"):rep(60000) .. "\r\n"):rep(2) .. "$1\r\n"}))
resp.max_request = cap

local a, b = resp.parser(), resp.parser()
local text_a, text_b = command("SET", "a", "1"), command("SET", "b", "2")
a:feed(text_a:sub(1, 17))
b:feed(text_b:sub(1, 25))
local args, n = a:feed(text_a:sub(18))
local got = table.concat(args, " ", 1, n)
args, n = b:feed(text_b:sub(26))
got = got .. " " .. table.concat(args, " ", 1, n)
print(got == "3 SET a 1 3 SET b 2" and "two parsers do not mix their halves" or "mixed: " .. got)

-- 100000 arguments in reads of 1000 bytes: beginning again with every read would take minutes.
local words = {"MSET"}
for i = 1, 100000 do words[#words + 1] = "argument" .. i end
local long, started, parser = command(table.unpack(words)), os.clock(), resp.parser()
n = 0
for pos = 1, #long, 1000 do args, n = parser:feed(long:sub(pos, pos + 999)) end
print(n == 100002 and args[n] == "argument100000" and os.clock() - started < 5 and
  "a long command in small reads takes time in proportion" or "a long command took " .. os.clock() - started .. " s")

local numbers = {}
for _, s in ipairs{
  "0", "-1", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809", "01", "-0", "+1",
  "1.0", "0x1", "",
} do
  numbers[#numbers + 1] = tostring(resp.parse_integer(s))
end
print("numbers: " .. table.concat(numbers, " "))
