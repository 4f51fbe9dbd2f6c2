-- A thousand tasks wait on one channel, in two interpreters; each gets one item. The others still wait, and cost nothing.
-- expect: 1000
-- expect: 1000	500500
-- expect: closed	1000
local atoll = require "atoll"

local code = {code = [[
  local atoll = require "atoll"
  local got, sum, closed = 0, 0, 0
  return {
    park = function(c, n)
      for _ = 1, n do
        atoll.task(function()
          local v, ok = c:recv()
          if ok == true then got, sum = got + 1, sum + v else closed = closed + 1 end
        end)
      end
    end,
    figures = function() return got, sum, closed end,
  }]]}
local a, b = atoll.spawn(code), atoll.spawn(code)
local c = atoll.channel(0)
a:call("park", c, 500) b:call("park", c, 500)
local function waiting(n)
  while c:stats().receivers_waiting ~= n do atoll.sleep(0.001) end
  return n
end
print(waiting(1000))
for i = 1, 1000 do c:send(i) end
local n1, s1, n2, s2
repeat
  n1, s1 = a:call("figures")
  n2, s2 = b:call("figures")
until n1 + n2 == 1000
print(n1 + n2, s1 + s2)
a:call("park", c, 500) b:call("park", c, 500)
waiting(1000)
c:close()
local c1, c2
repeat
  c1, c2 = select(3, a:call("figures")), select(3, b:call("figures"))
until c1 + c2 == 1000
print("closed", c1 + c2)
