-- An owner that ends takes its buffers along: who holds one, or gets one late, hears whose it was. What moved in time stays.
-- expect: held: interpreter_gone interpreter 2 'owner' is gone, and buffer 1 with it
-- expect: sent on: interpreter_gone
-- expect: moved in time: kept
-- expect: killed holders gave back: 1
-- expect: the sender's again after a message nobody read: mine
-- expect: main's is freed: true

local atoll = require "atoll"

local owner = atoll.spawn({code = [[
  local atoll = require "atoll"
  return {
    lend = function() return atoll.buffer("lent") end,
    give = function() return atoll.move(atoll.buffer("kept")) end,
  }]]}, {name = "owner"})
local lent, given = owner:call("lend"), owner:call("give")
owner:kill()
while owner:state() ~= "gone" do atoll.sleep(0.001) end

local ok, e = pcall(lent.read, lent)
print("held: " .. e.code .. " " .. e.message)
local other = atoll.spawn({code = "return {f = function() end}"})
local ok, e = pcall(other.call, other, "f", lent)
print("sent on: " .. e.code)
print("moved in time: " .. given:read())

-- Holders that are killed give back, wherever their handles were.
local size = 1 << 20
local function heap() return atoll.self():stats().heap_bytes end
local big = atoll.buffer(size)
local holders = {}
for i = 1, 5 do
  holders[i] = atoll.spawn({code = "local kept = {}; return {keep = function(b) kept[1] = b; kept[2] = b:slice(1, 5) end}"})
  holders[i]:call("keep", big)
end
big:release()
local held = heap() > size
for _, h in ipairs(holders) do h:kill() end
while heap() > size do atoll.sleep(0.001) end     -- it comes back when the last of them is gone
print("killed holders gave back: " .. (held and 1 or 0))

-- A message to somebody who dies with it unread: the move never happened. (The kill overtakes the message.)
local doomed = atoll.spawn({code = "return {take = function(b) end}"})
local mine = atoll.buffer("mine")
doomed:send("take", atoll.move(mine))
doomed:kill()
local text
repeat
  atoll.sleep(0.001)
  ok, text = pcall(mine.read, mine)
until ok
print("the sender's again after a message nobody read: " .. text)

for _ = 1, 3 do atoll.buffer(size):write(1, "x") end
collectgarbage()
print("main's is freed: " .. tostring(heap() < size))
