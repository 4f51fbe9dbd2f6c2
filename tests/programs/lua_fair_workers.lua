-- Two interpreters that answer one another without end do not keep a third from its turn, though there is one worker only.
-- options: --workers 1
-- expect: two in turn: true
-- expect: one woken in the middle of a turn: true

local atoll = require "atoll"
local code = {code = [[
  local atoll = require "atoll"
  local other, left
  return {
    double = function(n) return 2 * n end,
    meet = function(peer) other = peer end,
    -- A message to the peer, which sends one back, and so on; said before the turn ends, as a message is.
    throw = function(n) left = n if n > 0 then other:send("throw", n - 1) end end,
    left = function() return left end}]]}
local second, third = atoll.spawn(code), atoll.spawn(code)

local calls, answered = 0, false
local answer = third:async("double", 1) -- it is woken first, and second runs in its place, as the last one woken
atoll.task(function() answer:await() answered = true end)
while not answered and calls < 100000 do
  second:call("double", 1)
  calls = calls + 1
end
print("two in turn: " .. tostring(answered and calls < 10000))

local a, b = atoll.spawn(code), atoll.spawn(code)
a:call("meet", b)
b:call("meet", a)
a:send("throw", 200000)
third:call("double", 1)
print("one woken in the middle of a turn: " .. tostring(a:call("left") > 0))
