#!/usr/bin/env bash
# --profile and --coverage of programs with several interpreters: what the files say, and paths that cannot be written.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
failed=0

# check DESCRIPTION COMMAND...
check() {
  local what=$1
  shift
  "$@" >"$scratch/check" 2>&1 && return
  echo "FAILED: $what"
  cat "$scratch/check"
  failed=1
}
run() { timeout 60 "$ATOLL" run "$@"; }

cat >busy.lua <<'LUA'
local atoll = require "atoll"
local until_then = os.clock() + 0.6
local function inner(n) local s = 0 for i = 1, n do s = s + i % 7 end return s end
local function outer() while os.clock() < until_then do inner(20000) end end
local w = atoll.spawn("worker.lua", {name = "w;1"})
local f = w:async("work", 0.6)
outer()
print(f:await())
LUA
cat >worker.lua <<'LUA'
local function in_coroutine(seconds)
  local done = os.clock() + seconds
  while os.clock() < done do local t = {} for i = 1, 100 do t[i] = i end end
end
return {
  work = function(seconds)
    coroutine.wrap(in_coroutine)(seconds)
    return "done"
  end,
}
LUA
check 'a profiled program does what it does' bash -c "[[ \$(timeout 60 '$ATOLL' run --profile out.folded busy.lua) == done ]]"
check 'stacks begin with the interpreter, callers first' grep -qE '^main;busy\.lua;outer \(busy\.lua:4\);inner \(busy\.lua:3\) [0-9]+$' out.folded
check 'a name keeps the form of stacks, coroutines are told' grep -qE '^w,1;.*in_coroutine|^w,1;\[coroutine\];function \(worker\.lua:1\) [0-9]+$' out.folded
check 'every line is a stack and a number' bash -c "! grep -vE '^[^;]+(;[^;]+)+ [0-9]+$' out.folded"
check 'there are samples enough' awk '{n += $NF} END {exit !(n >= 20 && n < 1000)}' out.folded

# Names that are no text of XML: a surrogate, U+FFFE, a long form of a letter, a character cut off.
mv worker.lua 'w<&>.lua' && sed 's/worker.lua/w<\&>.lua/; s/name = "w;1"/name = "é\\xed\\xa0\\x80\\xef\\xbf\\xbe\\xe0\\x81\\x81\\xc3"/' busy.lua >busy2.lua
run --profile out.svg busy2.lua >/dev/null
check 'a flame graph is a picture, whole' bash -c "head -2 out.svg | grep -q '<svg xmlns' && tail -1 out.svg | grep -qx '</svg>'"
check 'names are escaped' grep -q 'w&lt;&amp;&gt;.lua' out.svg
check 'and nowhere raw' bash -c "! grep -q 'w<&' out.svg"
if command -v python3 >/dev/null; then
  check 'the picture is XML' python3 -c 'import xml.dom.minidom as m; m.parse("out.svg")'
fi

cat >covered.lua <<'LUA'
local atoll = require "atoll"
local n = 0
for i = 1, 3 do
  n = n + i
end
local function never(x)
  if x then
    return 1
  end
end
local w = atoll.spawn("module.lua")
local v = atoll.spawn("module.lua")
print(n, w:call("f", 1), v:call("f", 2), v:call("f", 2))
w:kill()
LUA
cat >module.lua <<'LUA'
return {
  f = function(x)
    if x == 1 then
      return "one"
    end
    return "other"
  end,
}
LUA
check 'a covered program does what it does' bash -c "[[ \$(timeout 60 '$ATOLL' run --coverage lcov.info covered.lua) == \$'6\tone\tother\tother' ]]"
# lines FILE: "line:count ..." of the file's record
lines() { awk -v file="$1" -F: '$1 == "SF" {on = $2 == file} $1 == "DA" && on {sub(",", ":", $2); printf "%s ", $2 == "" ? $0 : $2 } ' lcov.info; }
lines covered.lua >got
check "lines of main: $(cat got)" grep -q '^1:1 2:1 3:[34] 4:3 6:1 7:0 8:0 10:0 11:1 12:1 13:1 14:1 $\|^1:1 2:1 3:[34] 4:3 7:0 8:0 10:[01] 11:1 12:1 13:1 14:1 $' got
lines module.lua >got
check "lines of two interpreters are added up, a killed one's too: $(cat got)" grep -q ' 3:3 4:1 6:2 ' got
check 'the sums are right' awk -F'[:,]' '/^SF/ {n = h = 0} /^DA/ {n++; h += $3 > 0} /^LF/ {bad += $2 != n} /^LH/ {bad += $2 != h} END {exit bad}' lcov.info

# Line hooks and yields from count hooks do not mix: a loop loses no iteration, and an interrupt still comes.
cat >long.lua <<'LUA'
local atoll = require "atoll"
local w = atoll.spawn{code = [[return {
  count = function(n) local s = 0 for i = 1, n do
    s = s + 1 end return s end,
  forever = function() while true do end end}]]}
local ticks = 0
local every = atoll.every(0.005, function() ticks = ticks + 1 end)
local s = 0
for i = 1, 3000000 do
  s = s + 1
end
local f = w:async("count", 3000000)
print(s, f:await(), ticks >= 0)
local g = w:async("forever")
atoll.sleep(0.05)
w:interrupt()
print(select(2, pcall(g.await, g, 5)).code)
every:cancel()
LUA
check 'under coverage loops are whole and interrupts come' bash -c "[[ \$(timeout 60 '$ATOLL' run --workers 2 --coverage lcov.info --profile out.folded long.lua) == \$'3000000\t3000000\ttrue\ninterrupted' ]]"
check 'a loop is counted whole' grep -qx 'DA:10,3000000' lcov.info

# refused OPTION PATH REASON: status 2, told, and the program did not run.
refused() {
  local status=0
  run "$1" "$2" covered.lua >out 2>err || status=$?
  check "$1 $2 is refused" bash -c "[[ $status -eq 2 && ! -s out ]] && grep -qF -e '$3' err"
}
refused --profile nowhere/out.folded 'cannot write the profile to nowhere/out.folded: No such file or directory'
refused --coverage . 'cannot write the coverage to .: Is a directory'
status=0
run --profile /dev/full busy2.lua >out 2>err || status=$?
check 'a full disk is told' bash -c "[[ $status -eq 1 ]] && grep -qF 'cannot write the profile to /dev/full: No space left on device' err"
exit $failed
