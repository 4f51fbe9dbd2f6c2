-- One channel, four workers: each takes the next connection when it is free. What nobody takes is closed.
-- expect: answered	40
-- expect: workers that served	true
-- expect: not taken	nil	connection closed by the other side
-- expect: kept	still here
local atoll = require "atoll"

local waiting = atoll.channel(8)
local worker = {code = [[
  local atoll = require "atoll"
  return {serve = function(clients)
    local n = 0
    for client in clients:items() do
      local c <close> = client
      c:write(c:read("line"):upper(), "\n")
      n = n + 1
    end
    return n
  end}]]}
local served = {}
for i = 1, 4 do served[i] = atoll.spawn(worker, {name = "worker" .. i}):async("serve", waiting) end

local listener = atoll.net.listen("127.0.0.1:0", function(c) waiting:send(c) end)
local clients = {}
for i = 1, 40 do
  clients[i] = atoll.task(function()
    local c <close> = atoll.net.connect(listener.address)
    c:write("hello ", i, "\n")
    assert(c:read("line") == "HELLO " .. i)
  end)
end
local answered = 0
for _, client in ipairs(clients) do
  client:await()
  answered = answered + 1
end
print("answered", answered)
waiting:close()
local n, all = 0, true
for _, f in ipairs(served) do n = n + f:await() end
print("workers that served", n == 40)
listener:close()

-- Dropped with its item.
local lost = atoll.channel(1)
listener = atoll.net.listen("127.0.0.1:0", function(c) lost:send(c); lost:close{force = true} end)
local c = atoll.net.connect(listener.address)
local line, why = c:read("line")
print("not taken", line, why or "connection closed by the other side")
listener:close()

-- Withdrawn: the sender has it again.
local full = atoll.channel(0)
listener = atoll.net.listen("127.0.0.1:0", function(c)
  assert(select(2, full:send({c}, 0.001)) == "timeout")
  c:write("still here\n")
  c:close()
end)
c = atoll.net.connect(listener.address)
print("kept", c:read("line"))
listener:close()
