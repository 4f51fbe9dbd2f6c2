#!/usr/bin/env bash
# atoll.exit in an exit handler sets the status, ends that handler and is no error; the others still run.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cat >"$scratch/program.lua" <<'LUA'
local atoll = require "atoll"
atoll.at_exit(function() print("the other") end)
atoll.at_exit(function() atoll.exit(4); print("not reached") end)
LUA
status=0
"$ATOLL" run "$scratch/program.lua" >"$scratch/out" 2>"$scratch/err" || status=$?
[[ $status -eq 4 ]] || { echo "status $status"; exit 1; }
diff <(echo "the other") "$scratch/out"
diff /dev/null "$scratch/err"
