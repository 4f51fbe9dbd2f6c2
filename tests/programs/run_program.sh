#!/usr/bin/env bash
# run_program.sh ATOLL FILE.lua: runs `ATOLL run OPTIONS FILE ARGS` and compares.
#
# Expectations are comments at the start of a line of FILE:
#   -- expect: TEXT          the next line of standard output, exactly
#   -- expect-error: TEXT    standard error contains TEXT (may be given several times)
#   -- expect-status: N      the exit status (default 0)
#   -- args: ...             the program's arguments, quoted as in a shell
#   -- options: ...          options of `atoll run`
#   -- skip: REASON          not run (exit status 77)
# With FILE.expected beside it (FILE without .lua), that is the whole standard output instead, and the
# program runs from the current folder; otherwise it runs in its own, so that messages say `FILE:LINE`.
# `<time>` in an expected line stands for any number.
#
# A program that expects nothing (no output, error or status) is a failure: it would test nothing.

set -euo pipefail

atoll=$(realpath "$1")
file=$(realpath "$2")
expected_file=${file%.lua}.expected

fail() {
  echo "FAILED $file: $*"
  failed=1
}

declare -a expected=() errors=() args=() options=()
status_expected='' failed=0
while IFS= read -r line || [[ -n $line ]]; do
  [[ $line =~ ^--\ (expect|expect-error|expect-status|args|options|skip):\ ?(.*)$ ]] || continue
  text=${BASH_REMATCH[2]}
  case ${BASH_REMATCH[1]} in
    expect) expected+=("$text") ;;
    expect-error) errors+=("$text") ;;
    expect-status) status_expected=$text ;;
    args) eval "args+=($text)" ;;
    options) eval "options+=($text)" ;;
    skip) echo "skipped: $text"; exit 77 ;;
  esac
done <"$file"

if [[ -f $expected_file ]]; then
  mapfile -t expected <"$expected_file"
  program=$(realpath --relative-to=. "$file")
else
  if [[ ${#expected[@]} -eq 0 && ${#errors[@]} -eq 0 && -z $status_expected ]]; then
    fail "it has no '-- expect' comment and no .expected file"
    exit 1
  fi
  cd "$(dirname "$file")"
  program=$(basename "$file")
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

status=0
"$atoll" run ${options[@]+"${options[@]}"} "$program" ${args[@]+"${args[@]}"} \
  >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
mapfile -t actual <"$scratch/out"

# matches EXPECTED ACTUAL
matches() {
  [[ $1 == "$2" ]] && return 0
  [[ $1 == *'<time>'* ]] || return 1
  local pattern
  pattern=$(sed -e 's/[][\.*^$+?(){}|]/\\&/g' -e 's/<time>/[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?/g' <<<"$1")
  [[ $2 =~ ^$pattern$ ]]
}

if [[ $status -ne ${status_expected:-0} ]]; then
  fail "exit status $status, expected ${status_expected:-0}"
fi
for ((i = 0; i < ${#expected[@]} || i < ${#actual[@]}; i++)); do
  if ((i >= ${#actual[@]})); then
    fail "output ends before line $((i + 1)): ${expected[i]}"
    break
  elif ((i >= ${#expected[@]})); then
    fail "output goes on at line $((i + 1)): ${actual[i]}"
    break
  elif ! matches "${expected[i]}" "${actual[i]}"; then
    fail "output line $((i + 1))"
    printf '  expected: %s\n  got:      %s\n' "${expected[i]}" "${actual[i]}"
    break
  fi
done
for text in ${errors[@]+"${errors[@]}"}; do
  grep -qF -e "$text" "$scratch/err" || fail "standard error does not contain: $text"
done

if ((failed)); then
  printf -- '--- ran: %s' "$atoll run"
  printf ' %q' ${options[@]+"${options[@]}"} "$program" ${args[@]+"${args[@]}"}
  echo
  echo '--- standard output'; cat "$scratch/out"
  echo '--- standard error'; cat "$scratch/err"
fi
exit "$failed"
