#!/usr/bin/env bash
# A connection left open keeps no program running, and what was written to it still arrives.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cat >"$scratch/reader.lua" <<'LUA'
local atoll = require "atoll"
local listener
listener = atoll.net.listen("127.0.0.1:0", function(c)
  local n = 0
  for bytes in function() return c:read() end do n = n + #bytes end
  print(n .. " bytes and the end")
  listener:close()
end)
print(listener.address)
LUA
cat >"$scratch/writer.lua" <<'LUA'
kept = require "atoll".net.connect(...)
kept:write(("x"):rep(3000000))
LUA

timeout 20 "$ATOLL" run "$scratch/reader.lua" >"$scratch/out" &
for _ in {1..100}; do
  [[ -s $scratch/out ]] && break
  sleep 0.05
done
timeout 20 "$ATOLL" run "$scratch/writer.lua" "$(head -1 "$scratch/out")"
wait $!
tail -1 "$scratch/out" | diff <(echo "3000000 bytes and the end") -
