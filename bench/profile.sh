#!/bin/sh
# What `atoll run --profile` costs: every bench/programs/*.lua with it and without, in turn (A B A B ...), so that a
# machine whose speed drifts slows both alike; what counts is the median ratio within a pair. Goal: at most 1.02.
# Usage: bench/profile.sh [RUNS] [PROGRAM...]      RUNS: pairs per program, 5 unless given
# Environment: ATOLL (build/atoll): the command. CPU=1: processor time instead of time on the clock.
# Exit status: 1 when a program fails or a profile is empty.
set -eu
cd "$(dirname "$0")/.."
. bench/lib.sh

runs=${1:-5}
[ $# -gt 0 ] && shift
atoll=${ATOLL:-build/atoll}
[ $# -gt 0 ] || set -- bench/programs/*.lua

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Processor seconds of one run. In a subshell of its own, whose only child it is: $(processor_seconds ...).
processor_seconds() {
  "$@" >/dev/null || { echo "profile: failed: $*" >&2; exit 1; }
  times >"$work/time"
  awk 'NR == 2 { gsub("[ms]", " "); print 60 * $1 + $2 + 60 * $3 + $4 }' "$work/time"
}
measure=${CPU:+processor_}seconds

for program in "$@"; do
  : "$($measure "$atoll" run "$program")" # brings files and code into memory; not counted
  i=0
  while [ "$i" -lt "$runs" ]; do
    a=$($measure "$atoll" run "$program")
    b=$($measure "$atoll" run --profile "$work/folded" "$program")
    [ -s "$work/folded" ] || { echo "profile: no samples of $program" >&2; exit 1; }
    samples=$(awk '{n += $NF} END {print n}' "$work/folded")
    echo "$(basename "$program" .lua) $a $b $samples" >>"$work/times"
    i=$((i + 1))
  done
done

awk "$medians"'
function report(name,   i, r, p, q) {
  for (i = 1; i <= n; i++) { p[i] = off[i]; q[i] = on[i]; r[i] = on[i] / off[i] }
  t = median(r, n)
  for (i = 1; i <= n; i++) all[++m] = r[i]
  printf "%-18s %8.3f %8.3f %8d %7.3f\n", name, median(p, n), median(q, n), samples, t
}
BEGIN { printf "%-18s %8s %8s %8s %7s\n", "program", "off s", "on s", "samples", "ratio" }
$1 != last { if (n) report(last); n = 0; last = $1 }
{ n++; off[n] = $2; on[n] = $3; samples = $4 }
END {
  if (n) report(last)
  printf "%-18s %34.3f\n", "median of pairs", median(all, m)
}' "$work/times"
