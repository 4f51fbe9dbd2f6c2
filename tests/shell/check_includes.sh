# scripts/check-includes catches each kind of wrong include, and lets right ones pass.
set -euo pipefail
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

# verdict FILE INCLUDE: pass or fail, of a tree of that one file.
verdict() {
  rm -rf "${tree:?}"/*
  mkdir -p "$tree/$(dirname "$1")"
  printf '#include %s\n' "$2" >"$tree/$1"
  if bash "$SOURCE_DIR/scripts/check-includes" "$tree" >/dev/null; then echo pass; else echo fail; fi
}

failed=0
while read -r expected file include; do
  got=$(verdict "$file" "$include")
  [[ $got == "$expected" ]] || { echo "$file with #include $include: $got, expected $expected"; failed=1; }
done <<'CASES'
pass runtime/heap.cpp        "runtime/heap.hpp"
pass runtime/heap.cpp        <vector>
fail runtime/heap.cpp        "channels/inbox.hpp"
fail runtime/heap.cpp        <atomic>
fail runtime/heap.cpp        <runtime/ids.hpp>
fail runtime/heap.cpp        "heap.hpp"
pass channels/inbox.cpp      "runtime/heap.hpp"
pass channels/inbox.cpp      <boost/lockfree/queue.hpp>
fail channels/inbox.cpp      "actors/system.hpp"
fail channels/inbox.cpp      "guests/lua/guest.hpp"
fail channels/inbox.cpp      <caf/all.hpp>
pass actors/shell/turn.cpp   "actors/shell/interpreter.hpp"
pass actors/shell/turn.cpp   "channels/inbox.hpp"
fail actors/shell/turn.cpp   "actors/system.hpp"
fail actors/shell/turn.cpp   <caf/all.hpp>
fail actors/shell/turn.cpp   <lua.hpp>
pass actors/system.cpp       "actors/shell/interpreter.hpp"
pass include/atoll/atoll.hpp "actors/shell/environment.hpp"
pass actors/system.cpp       <caf/all.hpp>
pass actors/system.cpp       "channels/inbox.hpp"
fail actors/system.cpp       "guests/lua/guest.hpp"
fail actors/system.cpp       <boost/lockfree/queue.hpp>
fail actors/system.cpp       <lua.hpp>
pass guests/lua/guest.cpp    <lua.hpp>
pass guests/lua/guest.cpp    "guests/lua/guest.hpp"
fail guests/lua/guest.cpp    "guests/native/guest.hpp"
fail guests/lua/guest.cpp    "actors/system.hpp"
fail guests/native/guest.cpp <lua.hpp>
fail guests/lua/guest.cpp    <caf/actor.hpp>
pass cli/main.cpp            "actors/system.hpp"
fail cli/main.cpp            <caf/actor_system.hpp>
pass include/atoll/native.hpp "guests/native/factory.hpp"
pass include/atoll/native.hpp "atoll/atoll.hpp"
fail include/atoll/native.hpp <caf/actor.hpp>
fail include/atoll/lua.hpp   <lua.hpp>
fail include/atoll/lua.hpp   "cli/options.hpp"
pass samples/embed.cpp       <atoll/native.hpp>
fail samples/embed.cpp       "actors/system.hpp"
fail tests/channels/a.cpp    "actors/system.hpp"
fail tests/channels/a.cpp    <caf/all.hpp>
pass tests/actors/a.cpp      <caf/all.hpp>
pass tests/guests/lua/a.cpp  <lua.hpp>
pass bench/messages.cpp      <caf/all.hpp>
CASES

rm -rf "${tree:?}"/*
if bash "$SOURCE_DIR/scripts/check-includes" "$tree" 2>/dev/null; then
  echo "an empty tree passed"
  failed=1
fi
exit "$failed"
