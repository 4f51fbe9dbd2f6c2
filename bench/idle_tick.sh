#!/bin/sh
# What the tick that reaches busy guests costs while nothing waits: a loop of 10^9 iterations under the stock interpreter
# and under Atoll, in turn (A B A B ...), medians, and the ratio that the project holds itself to.
# Usage: bench/idle_tick.sh [RUNS] [ITERATIONS]      RUNS: pairs, 5 unless given
# Environment: STOCK (lua5.4) and ATOLL (build/atoll run): the two commands.
# Exit status: 1 when the program fails under either.
set -eu
cd "$(dirname "$0")/.."
. bench/lib.sh

runs=${1:-5}
iterations=${2:-1000000000}
stock=${STOCK:-lua5.4}
atoll=${ATOLL:-build/atoll run}

program=$(mktemp)
times=$(mktemp)
trap 'rm -f "$program" "$times"' EXIT
echo "local s = 0 for i = 1, $iterations do s = s + 1 end assert(s == $iterations)" >"$program"

i=0
while [ "$i" -lt "$runs" ]; do
  # The commands may have arguments: unquoted on purpose.
  a=$(seconds $stock "$program")
  b=$(seconds $atoll "$program")
  echo "$a $b" >>"$times"
  i=$((i + 1))
done

awk -v iterations="$iterations" "$medians"'
  { n++; stock[n] = $1; atoll[n] = $2; ratio[n] = $2 / $1 }
  END {
    printf "%-24s %10s %10s %10s\n", "", "stock s", "atoll s", "ratio"
    printf "%-24s %10.3f %10.3f %10.3f  (goal 1.01)\n", iterations " iterations", median(stock, n), median(atoll, n),
      median(ratio, n)
  }
' "$times"
