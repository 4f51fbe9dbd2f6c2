#!/usr/bin/env bash
# tests/interleavings/catch_mutant.sh MUTANT: runs the search of a broken build; the search itself must say what is broken.
set -uo pipefail

out=$(timeout 270 "$1" --abort-after=1 2>&1)
status=$?
grep -m 1 -A 60 'broken:' <<<"$out"
if ((status == 0)); then
  echo "the mutant survived" >&2
  exit 1
fi
grep -q 'broken:' <<<"$out" || { echo "it failed with $status, but not by the search:"; tail -n 20 <<<"$out"; exit 1; } >&2
