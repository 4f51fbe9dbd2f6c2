-- Senders that end: the channel is drained and closes; what becomes of their items is the channel's policy, or the item's.
-- expect: 1 2 3	closed
-- expect: waits	nil	closed
-- expect: keep	w1 w2 m
-- expect: error	orphaned orphaned m
-- expect: remove	m
-- expect: each	w1 orphaned m
-- expect: stays good	table: 5
local atoll = require "atoll"

local code = {code = [[
  local atoll = require "atoll"
  return {
    send = function(c, ...) for _, v in ipairs{...} do c:send(v) end end,
    send_each = function(c, how, ...) for i, v in ipairs{...} do c:send(v, {orphans = how[i]}) end end,
    busy = function() while true do end end,
  }]]}
local function down(w)
  local told = atoll.channel()
  atoll.monitor(w, function() told:send(true) end)
  w:kill()
  assert(told:recv(10))
end

local c = atoll.channel()
local w = atoll.spawn(code)
w:call("send", c, 1, 2, 3)
w:send("busy") -- a kill reaches it all the same
down(w)
local all = {}
for v in c:items() do all[#all + 1] = v end
print(table.concat(all, " "), c:state())

c, w = atoll.channel(), atoll.spawn(code)
w:call("send", c, 1)
c:recv()
local waiting = atoll.task(function() return c:recv(10) end)
w:kill()
print("waits", waiting:await())

local function orphans(policy, each)
  local c, w = atoll.channel{orphans = policy}, atoll.spawn(code)
  if each then w:call("send_each", c, each, "w1", "w2") else w:call("send", c, "w1", "w2") end
  c:send("m")
  down(w)
  local got = {}
  for _ = 1, #c do
    local v, word = c:recv()
    got[#got + 1] = v or word
  end
  return table.concat(got, " ")
end
for _, policy in ipairs{"keep", "error", "remove"} do print(policy, orphans(policy)) end
print("each", orphans("remove", {"keep", "error"}))

c, w = atoll.channel{orphans = "remove"}, atoll.spawn(code)
w:call("send", c, {2, 3})
local v = c:recv()
down(w)
print("stays good", "table: " .. v[1] + v[2])
