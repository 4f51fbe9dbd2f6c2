-- Connections that are closed at once, handed on to whoever is free: the system gives their descriptors to the next ones, whose
-- bytes must reach the interpreter that has them.
-- expect: answered	600
local atoll = require "atoll"

local waiting = atoll.channel(8)
local worker = {code = [[
  local atoll = require "atoll"
  return {serve = function(clients)
    for client in clients:items() do
      local c <close> = client
      c:write(c:read("line"):upper(), "\n")
    end
  end}]]}
for i = 1, 4 do atoll.spawn(worker, {name = "worker" .. i}):async("serve", waiting) end
local listener = atoll.net.listen("127.0.0.1:0", function(c) waiting:send(c) end)
local answered = 0
for _ = 1, 15 do
  local clients = {}
  for i = 1, 40 do
    clients[i] = atoll.task(function()
      local c <close> = atoll.net.connect(listener.address)
      c:write("hello ", i, "\n")
      if c:read("line") == "HELLO " .. i then answered = answered + 1 end
    end)
  end
  for _, client in ipairs(clients) do client:await() end
end
print("answered", answered)
waiting:close()
listener:close()
