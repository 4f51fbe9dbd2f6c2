-- select in several interpreters at once, on the same channels, with sends, receives and a future: nothing is lost or doubled.
-- expect: sum	true	items	4000
-- expect: left	0	0	0	0
-- expect: stopped by a future	2	enough
-- expect: time	nil	true
local atoll = require "atoll"

local code = {code = [[
  local atoll = require "atoll"
  return {
    give = function(a, b, from, to)
      local sum = 0
      for v = from, to do
        local i, ok = atoll.select{{a, "send", v}, {b, "send", {v}}}
        assert(ok == true)
        sum = sum + v
      end
      return sum
    end,
    take = function(a, b)
      local n, sum = 0, 0
      while a or b do
        local i, v, ok = atoll.select{{a, "recv"}, {b, "recv"}, timeout = 30}
        if ok ~= true then
          assert(ok == "closed")
          if i == 1 then a = nil else b = nil end
        else
          n, sum = n + 1, sum + (i == 1 and v or v[1])
        end
      end
      return n, sum
    end,
  }]]}
local a, b = atoll.channel(0), atoll.channel(5)
local givers, takers = {}, {}
for i = 1, 2 do
  local g, t = atoll.spawn(code), atoll.spawn(code)
  givers[i] = g:async("give", a, b, (i - 1) * 2000 + 1, i * 2000)
  takers[i] = t:async("take", a, b)
end
local given = givers[1]:await() + givers[2]:await()
a:close() b:close()
local n1, s1 = takers[1]:await()
local n2, s2 = takers[2]:await()
print("sum", given == s1 + s2, "items", n1 + n2)
print("left", #a, #b, a:stats().receivers_waiting, b:stats().senders_waiting)

local never = atoll.channel()
local enough = atoll.task(function() atoll.sleep(0.01) return "enough" end)
print("stopped by a future", atoll.select{{never, "recv"}, enough})
local start = atoll.now()
local i = atoll.select{{never, "recv"}, timeout = 0.0005}
print("time", i, atoll.now() - start >= 0.0005)
