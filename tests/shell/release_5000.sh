#!/usr/bin/env bash
# 5000 references held by one interpreter, dropped while their owner computes: every one is released, and the report says
# so. (CPython 3.13 loses 4700 of as many.)
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$ATOLL" run --strict --report json --report-file "$scratch/report" "$SOURCE_DIR/tests/programs/lua_release_5000.lua"
python3 - "$scratch/report" <<'PYTHON'
import json, sys
report = json.load(open(sys.argv[1]))
references = report["references"]
assert report["verdict"] == "clean", report
assert references["exported"] >= 5000 and references["released"] == references["exported"], references
assert references["leaked"] == [], references
PYTHON
