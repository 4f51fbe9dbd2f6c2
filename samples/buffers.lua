-- Shared memory: a picture that four painters fill in at once, and nobody copies.
local atoll = require "atoll"

local width, height = 32, 8
local picture = atoll.buffer(("."):rep(width * height))     -- this interpreter owns it

local painter = {code = [[
  return {
    -- A slice is a part of the same memory; positions in it count from 1.
    paint = function(part, width, letter)
      for row = 0, #part // width - 1 do part:write(row * width + 1 + row % 4, letter:rep(width // 2)) end
    end,
    look = function(part) return part:read(1, 8) end,
    deface = function(part) part:write(1, "x") end,
  }]]}

local band = width * height // 4
local done = {}
for i = 1, 4 do
  local p = atoll.spawn(painter, {name = "painter " .. i})
  done[i] = p:async("paint", picture:slice((i - 1) * band + 1, band), width, string.char(64 + i))
end
atoll.all(done):await()                                     -- an answer says that the writing is done
for row = 0, height - 1 do print(picture:read(row * width + 1, width)) end

-- Who may only look gets a read-only view.
local guest = atoll.spawn(painter, {name = "guest"})
print(guest:call("look", picture:readonly()))
print(select(2, pcall(guest.call, guest, "deface", picture:readonly())))

-- Moving hands it over: the receiver owns it from then on, and its memory limit pays for it.
local museum = atoll.spawn({code = [[
  local kept
  return {keep = function(b) kept = b; return tostring(b) end}]]}, {name = "museum"})
print(museum:call("keep", atoll.move(picture)))
print(select(2, pcall(picture.read, picture, 1, 1)))
