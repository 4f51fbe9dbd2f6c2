# For the scripts of tests/shell that run the command many times; sourced. They set `scratch`, and end with `exit "$failed"`.
failed=0
longest=20 # seconds

# expect STATUS TEXT WORD...: runs atoll with the words; its standard output and error together must contain TEXT.
expect() {
  local want=$1 text=$2 got=0
  shift 2
  timeout "$longest" "$ATOLL" "$@" >"$scratch/out" 2>&1 </dev/null || got=$?
  if [[ $got -ne $want ]] || ! grep -qF -e "$text" "$scratch/out"; then
    echo "FAILED: atoll $*: status $got, expected $want with '$text'"
    cat "$scratch/out"
    failed=1
  fi
}
