#!/usr/bin/env bash
# C modules: several interpreters load one, end in every order, and its code is there until the last of them is closed.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export LUA_CPATH="$BUILD_DIR/tests/modules/?.so" PROBE_LOG="$scratch/log"
failed=0

# ends STATUS PROGRAM LINES...: the program's status, and whose finalizers ran, sorted.
ends() {
  local want=$1 status=0
  printf '%s\n' "$2" >"$scratch/program.lua"
  shift 2
  : >"$PROBE_LOG"
  timeout 60 "$ATOLL" run --deadline 1 "$scratch/program.lua" >"$scratch/out" 2>"$scratch/err" || status=$?
  if [[ $status -ne $want ]]; then
    echo "status $status, expected $want:"
    cat "$scratch/err"
    failed=1
  fi
  diff <(printf '%s\n' "$@") <(sort "$PROBE_LOG") || failed=1
}

# Closed in reverse order of their birth; main, which loaded it first, last.
ends 0 '
local atoll = require "atoll"
local probe = require "probe"
main_keeps = probe.new("main")
for i = 1, 3 do
  atoll.spawn({code = [[ local probe = require "probe" kept = probe.new("child " .. ...) return {} ]]}, {args = {i}})
end
assert(probe.live() == 4)' 'child 1' 'child 2' 'child 3' main

# The only one that loaded it ends long before the runtime; then it is loaded again.
ends 0 '
local atoll = require "atoll"
for i = 1, 20 do
  local w = atoll.spawn({code = [[ local probe = require "probe" kept = probe.new("again") return {} ]]})
  w:stop()
end' again again again again again again again again again again \
  again again again again again again again again again again

# A killed state is never closed: its objects are not finalized, and what others loaded still is.
ends 0 '
local atoll = require "atoll"
local probe = require "probe"
kept = probe.new("main")
for i = 1, 5 do
  local w = atoll.spawn({code = [[ local probe = require "probe" kept = probe.new("killed") return {} ]]})
  w:kill()
end
atoll.sleep(0.05)' main

# Objects in exit handlers, in finalizers of both sorts, and one that dies with the state.
ends 0 '
local atoll = require "atoll"
local probe = require "probe"
kept = probe.new("state")
atoll.at_exit(function() probe.new("handler") collectgarbage() end)
atoll.finalizer(nil, function() last = probe.new("finalizer") end, {priority = 1})
atoll.finalizer(nil, function() last = probe.new("last finalizer") end, {priority = -1})
setmetatable({}, {__gc = function() probe.live() end})' finalizer handler 'last finalizer' state

# A module that blocks past the deadline: its interpreter is abandoned, its code stays, the others end well.
ends 3 '
local atoll = require "atoll"
local probe = require "probe"
kept = probe.new("main")
local w = atoll.spawn({code = [[ local probe = require "probe" return {block = function() probe.block(5) end} ]]})
w:send("block")
atoll.sleep(0.05)' main
exit "$failed"
