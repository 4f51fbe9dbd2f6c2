#!/usr/bin/env bash
# Limits as options of the command: what they refuse, what they do to a program, and what the report says of it.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
source "$(dirname "$0")/../expect.bash"
longest=60

cd "$scratch"
echo 'print "hello"' >hello.lua
echo 'while true do pcall(function() while true do end end) end' >loop.lua
cat >many.lua <<'LUA'
local atoll = require "atoll"
for i = 1, 5 do atoll.spawn({code = ""}, {name = "child" .. i}) end
LUA
cat >deep.lua <<'LUA'
local atoll = require "atoll"
local code = {code = "local other return {meet = function(w) other = w end, again = function() return other:call('again') end}"}
local a, b = atoll.spawn(code), atoll.spawn(code)
a:call("meet", b) b:call("meet", a)
a:call("again")
LUA
cat >slow.lua <<'LUA'
local atoll = require "atoll"
local w = atoll.spawn{code = "return {sleep = function() require('atoll').sleep(0.5) end}"}
w:call("sleep")
LUA
cat >eater.lua <<'LUA'
local atoll = require "atoll"
print(pcall(atoll.spawn, {code = "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end"}, {name = "eater"}))
LUA
cat >turns.lua <<'LUA'
local atoll = require "atoll"
local w = atoll.spawn{code = "return {spin = function() local t = os.clock() while os.clock() < t + 0.2 do end end, f = function() end}"}
w:send("spin")
w:call("f")
LUA

expect 2 "'lots' is no number of seconds (0.001 to 86400, 0 for no limit)" run --message-cpu lots hello.lua
expect 2 "'-1' is no number of seconds" run --call-time -1 hello.lua
expect 2 "'0' is no number of seconds (0.002 to 86400)" run --time-slice 0 hello.lua
expect 2 '--call-depth' run --call-depth 5000 hello.lua
expect 2 '--high-water' run --high-water 0 hello.lua
expect 2 '--spare-workers' run --spare-workers many hello.lua
expect 2 '--interpreters' run --interpreters -3 hello.lua
for option in message-cpu call-time time-slice high-water interpreters call-depth spare-workers; do
  expect 0 "--$option" run --help
done
expect 0 'hello' run --message-cpu 0.5 --call-time 1 --time-slice 0.005 --high-water 10 --interpreters 1 --call-depth 1 \
  --spare-workers 0 hello.lua
expect 1 'loop.lua used 0.1 s of processor time, which is the limit for a message' run --message-cpu 0.1 loop.lua
expect 1 'no further interpreter: the runtime may have 3 at a time, which live already' run --interpreters 3 many.lua
expect 1 '20 calls, each made by the one before it, wait for each other' run --call-depth 20 deep.lua
expect 1 "no answer within 0.05 s, which is the limit for calls of interpreter 1 'main'" run --call-time 0.05 slow.lua
expect 0 "failed: interpreter 2 'eater': not enough memory (its limit is 2097152 bytes)" run --memory 2m --report text eater.lua
expect 0 '"code":"out_of_memory"' run --memory 2m --report json eater.lua
expect 0 '"verdict":"clean"' run --time-slice 0.002 --workers 1 --report json turns.lua
exit $failed
