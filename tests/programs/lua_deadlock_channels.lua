-- Main waits for an item that only a worker could send, who waits for one of main's.
-- expect-status: 5
-- expect-error: deadlock: these wait for each other
-- expect-error: lua_deadlock_channels.lua:21) waits for an item of channel 2
-- expect-error: interpreter 2 'worker' ('serve', worker.lua:4) waits for the first of an item of channel 1, room in channel 3
-- expect-error: and these wait, too:
-- expect-error: (a task, lua_deadlock_channels.lua:20) waits for another task of its own
local atoll = require "atoll"
local jobs, answers, full = atoll.channel(1), atoll.channel(1), atoll.channel(0)
local worker = atoll.spawn({chunk = "@worker.lua", code = [[
  local atoll = require "atoll"
  return {serve = function(jobs, answers, full)
    answers:send(jobs:recv())
    atoll.select{{jobs, "recv"}, {full, "send", 1}}
    answers:send(1)
  end}]]}, {name = "worker"})
jobs:send(0)
local served = worker:async("serve", jobs, answers, full)
answers:recv()
local f = atoll.task(function() atoll.task(function() served:await() end):await() end)
answers:recv()
