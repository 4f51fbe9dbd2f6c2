-- Items, references, channels and waiting tasks that are left at the end: all of it is let go of.
-- options: --strict
-- expect: leaving	2	1	1
local atoll = require "atoll"

local w = atoll.spawn({code = [[
  local atoll = require "atoll"
  return {
    fill = function(c) c:send({atoll.ref({})}); c:send({c, atoll.channel()}) end,
    send = function(c) c:send(atoll.ref({})) end,
    recv = function(c) c:recv() end,
  }]]})
local full, empty = atoll.channel(2), atoll.channel{undelivered = print}
w:call("fill", full)
w:send("send", full)
w:send("recv", empty)
while full:stats().senders_waiting + empty:stats().receivers_waiting < 2 do atoll.sleep(0.001) end
print("leaving", #full, full:stats().senders_waiting, empty:stats().receivers_waiting)
