// Calls, sends, values and errors between Lua guests.
#include <doctest/doctest.h>

#include "tests/guests/lua_programs.hpp"

using Atoll::testing::logged;

TEST_CASE("a call gives all results of the function") {
  CHECK(logged(R"lua(
    local w = atoll.spawn{code = "return {add = function(a, b) return a + b, 'sum' end}"}
    log(w:call("add", 2, 3))
  )lua") == "5\tsum\n");
}

TEST_CASE("messages to one interpreter arrive in the order sent") {
  CHECK(logged(R"lua(
    local w = atoll.spawn{code = "local t = {}; return {put = function(x) t[#t + 1] = x end, all = function() return table.concat(t, ',') end}"}
    for i = 1, 5 do w:send("put", i) end
    log(w:call("all"))
  )lua") == "1,2,3,4,5\n");
}

TEST_CASE("values cross whole: numbers, bytes, nested and shared tables, cycles") {
  CHECK(logged(R"lua(
    local w = atoll.spawn{code = "return {same = function(...) return ... end}"}
    log(w:call("same", nil, true, false, -32, 95, 96, -33, 1 << 40, math.mininteger, 1.5, "a\0b" == "a"))
    log(#w:call("same", ("x"):rep(100)), #w:call("same", "a\0b"))
    local inner = {7}
    local t = {1, 2, inner, k = inner, [1.5] = "f", [true] = {}}
    t.self = t
    local r = w:call("same", t)
    log(#r, r[3] == r.k, r.self == r, r.k[1], r[1.5], type(r[true]))
    local holes = w:call("same", {1, nil, 3, [10] = 10})
    log(holes[1], holes[2], holes[3], holes[10])
  )lua")
        == "nil\ttrue\tfalse\t-32\t95\t96\t-33\t1099511627776\t-9223372036854775808\t1.5\tfalse\n"
           "100\t3\n3\ttrue\ttrue\t7\tf\ttable\n1\tnil\t3\t10\n");
}

TEST_CASE("an error keeps its message and position, and says where it happened") {
  CHECK(logged(R"lua(
    local w = atoll.spawn({code = "return {f = function() error('boom') end, g = function() error({n = 7}) end, h = function() error(nil) end}", chunk = "@w.lua"}, {name = "w"})
    local ok, e = pcall(w.call, w, "f")
    log(ok, tostring(e), e.message, e.code, e.interpreter.id, e.interpreter.name, e.traceback:match("stack traceback") ~= nil)
    local ok, e = pcall(w.call, w, "g")
    log(tostring(e), e.value.n)
    log(select(2, pcall(w.call, w, "h")).message)
  )lua")
        == "false\tw.lua:1: boom\tw.lua:1: boom\tguest_error\t2\tw\ttrue\n(error object is a table value)\t7\n(error "
           "object is a nil value)\n");
}

TEST_CASE("an error that passes through an interpreter keeps its origin") {
  CHECK(logged(R"lua(
    local c = atoll.spawn({code = "return {f = function() error('deep') end}", chunk = "@c.lua"}, {name = "c"})
    local b = atoll.spawn({code = "local c = ...; return {g = function() c:call('f') end}"}, {name = "b", args = {c}})
    local _, e = pcall(b.call, b, "g")
    log(e.message, e.interpreter.name)
  )lua") == "c.lua:1: deep\tc\n");
}

TEST_CASE("a function that is not there is named, with its interpreter") {
  CHECK(logged(R"lua(
    local w = atoll.spawn({code = "return {}"}, {name = "w"})
    local _, e = pcall(w.call, w, "nope")
    log(e.code, e.message)
  )lua") == "unknown_function\tinterpreter 2 'w' has no function 'nope'\n");
}

TEST_CASE("what cannot cross is refused with the path to it, and nothing is sent") {
  CHECK(logged(R"lua(
    local w = atoll.spawn{code = "n = 0; return {f = function() n = n + 1; return n end, bad = function() return 1, {x = print} end}"}
    local function try(...) local _, e = pcall(w.call, w, "f", ...); return e.code .. ": " .. e.message end
    log(try(1, {on_click = print}))
    log(try({a = {1, {["b c"] = coroutine.create(print)}}}))
    log(try(setmetatable({}, {})))
    log(try(io.stdout))
    log(try({[{}] = 1, [print] = 2}):match("argument 1.*"))
    local deep = {}; for i = 1, 300 do deep = {deep} end
    log(#try(deep) > 100, try(deep):match("is nested.*"))
    log(w:call("f"))
    local _, e = pcall(w.call, w, "bad")
    log(e.message)
  )lua")
        == "not_shareable: not shareable: argument 2.on_click is a function; pass atoll.ref(f)\n"
           "not_shareable: not shareable: argument 1.a[2][\"b c\"] is a coroutine; pass atoll.ref(co)\n"
           "not_shareable: not shareable: argument 1 is a table with a metatable; pass atoll.ref(t), or "
           "register its class with atoll.class\n"
           "not_shareable: not shareable: argument 1 is a userdata; pass atoll.ref(u)\n"
           "argument 1 (a key) is a function; pass atoll.ref(f)\n"
           "true\tis nested too deep (200 tables at most)\n"
           "1\n"
           "not shareable: result 2.x is a function; pass atoll.ref(f) (returned by bad of interpreter 2)\n");
}

TEST_CASE("a chunk gets its arguments, and handles cross as handles") {
  CHECK(logged(R"lua(
    local w = atoll.spawn({code = "local a, b, me = ...; return {args = function() return a, b, me.id end}"}, {args = {1, "x", atoll.self()}})
    log(w:call("args"))
    log(w == atoll.list()[2], atoll.self().name, #atoll.list(), atoll.find("main") == atoll.self(), atoll.find("none"))
    log(w:state(), atoll.stats().interpreters)
  )lua") == "1\tx\t1\ntrue\tmain\t2\ttrue\tnil\nrunning\t2\n");
}

TEST_CASE("a program that does not load is one line of error, one that fails has a traceback") {
  CHECK(logged(R"lua(
    local _, e = pcall(atoll.spawn, {code = "return +", chunk = "@bad.lua"})
    log(e.code, e.message)
    local _, e = pcall(atoll.spawn, "/nowhere/x.lua")
    log(e.code, e.message)
    local _, e = pcall(atoll.spawn, {code = "error('early')", chunk = "@bad.lua"})
    log(e.code, e.message, #e.traceback > 0)
    local _, e = pcall(atoll.spawn, {code = "\27Lua"})
    log(e.code)
  )lua")
        == "load_error\tbad.lua:1: unexpected symbol near '+'\n"
           "load_error\tcannot open /nowhere/x.lua: No such file or directory\n"
           "guest_error\tbad.lua:1: early\ttrue\nload_error\n");
}

TEST_CASE("eval runs code in the other interpreter, expressions too") {
  CHECK(logged(R"lua(
    local w = atoll.spawn{code = "x = 5; return {}"}
    log(w:eval("x + ...", 2))
    w:eval("x = 9")
    log(w:eval("return x"))
    log(pcall(w.eval, w, "x +"))
  )lua") == "7\n9\nfalse\teval:1: syntax error near '+'\n");
}

TEST_CASE("a one-way send that fails is logged with its function and traceback") {
  const std::string text = logged(R"lua(
    local w = atoll.spawn({code = "return {f = function() error('lost') end}", chunk = "@w.lua"}, {name = "w"})
    w:send("f")
    w:call("g")
  )lua",
                                  2);
  CHECK(text.find("in f: w.lua:1: lost\nstack traceback:") == 0);
}

TEST_CASE("futures: await, done, timeout, several waiters") {
  CHECK(logged(R"lua(
    local w = atoll.spawn{code = "local atoll = require 'atoll'; return {slow = function(s, v) atoll.sleep(s) return v, s end, bad = function() error('x', 0) end}"}
    local f = w:async("slow", 1, "a")
    log(f:done(), tostring(f))
    local ok, e = pcall(f.await, f, 0.25)
    log(ok, e.code)
    log(f:await())
    log(f:done(), f:await(0))
    local g, h = w:async("slow", 0.5, "g"), w:async("slow", 0.1, "h")
    log(atoll.all{g, h}:await())
    log(atoll.any{w:async("slow", 0.5, "g"), w:async("slow", 0.1, "h")}:await())
    local both = atoll.all{w:async("bad"), w:async("slow", 5)}
    log(pcall(both.await, both))
  )lua") == "false\tfuture (pending)\nfalse\ttimeout\na\t1\ntrue\ta\t1\ng\th\n2\th\t0.1\nfalse\tx\n");
}

TEST_CASE("tasks run beside each other, timers fire in order") {
  CHECK(logged(R"lua(
    local function say(x) return function() log(x) end end
    atoll.after(0.2, say "after")
    local n = 0
    local e; e = atoll.every(0.1, function() n = n + 1; log("every", n); if n == 3 then log(e:cancel()) end end)
    atoll.after(0.05, say "never"):cancel()
    local t = atoll.task(function(a, b) atoll.sleep(0.01); return a + b end, 1, 2)
    log(t:await())
  )lua") == "3\nevery\t1\nafter\nevery\t2\nevery\t3\ntrue\n");
}

TEST_CASE("calls work inside the program's own coroutines, at any depth, and generators still work") {
  CHECK(logged(R"lua(
    local w = atoll.spawn{code = "return {inc = function(x) return x + 1 end, bad = function() error('no', 0) end}"}
    local co = coroutine.create(function(a)
      local b = w:call("inc", a)
      local c = coroutine.yield(b)
      local inner = coroutine.wrap(function() coroutine.yield(w:call("inc", c)); return w:call("inc", c + 1) end)
      local d = inner()
      return d, inner()
    end)
    log(coroutine.resume(co, 1))
    log(coroutine.status(co))
    log(coroutine.resume(co, 10))
    log(coroutine.status(co), coroutine.resume(co))
    local co = coroutine.create(function() return w:call("bad") end)
    local ok, e = coroutine.resume(co)
    log(ok, tostring(e))
    local busy = coroutine.create(function() return w:call("inc", 1) end)
    local t = atoll.task(function() return coroutine.resume(busy) end)
    atoll.sleep(0)
    local seen
    local two = coroutine.create(function() return w:call("inc", 5) end)
    atoll.task(function() seen = {coroutine.resume(two)} end)
    local f = atoll.task(function() return coroutine.status(two), coroutine.resume(two) end)
    log(f:await())
    atoll.sleep(0.1)
    local _, got = t:await()
    log(seen and seen[2], got)
    log(coroutine.isyieldable(), select(2, coroutine.running()), pcall(coroutine.yield))
  )lua")
        == "true\t2\nsuspended\ntrue\t11\t12\ndead\tfalse\tcannot resume dead coroutine\nfalse\tno\n"
           "normal\tfalse\tcannot resume non-suspended coroutine\n6\t2\n"
           "false\ttrue\tfalse\tattempt to yield from outside a coroutine\n");
}

TEST_CASE("waiting where a C call is in between is refused clearly") {
  CHECK(logged(R"lua(
    local w = atoll.spawn{code = "return {f = function() return true end}"}
    log(pcall(table.sort, {3, 2, 1}, function(a, b) return w:call("f") end))
    log(pcall(table.sort, {3, 2, 1}, function(a, b) return coroutine.wrap(function() return w:call("f") end)() end))
    log(w:call("f"))
  )lua")
        == "false\tcannot wait across a C call (a comparison, a metamethod)\n"
           "false\tcannot wait across a C call (a comparison, a metamethod, a finalizer)\ntrue\n");
}
