#!/usr/bin/env bash
# The first program of README.md prints what README.md shows below it.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# block LANGUAGE: the first fenced block of that language.
block() {
  awk -v open="\`\`\`$1" '$0 == "```" && inside { exit } inside { print } $0 == open { inside = 1 }' "$SOURCE_DIR/README.md"
}
block lua >"$scratch/bank.lua"
block text >"$scratch/shown"
[[ -s $scratch/bank.lua && -s $scratch/shown ]] || { echo "README.md has no program or no output"; exit 1; }
"$ATOLL" run "$scratch/bank.lua" >"$scratch/printed"
diff "$scratch/shown" "$scratch/printed"
