# tests/programs/run_program.sh tells a program that meets its expectations from one that does not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# A stand-in for the command: prints its arguments, one a line, warns, ends with status 3.
cat >"$work/atoll" <<'STUB'
#!/usr/bin/env bash
printf '%s\n' "$@" "took 1.5e-3 s"
echo "careful: 1 leak" >&2
exit 3
STUB
chmod +x "$work/atoll"

# expect STATUS NAME PROGRAM-TEXT [EXPECTED-FILE-TEXT]
expect() {
  local status=0
  printf '%s\n' "$3" >"$work/program.lua"
  rm -f "$work/program.expected"
  [[ $# -lt 4 ]] || printf '%s\n' "$4" >"$work/program.expected"
  (cd "$work" && bash "$SOURCE_DIR/tests/programs/run_program.sh" ./atoll program.lua) >/dev/null || status=$?
  [[ $status -eq $1 ]] || { echo "$2: status $status, expected $1"; failed=1; }
}

right=$'-- options: --workers 2\n-- args: "a b" c\n-- expect: run\n-- expect: --workers\n-- expect: 2
-- expect: program.lua\n-- expect: a b\n-- expect: c\n-- expect: took <time> s\n-- expect-status: 3'
expect 0 "as expected" "$right"
expect 0 "an error text that is there" "$right"$'\n-- expect-error: 1 leak'
expect 1 "an error text that is not" "$right"$'\n-- expect-error: 2 leaks'
expect 1 "another status" "${right%3}0"
expect 1 "a line too many" "${right/-- expect: took <time> s/}"
expect 1 "a line too few" "$right"$'\n-- expect: more'
expect 1 "another line" "${right/: c/: d}"
expect 1 "nothing expected" "print(1)"
expect 77 "skipped" "-- skip: not here"
expect 0 "an expected file" $'-- expect-status: 3' $'run\nprogram.lua\ntook <time> s'
expect 1 "an expected file with another line" $'-- expect-status: 3' $'run\nprogram.lua\ntook <time> h'
expect 1 "a <time> that is no number" $'-- expect-status: 3' $'run\n<time>\ntook <time> s'
exit "$failed"
