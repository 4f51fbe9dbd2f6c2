#!/bin/sh
# Times every bench/programs/*.lua under the stock interpreter and under Atoll, in turn (A B A B ...), so that a machine
# whose speed drifts slows both alike; what counts is the ratio within a pair.
# Usage: bench/lua_programs.sh [RUNS] [PROGRAM...]      RUNS: pairs per program, 5 unless given
# Environment: STOCK (lua5.4) and ATOLL (build/atoll run): the two commands.
# Exit status: 1 when a program fails under either.
set -eu
cd "$(dirname "$0")/.."
. bench/lib.sh

runs=${1:-5}
[ $# -gt 0 ] && shift
stock=${STOCK:-lua5.4}
atoll=${ATOLL:-build/atoll run}
[ $# -gt 0 ] || set -- bench/programs/*.lua

times=$(mktemp)
trap 'rm -f "$times"' EXIT

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

awk "$medians"'
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
