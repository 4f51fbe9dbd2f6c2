-- A connection that is opened, written to and closed in one turn leaves nothing behind: no descriptor stays open.
-- expect: descriptors: the same
local atoll = require "atoll"
local function descriptors()
  local list = io.popen("ls /proc/$PPID/fd")
  local _, n = list:read("a"):gsub("\n", "")
  list:close()
  return n
end
local ended = 0
local listener = atoll.net.listen("127.0.0.1:0", function(conn)
  while conn:read() do end
  conn:close()
  ended = ended + 1
end)
local before = descriptors()
for _ = 1, 50 do
  local conn = atoll.net.connect(listener.address)
  conn:write("x")
  conn:close()
end
local deadline = atoll.now() + 10
while (ended < 50 or descriptors() > before) and atoll.now() < deadline do atoll.sleep(0.01) end
local more = descriptors() - before
print("descriptors: " .. (more <= 0 and "the same" or more .. " more"))
listener:close()
