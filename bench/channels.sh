#!/bin/sh
# Channels between Lua interpreters: items a second, a round trip, what waiting costs. Beside Erlang where it is installed
# (erlang-base), in turn. CPython's figures are those of DESIGN's machine: 3.13, queues between subinterpreters.
# Usage: bench/channels.sh [RUNS]    Environment: ATOLL (build/atoll)
set -eu
cd "$(dirname "$0")/.."
. bench/lib.sh
runs=${1:-5}
atoll=${ATOLL:-build/atoll}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if command -v erlc >/dev/null; then erlc -o "$work" bench/channels.erl; fi
i=0
while [ "$i" -lt "$runs" ]; do
  "$atoll" run --report none bench/channels.lua >>"$work/out"
  if [ -f "$work/channels.beam" ]; then
    erl -noshell -pa "$work" -eval 'channels:main(), halt().' >>"$work/out"
  fi
  i=$((i + 1))
done
awk "$medians"'
  { v[$1, ++n[$1]] = $2 }
  function of(name) { return median_of(v, n, name) }
  function rate(text, ns, cpython, goal) {
    printf "%-44s %8.1f ns %7.2f M/s   CPython %s   (goal %s)\n", text, ns, 1000 / ns, cpython, goal
  }
  END {
    rate("an integer, one sender, one receiver", of("integer"), "0.86 M/s", "5 M/s")
    rate("a string of 1 KiB", of("string"), "0.65 M/s", "3 M/s")
    record = of("record")
    printf "%-44s %8.1f ns", "a record {id, name, tags}", record
    if (n["erlang_record"] > 0) {
      erlang = of("erlang_record")
      printf "   Erlang %.1f ns   ratio %.2f   (goal 0.50)\n", erlang, record / erlang
    } else printf "   (Erlang: not installed; goal 0.50 of it)\n"
    printf "%-44s %8.1f ns   CPython 10137000 ns   (goal 3000 ns)\n", "a round trip through two channels", of("round_trip")
    printf "%-44s %8.3f ms of CPU a second, without them %.3f\n", "10,000 parked receivers", of("parked"), of("idle")
  }' "$work/out"
