#!/bin/sh
# Messages, round trips and releases against a raw CAF message, in turn (A B C A B C ...): medians, and the ratios that
# the project holds itself to.
# Usage: bench/messages.sh [RUNS]    Environment: ATOLL (build/atoll), BENCH (build/bench)
set -eu
cd "$(dirname "$0")/.."
. bench/lib.sh
runs=${1:-5}
atoll=${ATOLL:-build/atoll}
bench=${BENCH:-build/bench}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
i=0
while [ "$i" -lt "$runs" ]; do
  "$bench/caf_raw" | sed 's/^/caf_/' >>"$out"
  "$atoll" run bench/messages.lua | sed 's/^/lua_/' >>"$out"
  "$bench/releases" | sed 's/^/native_/' >>"$out"
  "$bench/native_calls" | sed 's/^/native_/' >>"$out"
  i=$((i + 1))
done
awk "$medians"'
  { v[$1, ++n[$1]] = $2 }
  function of(name) { return median_of(v, n, name) }
  function row(text, a, b, goal) { printf "%-44s %9.1f ns %9.1f ns %7.2f  (goal %s)\n", text, a, b, a / b, goal }
  END {
    message = of("caf_message"); trip = of("caf_round_trip"); request = of("caf_request")
    printf "%-44s %12s %12s %7s\n", "", "atoll", "caf", "ratio"
    row("a message, Lua to Lua", of("lua_message"), message, "1.00")
    row("a call and its answer, Lua to Lua, to ping-pong", of("lua_round_trip"), trip, "1.50")
    row("the same, to CAF request/response", of("lua_round_trip"), request, "1.50")
    row("a call and its answer, native co_await", of("native_round_trip"), trip, "that of Lua")
    row("a release in bulk, native", of("native_release"), message, "0.08, or 15 ns")
    row("a release in bulk, Lua, with its collection", of("lua_release"), message, "0.80")
  }' "$out"
