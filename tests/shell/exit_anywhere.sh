#!/usr/bin/env bash
# os.exit and atoll.exit, called from anywhere: the runtime ends in order, and the first status that was asked for counts.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# leaves STATUS OUTPUT PROGRAM: OUTPUT is what it prints, sorted, on one line.
leaves() {
  local status=0 out
  printf 'local atoll = require "atoll"\n%s\n' "$3" >"$scratch/program.lua"
  timeout 60 "$ATOLL" run "$scratch/program.lua" >"$scratch/out" 2>"$scratch/err" || status=$?
  out=$(sort "$scratch/out" | tr '\n' ' ')
  if [[ $status -ne $1 || ${out% } != "$2" || -s $scratch/err ]]; then
    printf 'expected status %s and "%s", got status %s and "%s":\n%s\n' "$1" "$2" "$status" "${out% }" "$3"
    cat "$scratch/err"
    failed=1
  fi
}

at_exit='atoll.at_exit(function() print("handler") end) atoll.finalizer(nil, function() print("last") end, {priority = -1})'

for exit in os.exit atoll.exit; do
  leaves 3 'handler last' "$at_exit $exit(3) print('not reached')"
  leaves 3 'handler last' "$at_exit atoll.task(function() atoll.sleep(0.01) $exit(3) print('not reached') end)"
  leaves 3 'handler last' "$at_exit atoll.after(0.01, function() $exit(3) end) atoll.task(function() atoll.sleep(100) end)"
  leaves 3 'handler last' "$at_exit atoll.at_exit(function() $exit(3) print('not reached') end)"
  leaves 3 'handler last' "$at_exit atoll.finalizer(nil, function() $exit(3) print('not reached') end, {priority = 1})"
  leaves 3 'handler last' "$at_exit atoll.finalizer(nil, function() $exit(3) print('not reached') end, {priority = -2})"
  leaves 3 'handler last' "$at_exit coroutine.wrap(function() pcall($exit, 3) print('not reached') end)()"
  leaves 3 'handler last' "$at_exit
    atoll.spawn({code = [[ local atoll = require 'atoll' atoll.task(function() atoll.sleep(0.01) $exit(3) end) ]]})
    atoll.task(function() atoll.sleep(100) end)"
  leaves 3 'handler last' "$at_exit
    local w = atoll.spawn({code = [[ local atoll = require 'atoll' return {leave = function() $exit(3) end} ]]})
    pcall(w.call, w, 'leave') atoll.sleep(100)"
  leaves 3 'child handler last' "$at_exit
    atoll.spawn({code = [[ local atoll = require 'atoll' atoll.at_exit(function() print('child') $exit(3) end) ]]})"
  leaves 1 'handler last' "$at_exit $exit(false)"
  leaves 0 'handler last' "$at_exit $exit(true)"
  leaves 0 'handler last' "$at_exit $exit()"
  leaves 5 'handler last' "$at_exit $exit(5, true)"
  # The first counts, whoever comes later, and in whichever phase.
  leaves 3 'handler last' "$at_exit atoll.at_exit(function() $exit(4) end) $exit(3)"
  leaves 4 'handler last' "$at_exit
    atoll.finalizer(nil, function() $exit(5) end, {priority = -3}) atoll.at_exit(function() $exit(4) end)"
done
exit "$failed"
