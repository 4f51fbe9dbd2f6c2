#!/bin/sh
# Messages, round trips and releases against a raw CAF message, in turn (A B C A B C ...): medians, and the ratios that
# the project holds itself to.
# Usage: bench/messages.sh [RUNS]    Environment: ATOLL (build/atoll), BENCH (build/bench)
set -eu
cd "$(dirname "$0")/.."
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
  i=$((i + 1))
done
sort "$out" | awk '
  { v[$1, ++n[$1]] = $2 }
  function sorted_median(k,   i, j, t) {
    for (i = 2; i <= n[k]; ++i) for (j = i; j > 1 && v[k, j - 1] > v[k, j]; --j) { t = v[k, j]; v[k, j] = v[k, j - 1]; v[k, j - 1] = t }
    return (n[k] % 2) ? v[k, (n[k] + 1) / 2] : (v[k, n[k] / 2] + v[k, n[k] / 2 + 1]) / 2
  }
  function row(text, a, b, goal) { printf "%-44s %9.1f ns %9.1f ns %7.2f  (goal %s)\n", text, a, b, a / b, goal }
  END {
    message = sorted_median("caf_message"); trip = sorted_median("caf_round_trip"); request = sorted_median("caf_request")
    printf "%-44s %12s %12s %7s\n", "", "atoll", "caf", "ratio"
    row("a message, Lua to Lua", sorted_median("lua_message"), message, "1.00")
    row("a call and its answer, Lua to Lua, to ping-pong", sorted_median("lua_round_trip"), trip, "1.50")
    row("the same, to CAF request/response", sorted_median("lua_round_trip"), request, "1.50")
    row("a release in bulk, native", sorted_median("native_release"), message, "0.08, or 15 ns")
    row("a release in bulk, Lua, with its collection", sorted_median("lua_release"), message, "0.80")
  }'
