#!/usr/bin/env bash
# Libraries are opened when a program's text first names them (guests/lua/libraries.hpp): nothing a program prints may tell
# the difference. Each of the programs below runs under atoll and under lua5.4.
set -euo pipefail

atoll=$ATOLL
command -v lua5.4 >/dev/null || { echo "skipped: there is no lua5.4"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# Programs, each begun by a line of dashes and what it is about.
awk '/^---- /{ ++n; next } { print >sprintf("%02d.lua", n) }' <<'PROGRAMS'
---- methods of strings, without a word of their library
print(("x"):upper(), #("ab"):rep(3), ("%d"):format(7))
---- fields of strings
local s = "abc"
print(s.nothing, s.len == s["len"], s[1])
---- arithmetic on strings
print("10" + 1, "3" * "4", -"2", 7 // "2", 2 ^ "3", "7" % 4, 1 - "1")
print(pcall(function() return "a" + 1 end))
print(pcall(function() return {} .. "" end))
---- a minus alone
print(-"5")
---- bits of strings, comparisons, concatenation
print(pcall(function() return "3" & 1 end))
print("a" < "b", 1 .. "")
---- a string where ipairs wants a table
for i, v in ipairs("abc") do print(i, v) end
print("none")
---- all globals
local names = {}
for name, value in pairs(_G) do names[#names + 1] = name .. " " .. type(value) end
table.sort(names)
print(table.concat(names, "\n"))
---- all globals, by next
local count, name = 0, nil
repeat
  name = next(_G, name)
  count = count + 1
until name == nil
print(count)
---- all that libraries have
local function list(name, of)
  local names = {}
  for key, value in pairs(of) do names[#names + 1] = name .. "." .. tostring(key) .. " " .. type(value) end
  table.sort(names)
  print(table.concat(names, "\n"))
end
for _, name in ipairs {"string", "table", "math", "io", "os", "coroutine", "utf8", "debug"} do list(name, _G[name]) end
list("strings", getmetatable(""))
---- names made at run time
for _, half in ipairs {"ing", "range"} do print(type(_G["str" .. half])) end
---- names made at run time, from the environment
print(type(_ENV["ma" .. "th"]), type(_ENV["no" .. "thing"]))
---- raw access
print(rawget(_G, "string") == string, rawget(_G, "nothing"), rawlen({1}), rawequal(_G, _ENV))
---- modules
print(require "string" == string, package.loaded.math == math, package.loaded._G == _G)
local names = {}
for name in pairs(package.loaded) do if name ~= "atoll" then names[#names + 1] = name end end
table.sort(names)
print(table.concat(names, " "))
print((select(2, pcall(require, "no.such.module")):gsub("\n.*", "")))
---- modules whose name begins like ours
print((select(2, pcall(function() return require("atoll" .. ".nothing") end)):gsub("\n.*", "")))
---- modules of a program's own
package.preload.mine = function(name, extra) return {name = name, extra = extra} end
print(require("mine").name, require("mine") == package.loaded.mine)
---- a global of a library's name
string = {own = true}
print(string.own, string.upper, ("a"):upper())
---- a global of a library's name, set through the environment
_ENV["str" .. "ing"] = 7
print(_ENV["string"], ("a"):upper())
---- a library that is changed
function string.twice(s) return s .. s end
print(("ab"):twice())
---- another environment
local out = print
local _ENV = {}
out(string, print, ("a"):upper())
---- another environment for a chunk
local sandbox = setmetatable({}, {__index = _G})
print(load("x = 1 return string.rep('x', 3), x", "chunk", "t", sandbox)(), x, sandbox.x)
---- code that names what the text does not
print(load("return ma" .. "th.pi > 3")())
print(load("return nothing")())
---- strict globals
setmetatable(_G, {__index = function(_, name) error("no global " .. name, 2) end, __newindex = function() error "no" end})
print(pcall(function() return undefined end))
print(pcall(function() return math.pi > 3 end))
---- the metatable of strings
print(getmetatable("").__index == string, getmetatable("").__name)
---- the metatable of strings, changed
getmetatable("").__index = function(s, key) return key .. " of " .. s end
print(("x").field)
---- errors name functions as ever
print(pcall(function() return math.floor("x") end))
print(pcall(function() return ("x"):rep({}) end))
print(pcall(function() return nothing() end))
print(pcall(function() local t = nil; return t.x end))
print(pcall(error, {code = 1}) , select("#", pcall(error)))
---- tracebacks name functions of libraries and globals
function a_global() error "here" end
local _, where = xpcall(function() table.sort({3, 2, 1}, function() a_global() end) end, debug.traceback)
print((where:gsub("\n%s*%[C%]: in %?", ""):gsub("\n[^\n]*main chunk.*", "")))
---- coroutines
local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end)
print(co(1), co(10), coroutine.isyieldable())
---- the rest
print(utf8.char(228, 8364), table.concat({1, 2, 3}, ","), os.time {year = 2000, month = 1, day = 1, hour = 12} > 0)
print(math.type(1), math.type(1.0), math.maxinteger)
io.write("written", "\n")
print(_VERSION, type(collectgarbage("count")), tostring(nil), tonumber("0x10"))
---- only assignments
x = 1
---- a comment that begins with --- and names nothing
--- -- - string
print(1)
---- numbers with exponents, no methods
print(1e3, 0x1p4, 3 .. "")
---- functions that were kept
local keep = type
print(keep(keep))
---- a global function, called before anything else is named
function f(n) if n > 0 then return f(n - 1) end return n end
print(f(3))
---- warnings
warn("@on")
---- attributes and to-be-closed variables
do
  local closed <close> = setmetatable({}, {__close = function() print("closed") end})
  local n <const> = 3
  print(n)
end
---- finalizers at the end
setmetatable({}, {__gc = function() print("collected") end})
PROGRAMS

failed=0 tried=0
for program in *.lua; do
  lua5.4 "$program" >expected 2>&1 || true
  timeout 60 "$atoll" run "$program" >got 2>&1 || true
  tried=$((tried + 1))
  if ! diff expected got >difference; then
    echo "FAILED: lua5.4 (<) and atoll (>) differ in"
    cat "$program" difference
    failed=1
  fi
done
[[ $tried -gt 30 ]] || { echo "FAILED: only $tried programs"; failed=1; }

# Texts that come later, one after the other, in one interpreter.
cat >later.lua <<'LUA'
local atoll = require "atoll"
local w = atoll.spawn {code = "return {}"}
for _, text in ipairs {
  "1 + 1", "type(nil)", "('x'):upper()", "math.floor(2.5)", "string.rep('y', 2)", "'7' * 6", "#_G.os.date()> 0",
  "getmetatable('').__index == string", "require 'atoll'.self() ~= nil", "require('table') == table",
  "select('#', next(package.loaded))",
} do
  print(text, w:eval(text))
end
w:stop()
-- What one text does to a library stays when another opens the rest.
local v = atoll.spawn {code = "function string.shout(s) return s:upper() .. '!' end string.rep = nil"}
print(v:eval("('a'):shout()"), v:eval("_G.string.rep"), v:eval("_G.string.shout('b')"))
v:stop()
LUA
timeout 60 "$atoll" run later.lua >got 2>&1 || { echo "FAILED: later.lua ends with $?"; failed=1; }
cat >expected <<'TEXT'
1 + 1	2
type(nil)	nil
('x'):upper()	X
math.floor(2.5)	2
string.rep('y', 2)	yy
'7' * 6	42
#_G.os.date()> 0	true
getmetatable('').__index == string	true
require 'atoll'.self() ~= nil	true
require('table') == table	true
select('#', next(package.loaded))	2
A!	nil	B!
TEXT
diff expected got || { echo "FAILED: texts that come later"; failed=1; }
exit $failed
