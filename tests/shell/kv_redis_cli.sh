# samples/kv under the clients of redis: what they are told, what bad clients do to it, load, and Ctrl-C.
# Once with one shard, once with three shards and two connection interpreters.
# KV_REQUESTS: how many requests each load run makes.
set -euo pipefail
trap "" PIPE  # a server that closes on a bad client is an error of that write, not the end of this script
for tool in redis-cli redis-benchmark; do
  command -v "$tool" >/dev/null || { echo "skipped: no $tool (Debian: redis-tools)"; exit 77; }
done
requests=${KV_REQUESTS:-100000}
work=$(mktemp -d)
server=''
load=''
cleanup() {
  [[ -z $load ]] || kill -KILL "$load" 2>/dev/null || true
  [[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
failed=0
fail() {
  echo "FAILED ($config): $*"
  failed=1
}
die() {
  fail "$@"
  echo '--- standard output'; cat "$work/out"
  echo '--- standard error'; cat "$work/err"
  exit 1
}

# start OPTION...: starts the server on a free port; sets server, port
start() {
  : >"$work/out"
  "$ATOLL" run --report json --report-file "$work/report" "$SOURCE_DIR/samples/kv/main.lua" --port 0 "$@" \
    >"$work/out" 2>"$work/err" &
  server=$!
  port=''
  for _ in $(seq 200); do
    port=$(sed -n 's/^kv: listening on .*:\([0-9]*\) ([0-9]* shards\{0,1\})$/\1/p' "$work/out")
    [[ -z $port ]] || return 0
    kill -0 "$server" 2>/dev/null || die "the server ended at once"
    sleep 0.05
  done
  die "the server does not say where it listens"
}

# finish: Ctrl-C; the server must end in order, in time, and report so
finish() {
  local status=0 waited=0
  kill -INT "$server"
  while kill -0 "$server" 2>/dev/null; do
    ((++waited <= 300)) || die "not ended 15 s after SIGINT"
    sleep 0.05
  done
  wait "$server" || status=$?
  server=''
  [[ $status -eq 0 ]] || fail "exit status $status after SIGINT: $(cat "$work/err")"
  grep -q '"verdict": *"clean"' "$work/report" || fail "the report is not clean: $(cat "$work/report" 2>&1)"
}

cli() { timeout 20 redis-cli -p "$port" "$@"; }

# is WANT ARG...: redis-cli with these arguments prints exactly that
is() {
  local want=$1 got
  shift
  got=$(cli "$@" 2>&1) || got="$got (status $?)"
  [[ $got == "$want" ]] || fail "$*: got '$got', expected '$want'"
}

# sends WANT BYTES: these bytes (printf's notation) on a connection of their own are answered so, and the connection ends
sends() {
  local status=0
  exec 3<>"/dev/tcp/127.0.0.1/$port"
  { printf -- "$2" >&3; } 2>/dev/null || true
  timeout 10 cat <&3 >"$work/reply" 2>/dev/null || status=$?
  exec 3>&-
  printf -- "$1" >"$work/want"
  [[ $status -ne 124 ]] || fail "the connection stays open after: ${2:0:60}"
  cmp -s "$work/want" "$work/reply" || fail "sent ${2:0:60}: got '$(head -c 200 "$work/reply" | cat -v)', expected '$1'"
}

check_commands() {
  is PONG ping
  is OK set greeting 'hello world'
  is 'hello world' get greeting
  is '' get nothing
  is '' set greeting x NX
  is 'hello world' set greeting bye GET
  is 'ERR wrong number of arguments for '\''get'\'' command' get
  is 'ERR unknown command '\''foo'\'', with args beginning with: '\''a'\'' ' foo a
  is 'ERR DB index is out of range' select 1
  is 10 incrby counter 10
  is 'ERR value is not an integer or out of range' incr greeting
  is OK mset a 1 b 2 c 3 d 4
  is $'1\n2\n\n4' mget a b none d
  is 3 exists a a b none
  is 2 del a b none
  is 5 append word hello
  is ell getrange word 1 3
  is OK set short x PX 50
  is OK set longer x EX 100
  is 100 ttl longer
  sleep 0.4
  is '' get short
  is 6 dbsize # greeting counter c d word longer
  is $'c' keys '[a-c]'
  is $'save' config get save
  is OK flushall
  is 0 dbsize
}

check_binary() {
  local size
  for size in 1 65536 8000000; do
    head -c "$size" /dev/urandom >"$work/blob"
    cli -x set blob <"$work/blob" >/dev/null
    is "$size" strlen blob
    cli --raw get blob | head -c "$size" >"$work/blob.back"
    cmp -s "$work/blob" "$work/blob.back" || fail "a value of $size random bytes came back changed"
  done
  is OK flushall
}

check_pipe_and_scan() {
  local told found
  awk 'BEGIN { for (i = 0; i < 20000; i++) { k = "key:" i; v = "value " i
    printf "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", length(k), k, length(v), v } }' >"$work/pipe"
  told=$(cli --pipe <"$work/pipe" | tail -n 1)
  [[ $told == 'errors: 0, replies: 20000' ]] || fail "--pipe: $told"
  is 20000 dbsize
  is 'value 12345' get key:12345
  found=$(cli --scan --pattern 'key:*' | sort -u | wc -l)
  [[ $found -eq 20000 ]] || fail "--scan found $found of 20000 keys"
  is OK flushall
}

check_bad_clients() {
  sends '+PONG\r\n+OK\r\n' 'PING\r\nQUIT\r\nPING\r\n'
  sends '+OK\r\n$3\r\na b\r\n+OK\r\n' 'SET inline "a b"\nget inline\r\nquit\r\n'
  sends '+OK\r\n$1\r\nv\r\n:1\r\n+OK\r\n' \
    '*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*1\r\n$4\r\nQUIT\r\n'
  sends '+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n' 'PING\r\n*x\r\nPING\r\n'
  sends '-ERR Protocol error: invalid bulk length\r\n' '*1\r\n$x\r\n'
  sends '-ERR Protocol error: invalid bulk length\r\n' '*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$629145600\r\n'
  sends "-ERR Protocol error: expected '\$', got 'x'\\r\\n" '*1\r\nx\r\n'
  sends '-ERR Protocol error: unbalanced quotes in request\r\n' 'GET "a\r\n'
  sends '-ERR Protocol error: too big inline request\r\n' "$(head -c 70000 /dev/zero | tr '\0' x)"

  # Half a command, and nothing more.
  exec 3<>"/dev/tcp/127.0.0.1/$port"
  printf '*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$100\r\nabc' >&3
  exec 3>&-
  # Half a command, others meanwhile, then the rest.
  exec 3<>"/dev/tcp/127.0.0.1/$port"
  printf '*3\r\n$3\r\nSET\r\n$4\r\nrest\r\n$6\r\nabc' >&3
  is PONG ping
  is '' get rest
  printf 'def\r\n*1\r\n$4\r\nQUIT\r\n' >&3
  [[ $(timeout 10 cat <&3) == $'+OK\r\n+OK\r' ]] || fail "the rest of a command was not answered"
  exec 3>&-
  is abcdef get rest
  is '' get half
  # Noise: whatever it is answered, the server goes on.
  for _ in 1 2 3; do
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    { head -c 100000 /dev/urandom >&3; } 2>/dev/null || true
    exec 3>&-
  done
  is PONG ping
  is OK flushall
}

check_load() {
  local options
  for options in '' '-P 16'; do
    # shellcheck disable=SC2086
    timeout 50 redis-benchmark -p "$port" -t set,get -n "$requests" -c 50 -q $options >"$work/load" 2>&1 ||
      fail "redis-benchmark $options: status $?: $(tail -c 300 "$work/load")"
    if grep -qi error "$work/load"; then fail "redis-benchmark $options: $(grep -i error "$work/load" | head -n 3)"; fi
    tr '\r' '\n' <"$work/load" | grep 'requests per second' | sed "s/^/$config ${options:--P 1}: /" || true
  done
}

check_start_errors() {
  local status=0
  "$ATOLL" run "$SOURCE_DIR/samples/kv/main.lua" --port x >"$work/other" 2>&1 || status=$?
  [[ $status -eq 2 ]] && grep -q -e "--port needs a number from 0 to 65535, not 'x'" "$work/other" ||
    fail "--port x: status $status, $(cat "$work/other")"
  status=0
  timeout 20 "$ATOLL" run "$SOURCE_DIR/samples/kv/main.lua" --port "$port" >"$work/other" 2>&1 || status=$?
  [[ $status -eq 1 ]] && grep -q "127.0.0.1:$port" "$work/other" ||
    fail "a taken port: status $status, $(cat "$work/other")"
}

for config in '--shards 1' '--shards 3 --conns 2'; do
  # shellcheck disable=SC2086
  start $config
  check_commands
  check_binary
  check_pipe_and_scan
  check_bad_clients
  if [[ $config == '--shards 1' ]]; then check_start_errors; fi
  check_load
  finish
done

config='Ctrl-C under load'
start --shards 2
redis-benchmark -p "$port" -t set,get -n 100000000 -c 20 -P 4 -q >"$work/load" 2>&1 &
load=$!
sleep 1
finish
kill -KILL "$load" 2>/dev/null || true
wait "$load" 2>/dev/null || true
load=''

exit "$failed"
