#!/usr/bin/env bash
# bench/kv.sh [ATOLL]: samples/kv with one shard against redis-server, by redis-benchmark on loopback.
# Both run at the same time and are measured in turn, so that what else the machine does meets both; prints medians.
# Goals: unpipelined at least 0.70 times redis-server, pipelined by 16 at least 0.25 times.
# KV_REQUESTS: requests of a run (100000; ten times as many when pipelined). KV_RUNS: runs (5). KV_CONNS: connection interpreters (1).
# KV_OPTIONS: options of `atoll run`.
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/lib.sh
atoll=${1:-build/atoll}
requests=${KV_REQUESTS:-100000}
runs=${KV_RUNS:-5}
for tool in redis-server redis-benchmark; do
  command -v "$tool" >/dev/null || { echo "bench/kv.sh needs $tool (Debian: redis-server, redis-tools)" >&2; exit 1; }
done
work=$(mktemp -d)
started=()
cleanup() {
  local pid
  for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT

# shellcheck disable=SC2086
"$atoll" run ${KV_OPTIONS:-} samples/kv/main.lua --port 0 --conns "${KV_CONNS:-1}" >"$work/kv" 2>&1 &
started+=($!)
kv_port=''
for _ in $(seq 200); do
  kv_port=$(sed -n 's/^kv: listening on .*:\([0-9]*\) (.*/\1/p' "$work/kv")
  [[ -z $kv_port ]] || break
  sleep 0.05
done
[[ -n $kv_port ]] || { echo "kv did not start: $(cat "$work/kv")" >&2; exit 1; }

redis_port=''
for candidate in $(seq $((20000 + $$ % 10000)) $((20010 + $$ % 10000))); do
  redis-server --port "$candidate" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >"$work/redis" 2>&1 &
  pid=$!
  for _ in $(seq 40); do
    if grep -q 'Ready to accept connections' "$work/redis"; then redis_port=$candidate; break; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  if [[ -n $redis_port ]]; then
    started+=("$pid")
    break
  fi
  kill "$pid" 2>/dev/null || true
done
[[ -n $redis_port ]] || { echo "redis-server did not start: $(cat "$work/redis")" >&2; exit 1; }

# measure WHO PORT PIPELINE REQUESTS: adds lines "who pipeline test requests/s"
measure() {
  redis-benchmark -p "$2" -t set,get -c 50 -P "$3" -n "$4" --csv 2>/dev/null |
    awk -F'"' -v who="$1" -v pipeline="$3" '$2 == "SET" || $2 == "GET" { print who, pipeline, $2, $4 }' >>"$work/figures"
}

: >"$work/figures"
for ((run = 1; run <= runs; run++)); do
  for pipeline in 1 16; do
    n=$((pipeline == 1 ? requests : requests * 10))
    measure redis "$redis_port" "$pipeline" "$n"
    measure kv "$kv_port" "$pipeline" "$n"
  done
done

awk -v runs="$runs" "$medians"'
  { key = $1 " " $2 " " $3; value[key, ++count[key]] = $4 }
  END {
    printf "%-5s %8s %16s %16s %8s %6s\n", "test", "pipeline", "redis-server/s", "kv/s", "ratio", "goal"
    split("1 16", pipelines); split("SET GET", tests)
    for (p = 1; p <= 2; p++) for (t = 1; t <= 2; t++) {
      name = pipelines[p] " " tests[t]
      redis = median_of(value, count, "redis " name); kv = median_of(value, count, "kv " name)
      if (!redis || !kv) { print "no figure for " name; failed = 1; continue }
      printf "%-5s %8d %16.0f %16.0f %8.2f %6.2f\n", tests[t], pipelines[p], redis, kv, kv / redis, p == 1 ? 0.70 : 0.25
    }
    printf "(medians of %d runs, 50 connections, one shard)\n", runs
    exit failed
  }' "$work/figures"
