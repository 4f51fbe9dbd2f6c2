#!/usr/bin/env bash
# A host program that leaves without ending its runtime neither crashes nor hangs: tests/exits/main.cpp, each way several times.
set -euo pipefail
failed=0
leaves() {
  local status round
  for round in 1 2 3 4 5 6 7 8; do
    status=0
    timeout 60 "$BUILD_DIR/tests/exits" "$1" 2>/dev/null || status=$?
    [[ $status -eq $2 ]] && continue
    echo "exits $1: status $status in round $round, expected $2"
    failed=1
    break
  done
}
# What is never ended is never freed, and nobody claims otherwise.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
leaves static 3
leaves exit 4
leaves thread 5
leaves turn 6
leaves leaked 7
leaves quick 8
exit "$failed"
