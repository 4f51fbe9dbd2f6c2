-- A buffer of 1 GiB crosses ten interpreters and back without a copy: nothing grows but the pages somebody wrote to.
-- expect: 10 interpreters wrote: abcdefghij
-- expect: one owner, charged for all of it: true
-- expect: resident memory grew by less than 64 MiB: true
-- expect: in less than two seconds: true
-- expect: freed: true

local atoll = require "atoll"

local function resident()
  for line in io.lines("/proc/self/status") do
    local kib = line:match("^VmRSS:%s*(%d+) kB")
    if kib then return kib * 1024 end
  end
end

local hop = {code = [[
  local function hop(chain, b, n)
    b:write((n - 1) * (100 << 20) + 1, string.char(96 + n))     -- pages far from one another
    local next_one = table.remove(chain, 1)
    if next_one then return next_one:call("hop", chain, b, n + 1) end
    return b
  end
  return {hop = hop}]]}

local chain = {}
for i = 1, 10 do chain[i] = atoll.spawn(hop, {name = "hop " .. i}) end

local before, started = resident(), atoll.now()
local b = atoll.buffer(1 << 30)
local back = table.remove(chain, 1):call("hop", chain, b, 1)
local took = atoll.now() - started

local letters = {}
for n = 1, 10 do letters[n] = back:read((n - 1) * (100 << 20) + 1, 1) end
print("10 interpreters wrote: " .. table.concat(letters))
local stats = atoll.self():stats()
print("one owner, charged for all of it: " .. tostring(stats.heap_bytes > 1 << 30 and stats.heap_bytes < (1 << 30) + (8 << 20)))
print("resident memory grew by less than 64 MiB: " .. tostring(resident() - before < 64 << 20))
print("in less than two seconds: " .. tostring(took < 2))

b, back = nil, nil
for _, w in ipairs(atoll.list()) do
  if w ~= atoll.self() then w:eval("collectgarbage()") end
end
collectgarbage()
print("freed: " .. tostring(atoll.self():stats().heap_bytes < 8 << 20))
