#!/usr/bin/env bash
# The command's words, statuses and complaints: what is the program's and what is atoll's, output that cannot be written.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
source "$(dirname "$0")/../expect.bash"

cd "$scratch"
echo 'print(#arg, ...)' >args.lua
echo 'local x = = 5' >broken.lua
echo 'local t = {} for i = 1, 1e8 do t[i] = ("x"):rep(100) .. i end' >hungry.lua
echo 'print "hello"' >hello.lua

expect 0 $'2\t--workers\t3' run args.lua --workers 3
expect 0 $'2\t--\t-z' run --workers 1 args.lua -- -z
expect 0 $'1\ty' run -- args.lua y
expect 2 '--nope' run --nope args.lua
expect 2 "there is no command 'frob'" frob
expect 2 'file is required' run
expect 2 "'nan' is no number of seconds" run --deadline nan args.lua
expect 2 "'99999999999g' is no number of bytes" run --memory 99999999999g args.lua
expect 2 'text,json,none' run --report xml args.lua
expect 2 'cannot read nowhere.lua: No such file or directory' run nowhere.lua
expect 1 "atoll: broken.lua:1: unexpected symbol near '='" run broken.lua
expect 1 "broken.lua:1: unexpected symbol near '='" check hello.lua broken.lua
expect 1 'not enough memory (--memory 2097152)' run --memory 2m hungry.lua
expect 1 'cannot write the report to /dev/full: No space left on device' run --report-file /dev/full hello.lua
expect 0 'atoll ' --version

# told DESCRIPTION STATUS TEXT: the last command failed with 1 and said TEXT.
told() {
  [[ $2 -eq 1 ]] && { [[ -z $3 ]] || grep -qF -e "$3" "$scratch/err"; } && return
  echo "FAILED: $1: status $2: $(cat "$scratch/err")"
  failed=1
}
status=0; "$ATOLL" run hello.lua >/dev/full 2>"$scratch/err" || status=$?
told 'a full disk is told' $status 'standard output could not be written whole'
status=0; "$ATOLL" run hello.lua >&- 2>"$scratch/err" || status=$?
told 'a closed standard output is told' $status 'standard output could not be written whole'
status=0; "$ATOLL" run --report json hello.lua >/dev/null 2>/dev/full || status=$?
: >"$scratch/err"
told 'a report that standard error does not take is a failure' $status ''
exit $failed
