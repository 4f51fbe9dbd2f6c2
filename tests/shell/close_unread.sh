#!/usr/bin/env bash
# A server that answers and closes before it has read everything: its client can still send the rest and is not reset, which
# would throw away what it has not read yet.
set -euo pipefail
command -v python3 >/dev/null || exit 77
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cat >"$scratch/server.lua" <<'LUA'
local atoll = require "atoll"
local listener
listener = atoll.net.listen("127.0.0.1:0", function(c)
  c:read("line")
  c:write("answer\n")
  c:close()
  atoll.sleep(3)
  listener:close()
end)
print(listener.address)
LUA

timeout 20 "$ATOLL" run "$scratch/server.lua" >"$scratch/out" &
for _ in {1..100}; do
  [[ -s $scratch/out ]] && break
  sleep 0.05
done
timeout 20 python3 - "$(head -1 "$scratch/out")" <<'PYTHON'
import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
with socket.create_connection((host, int(port))) as c:
    c.sendall(b"hello\n" + b"unread" * 1000000)
    c.shutdown(socket.SHUT_WR)
    got = b""
    while piece := c.recv(65536):
        got += piece
    assert got == b"answer\n", got
PYTHON
wait $!
