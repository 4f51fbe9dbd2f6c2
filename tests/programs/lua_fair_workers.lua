-- Two interpreters that answer one another without end do not keep a third from its turn, though there is one worker only.
-- options: --workers 1
-- expect: two in turn: true
-- expect: one woken in the middle of a turn: true

local atoll = require "atoll"
local code = {code = [[
  local atoll = require "atoll"
  local other
  return {
    double = function(n) return 2 * n end,
    meet = function(peer) other = peer end,
    -- A message to the peer, which sends one back, and so on; said before the turn ends, as a message is.
    throw = function(left) if left > 0 then other:send("throw", left - 1) end return true end}]]}
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
a:send("throw", 1000000)
local start = atoll.now()
third:call("double", 1)
print("one woken in the middle of a turn: " .. tostring(atoll.now() - start < 0.5))
