#!/usr/bin/env bash
# tests/simulation/catch_mutant.sh MUTANT: runs the simulation of a broken build over seeds from 1 on, until it notices. How
# many there are decides whether it survived, not how fast the machine is: a slow one takes a minute for the rarest.
set -uo pipefail

out=$(ATOLL_FIRST_SEED=1 ATOLL_SIMULATIONS=20000 ATOLL_SECONDS=240 timeout 270 "$1" -tc='simulation: fresh seeds' 2>&1)
status=$?
grep -m 3 -E 'logged:|CRASHED|replay:|schedules,|ERROR: AddressSanitizer' <<<"$out"
case $status in
  0) echo "the mutant survived" >&2; exit 1 ;;
  124) echo "the mutant hangs: the simulation ought to say so" >&2; exit 1 ;;
esac
grep -qE 'logged:|CRASHED|AddressSanitizer|runtime error' <<<"$out" || { echo "it failed, but not by the simulation:"; echo "$out"; exit 1; } >&2
