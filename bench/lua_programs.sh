#!/bin/sh
# Times every bench/programs/*.lua under the stock interpreter and under Atoll, in turn (A B A B ...), so that a machine
# whose speed drifts slows both alike; what counts is the ratio within a pair.
# Usage: bench/lua_programs.sh [RUNS] [PROGRAM...]      RUNS: pairs per program, 5 unless given
# Environment: STOCK (lua5.4) and ATOLL (build/atoll run): the two commands.
# Exit status: 1 when a program fails under either.
set -eu
cd "$(dirname "$0")/.."

runs=${1:-5}
[ $# -gt 0 ] && shift
stock=${STOCK:-lua5.4}
atoll=${ATOLL:-build/atoll run}
[ $# -gt 0 ] || set -- bench/programs/*.lua

times=$(mktemp)
trap 'rm -f "$times"' EXIT

# Wall seconds of one run.
seconds() {
  start=$(date +%s%N)
  "$@" >/dev/null || { echo "lua_programs: failed: $*" >&2; exit 1; }
  end=$(date +%s%N)
  echo "$start $end" | awk '{printf "%.6f", ($2 - $1) / 1e9}'
}

for program in "$@"; do
  # One uncounted run each brings files and code into memory. The commands may have arguments: unquoted on purpose.
  seconds $stock "$program" >/dev/null
  seconds $atoll "$program" >/dev/null
  i=0
  while [ "$i" -lt "$runs" ]; do
    a=$(seconds $stock "$program")
    b=$(seconds $atoll "$program")
    echo "$(basename "$program" .lua) $a $b" >>"$times"
    i=$((i + 1))
  done
done

awk '
  function median(list, n,    i, j, t) {
    for (i = 2; i <= n; i++)
      for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
  }
  function row(    r) {
    r = median(ratio, n)
    printf "%-18s %10.3f %10.3f %10.3f\n", name, median(stock, n), median(atoll, n), r
    logs += log(r); programs++; n = 0
  }
  BEGIN { printf "%-18s %10s %10s %10s\n", "program", "stock s", "atoll s", "ratio" }
  $1 != name { if (n) row(); name = $1 }
  { n++; stock[n] = $2; atoll[n] = $3; ratio[n] = $3 / $2 }
  END { if (n) row(); printf "%-18s %32.3f\n", "geometric mean", exp(logs / programs) }
' "$times"
