#!/bin/sh
# What `atoll run --profile` costs: every bench/programs/*.lua with it and without, in turn (A B A B ...), so that a
# machine whose speed drifts slows both alike; what counts is the median ratio within a pair. Goal: at most 1.02.
# Usage: bench/profile.sh [RUNS] [PROGRAM...]      RUNS: pairs per program, 5 unless given
# Environment: ATOLL (build/atoll): the command. CPU=1: processor time instead of time on the clock.
# Exit status: 1 when a program fails or a profile is empty.
set -eu
cd "$(dirname "$0")/.."

runs=${1:-5}
[ $# -gt 0 ] && shift
atoll=${ATOLL:-build/atoll}
[ $# -gt 0 ] || set -- bench/programs/*.lua

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Seconds of one run. In a subshell of its own, whose only child it is: $(seconds ...).
seconds() {
  start=$(date +%s%N)
  "$@" >/dev/null || { echo "profile: failed: $*" >&2; exit 1; }
  end=$(date +%s%N)
  if [ -n "${CPU:-}" ]; then
    times >"$work/time"
    awk 'NR == 2 { gsub("[ms]", " "); print 60 * $1 + $2 + 60 * $3 + $4 }' "$work/time"
  else
    echo "$start $end" | awk '{printf "%.6f", ($2 - $1) / 1e9}'
  fi
}

for program in "$@"; do
  : "$(seconds "$atoll" run "$program")" # brings files and code into memory; not counted
  i=0
  while [ "$i" -lt "$runs" ]; do
    a=$(seconds "$atoll" run "$program")
    b=$(seconds "$atoll" run --profile "$work/folded" "$program")
    [ -s "$work/folded" ] || { echo "profile: no samples of $program" >&2; exit 1; }
    samples=$(awk '{n += $NF} END {print n}' "$work/folded")
    echo "$(basename "$program" .lua) $a $b $samples" >>"$work/times"
    i=$((i + 1))
  done
done

awk '
function median(values, n,   i, j, t) {
  for (i = 2; i <= n; i++)
    for (j = i; j > 1 && values[j - 1] > values[j]; j--) { t = values[j]; values[j] = values[j - 1]; values[j - 1] = t }
  return n % 2 ? values[(n + 1) / 2] : (values[n / 2] + values[n / 2 + 1]) / 2
}
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
