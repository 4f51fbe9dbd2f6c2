#!/usr/bin/env bash
# SIGINT and SIGTERM in the middle of load end the runtime in order; a second one ends the process at once, 128 + its number.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

cat >"$scratch/load.lua" <<'LUA'
local atoll = require "atoll"
local all = {}
for i = 1, 8 do
  all[i] = atoll.spawn({code = [[
    local atoll = require "atoll"
    atoll.at_exit(function() print("child") end)
    return {sum = function(n) local s = 0 for i = 1, n do s = s + i end return s end}
  ]]})
end
atoll.at_exit(function() print("main") end)
for i = 1, 8 do
  atoll.task(function() while true do all[i]:call("sum", 1000) all[i]:send("sum", 10) end end)
end
print("ready")
io.stdout:flush()
LUA

cat >"$scratch/stuck.lua" <<'LUA'
local atoll = require "atoll"
atoll.at_exit(function()
  print("leaving")
  io.stdout:flush()
  atoll.sleep(100)
end)
atoll.task(function() atoll.sleep(100) end)
print("ready")
io.stdout:flush()
LUA

# told TEXT: waits until the program has printed it.
told() {
  local waited=0
  until grep -q "$1" "$scratch/out"; do
    sleep 0.02
    if ((++waited > 1500)); then
      echo "it never said '$1'"
      return 1
    fi
  done
}

# await STATUSES WHAT
await() {
  local status=0
  wait "$process" || status=$?
  [[ " $1 " == *" $status "* ]] && return
  echo "$2: status $status, expected $1"
  cat "$scratch/err"
  failed=1
}

for signal in INT TERM INT TERM; do
  : >"$scratch/out"
  "$ATOLL" run "$scratch/load.lua" >"$scratch/out" 2>"$scratch/err" &
  process=$!
  told ready
  kill "-$signal" "$process"
  # Their calls have no end: whom the signal finds at work is interrupted, and named.
  await "0 3" "SIG$signal under load"
  diff <(printf '%s\n' child child child child child child child child main ready) <(sort "$scratch/out") || failed=1

  : >"$scratch/out"
  "$ATOLL" run --deadline 30 "$scratch/stuck.lua" >"$scratch/out" 2>"$scratch/err" &
  process=$!
  told ready
  kill "-$signal" "$process"
  told leaving
  kill -INT "$process"
  await 130 "SIGINT after SIG$signal"
done
exit "$failed"
