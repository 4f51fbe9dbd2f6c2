-- What was said before an endless computation of the same turn goes out all the same: an answer, the answer of a spawn, a message.
-- options: --workers 1
-- expect: answered beside the loop: true
-- expect: spawned: true
-- expect: heard: hello
local atoll = require "atoll"

local w = atoll.spawn{code = [[
  local n = 0
  return {loop = function() while true do n = n + 1 end end, n = function() return n end}]]}
w:send("loop")
atoll.sleep(0.05)
print("answered beside the loop: " .. tostring(w:call("n") > 0))
w:kill()

local busy = atoll.spawn{code = [[
  local atoll = require "atoll"
  atoll.task(function() while true do end end)]]}
print("spawned: " .. tostring(busy:state() == "running"))
busy:kill()

local heard = atoll.channel(1)
local speaker = atoll.spawn{code = [[
  return {speak = function(to) to:send("hear", "hello") while true do end end}]]}
local ear = atoll.spawn({code = [[
  local heard = ...
  return {hear = function(x) heard:send(x) end}]]}, {args = {heard}})
speaker:send("speak", ear)
print("heard: " .. heard:recv())
speaker:kill()
