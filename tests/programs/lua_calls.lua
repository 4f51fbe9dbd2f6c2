-- Calls, sends, futures, errors and references between interpreters, under the real runtime.
-- expect: 5	sum
-- expect: 1,2,3,4,5
-- expect: false	boom	guest_error	w
-- expect: unknown_function
-- expect: 15	true
-- expect: 60
-- expect: a	b
-- expect: timeout
-- expect: 500500
-- expect: done

local atoll = require "atoll"

local w = atoll.spawn({code = [[
  local atoll = require "atoll"
  local t = {}
  local Counter = {__atoll = "ref"}
  Counter.__index = Counter
  function Counter:add(n) self.n = self.n + n return self.n, self end
  return {
    add = function(a, b) return a + b, "sum" end,
    put = function(x) t[#t + 1] = x end,
    all = function() return table.concat(t, ",") end,
    fail = function() error("boom", 0) end,
    make = function() return setmetatable({n = 0}, Counter) end,
    each = function(n, f) local s = 0 for i = 1, n do s = s + f(i) end return s end,
    slow = function(s, v) atoll.sleep(s) return v end,
  }]]}, {name = "w"})

print(w:call("add", 2, 3))
for i = 1, 5 do w:send("put", i) end
print(w:call("all"))
local ok, e = pcall(w.call, w, "fail")
print(ok, tostring(e), e.code, e.interpreter.name)
print(select(2, pcall(w.call, w, "nope")).code)

local c = w:call("make")
c:add(5)
local n, same = c:add(10)
print(n, rawequal(c, same))
print(w:call("each", 3, atoll.ref(function(i) return i * 10 end)))

local f, g = w:async("slow", 0.02, "a"), w:async("slow", 0.01, "b")
print(atoll.all{f, g}:await())
print(select(2, pcall(function() w:async("slow", 5):await(0.01) end)).code)

local sum = 0
local gen = coroutine.wrap(function() for i = 1, 1000 do coroutine.yield((w:call("add", i, 0))) end end)
for i = 1, 1000 do sum = sum + gen() end
print(sum)
print("done")
