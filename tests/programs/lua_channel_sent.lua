-- Channels in tables and through other channels: a request carries the channel for its answer.
-- expect: 10 20 30
-- expect: same	true	true
-- expect: answers	1275
-- expect: a chain	through ten
local atoll = require "atoll"

local server = atoll.spawn({code = [[
  local atoll = require "atoll"
  return {serve = function(requests)
    for r in requests:items() do r.answer:send({n = r.n * 10, from = r.answer}) end
  end}]]})
local requests = atoll.channel()
server:send("serve", requests)

local answer, all, same = atoll.channel(), {}, true
for i = 1, 3 do
  requests:send({n = i, answer = answer})
  local a = answer:recv()
  all[i], same = a.n, same and a.from == answer
end
print(table.concat(all, " "))
print("same", same, ({[answer] = true})[answer])

local sum, futures = 0, {}
for i = 1, 50 do
  futures[i] = atoll.task(function()
    local mine = atoll.channel(1)
    requests:send({n = i, answer = mine})
    return mine:recv().n // 10
  end)
end
for _, f in ipairs(futures) do sum = sum + f:await() end
print("answers", sum)
requests:close()

-- Only the first of ten is sent; each of the others lies in the one before.
local first = atoll.channel()
do
  local c = first
  for _ = 2, 10 do
    local inner = atoll.channel()
    c:send(inner)
    c = inner
  end
  c:send("through ten")
end
local follower = atoll.spawn({code = [[
  return {follow = function(c)
    repeat c = c:recv() until type(c) ~= "userdata"
    return c
  end}]]})
print("a chain", follower:call("follow", first))
