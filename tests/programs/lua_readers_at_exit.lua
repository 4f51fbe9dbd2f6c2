-- Who waits to read from a connection when the program ends reaches the end of the stream; an exit handler may wait for it.
-- expect: main ends
-- expect: the reader ended: true
local atoll = require "atoll"
local server = atoll.spawn({code = [[
  local atoll = require "atoll"
  local ended = false
  atoll.at_exit(function()
    while not ended do atoll.sleep(0.001) end
    print("the reader ended: " .. tostring(ended))
  end)
  return {serve = function(c) while c:read() do end; ended = true end}
]]}, {name = "server"})
local listener = atoll.net.listen("127.0.0.1:0", function(c) server:send("serve", c) end)
local c = atoll.net.connect(listener.address)
c:write("hello")
atoll.sleep(0.05)
print("main ends")
atoll.exit(0)
