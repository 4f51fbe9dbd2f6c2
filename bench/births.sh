#!/bin/sh
# Births, idle memory, kills and ends in large numbers, beside raw CAF in the same run: medians of RUNS, and the goals the
# project holds itself to.
# Usage: bench/births.sh [RUNS]    Environment: ATOLL (build/atoll), BENCH (build/bench), SCALE (1; 10 is a tenth of the large numbers)
set -eu
cd "$(dirname "$0")/.."
. bench/lib.sh
runs=${1:-3}
births=${BENCH:-build/bench}/births
atoll=${ATOLL:-build/atoll}
scale=${SCALE:-1}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
i=0
while [ "$i" -lt "$runs" ]; do
  "$births" time >>"$out"
  "$births" caf >>"$out"
  "$births" end $((10000 / scale)) 100 >>"$out"
  i=$((i + 1))
done
"$atoll" run bench/kill.lua >>"$out"
"$births" lua $((100000 / scale)) >>"$out"
"$births" lua_functions $((20000 / scale)) >>"$out"
"$births" native $((1000000 / scale)) >>"$out"
"$births" grow $((1000000 / scale)) >>"$out"
awk "$medians"'
  { v[$1, ++n[$1]] = $2 }
  function of(name) { return median_of(v, n, name) }
  function row(text, value, unit, goal) { printf "%-58s %10.1f %-5s  (goal %s)\n", text, value, unit, goal }
  END {
    row("raw CAF: an actor made and ended", of("caf"), "us", "the yardstick")
    row("native: an interpreter made and ended", of("native"), "us", "1.0 of CAF")
    row("Lua: made and ended, one after the other", of("lua_one"), "us", "25")
    row("Lua: made and ended, 1000 at a time", of("lua_many"), "us", "25")
    row("raw CAF: idle", of("caf_bytes"), "bytes", "the yardstick")
    row("native: idle", of("native_bytes"), "bytes", "1638")
    row("Lua: idle", of("lua_bytes"), "bytes", "10240")
    row("Lua: idle, with two functions and the atoll library", of("lua_functions_bytes"), "bytes", "none")
    row("all Lua interpreters of that run", of("lua_rss_mib"), "MiB", "4096 with 100000")
    row("all native interpreters of that run", of("native_rss_mib"), "MiB", "4096 with 1000000")
    row("an endless Lua loop that is killed: median", of("kill_median"), "ms", "100")
    row("an endless Lua loop that is killed: the slowest", of("kill_worst"), "ms", "100")
    row("finalization, each holds 100 of its neighbour'"'"'s objects", of("end_seconds") * 1000, "ms", "1500 with 10000")
    row("memory after a tenth of the births and ends", of("grow_10_percent_mib"), "MiB", "")
    row("after half", of("grow_50_percent_mib"), "MiB", "the same")
    row("after all", of("grow_100_percent_mib"), "MiB", "the same")
  }' "$out"
