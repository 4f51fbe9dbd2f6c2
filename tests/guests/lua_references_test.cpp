// References between Lua guests: calls, identity, release, and how they end.
#include <doctest/doctest.h>

#include "tests/guests/lua_programs.hpp"

using namespace Atoll;
using testing::fake_world;
using testing::logged;

namespace {

const char* const counter = R"lua(
  local w = atoll.spawn({code = [[
    local atoll = require "atoll"
    local Counter = {__name = "Counter", __atoll = "ref"}
    Counter.__index = Counter
    function Counter:add(n) self.n = self.n + n; return self.n, self end
    function Counter:fail() error("no", 0) end
    function Counter:slow()
      atoll.sleep(1)
      for _ = 1, 3 do collectgarbage() end
      self.n = self.n + 1
      return self.n
    end
    local one = setmetatable({n = 0}, Counter)
    return {
      make = function() return setmetatable({n = 0}, Counter) end,
      one = function() return one end,
      is_one = function(x) return rawequal(x, one) end,
      fn = function() return atoll.ref(function(a, b) return a * b end) end,
      weigh = function() collectgarbage() return collectgarbage("count") end,
    }]]}, {name = "w"})
)lua";

std::string with_counter(const char* code) { return logged(std::string(counter) + code); }

} // namespace

TEST_CASE("methods of an object elsewhere are called through its proxy, results may be the object again") {
  CHECK(with_counter(R"lua(
    local c = w:call("make")
    log(c:add(2))
    local n, same = c:add(3)
    log(n, rawequal(same, c), atoll.is_ref(c), atoll.owner(c) == w, tostring(c))
    log(pcall(c.fail, c))
    local _, e = pcall(c.nope, c)
    log(e.code, e.message)
    atoll.set(c, "n", 40)
    log(atoll.get(c, "n"))
    log(w:call("fn")(6, 7))
    log(atoll.async(c, "add", 1):await())
    atoll.send(c, "add", 1)
    log((c:add(0)))
  )lua")
        == "2\treference to Counter 0 of interpreter 2 'w'\n"
           "5\ttrue\ttrue\ttrue\treference to Counter 0 of interpreter 2 'w'\n"
           "false\tno\n"
           "unknown_function\tCounter 0 of interpreter 2 'w' has no method 'nope'\n"
           "40\n"
           "42\n"
           "41\treference to Counter 0 of interpreter 2 'w'\n"
           "42\n");
}

TEST_CASE("the same object is the same proxy, and comes home as itself") {
  CHECK(with_counter(R"lua(
    local a, b = w:call("one"), w:call("one")
    log(rawequal(a, b), w:call("is_one", a), w:call("is_one", w:call("make")))
    local mine = {}
    local r = atoll.ref(mine)
    log(rawequal(r, atoll.ref(mine)), atoll.owner(r) == atoll.self(), atoll.is_ref(mine))
  )lua") == "true\ttrue\tfalse\ntrue\ttrue\tfalse\n");
}

TEST_CASE("a proxy that was released equals a later one of the same object, and no other") {
  CHECK(with_counter(R"lua(
    local a = w:call("one")
    atoll.release(a)
    local b = w:call("one")  -- asked for before the release went out: the object was out all the time
    log(a == b, rawequal(a, b), a == w:call("make"), a == 1, a ~= b)
    log(tostring(a), tostring(b))
  )lua")
        == "true\tfalse\tfalse\tfalse\tfalse\n"
           "reference to Counter 0 of interpreter 2 'w' (released)\treference to Counter 0 of interpreter 2 'w'\n");
}

TEST_CASE("a proxy that is collected or released while its call is in flight does not cancel the call") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string("local atoll = require 'atoll'; local log = atoll.log.info\n") + counter + R"lua(
    local f = atoll.async(w:call("make"), "slow")
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(0.5)  -- the release is with the owner, whose call still sleeps
    log(f:done())
    log(f:await())
    local c = w:call("make")
    f = atoll.async(c, "slow")
    atoll.release(c)
    log(f:await())
    do
      local d <close> = w:call("make")
      f = atoll.async(d, "slow")
    end
    log(f:await())
    atoll.send(w:call("make"), "slow")
    c, f = nil, nil
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(2)
  )lua");
  CHECK(testing::lines(main) == "false\n1\n1\n1\n");
  CHECK(world[2].exports().added() == 4);
  CHECK(main.imports().size() == 0);
  CHECK(world[2].exports().released() == 4);
}

TEST_CASE(
    "instances of classes marked so and functions cross by reference, in tables too, and come home as themselves") {
  CHECK(logged(R"lua(
    local w = atoll.spawn({code = [[
      local atoll = require "atoll"
      local kept
      return {
        keep = function(t) kept = t; return atoll.is_ref(t.obj), atoll.is_ref(t.f), t.f(20), t.obj:name() end,
        give = function() return kept.obj, kept.f end,
        same = function(x) return rawequal(x, kept.obj) end,
      }]]}, {name = "w"})
    local Class = {__atoll = "ref", __name = "Class"}
    Class.__index = Class
    function Class:name() return "me" end
    local obj, f = setmetatable({}, Class), function(x) return x + 1 end
    log(w:call("keep", {obj = obj, f = atoll.ref(f)}))
    local o, g = w:call("give")
    log(rawequal(o, obj), rawequal(g, f), w:call("same", obj))
    log((tostring(atoll.ref(obj)):gsub("0x%x+", "ADDRESS")))
    local plain = setmetatable({}, {__name = "Plain"})
    local _, e = pcall(w.call, w, "keep", plain)
    log(e.code, e.message)
  )lua")
        == "true\ttrue\t21\tme\n"
           "true\ttrue\ttrue\n"
           "reference to own Class: ADDRESS\n"
           "not_shareable\tnot shareable: argument 1 is a table with a metatable; pass atoll.ref(t), or "
           "register its class with atoll.class\n");
}

TEST_CASE("a reference tells its owner and type without asking, at a third interpreter and after the owner's end") {
  CHECK(with_counter(R"lua(
    local v = atoll.spawn({code = [[
      local atoll = require "atoll"
      return {text = function(...) local t = {...} for i = 1, #t do t[i] = tostring(t[i]) end return table.unpack(t) end}
    ]]}, {name = "v"})
    local c = w:call("make")
    log(v:call("text", c, w:call("fn")))
    log(v:call("text", atoll.ref({}), atoll.ref(setmetatable({}, {__name = 5})), atoll.ref(coroutine.create(print)),
               atoll.ref(io.stdout)))
    w:kill()
    atoll.sleep(0)
    log(tostring(c))
    local _, e = pcall(c.add, c, 1)
    log(e.code, e.message)
    _, e = pcall(atoll.get, c, "n")
    log(e.message)
    _, e = pcall(w.call, w, "make")
    log(e.message)
  )lua")
        == "reference to Counter 0 of interpreter 2 'w'\treference to function 1 of interpreter 2 'w'\n"
           "reference to table 0 of interpreter 1 'main'\treference to table 1 of interpreter 1 'main'\t"
           "reference to thread 2 of interpreter 1 'main'\treference to FILE* 3 of interpreter 1 'main'\n"
           "reference to Counter 0 of interpreter 2 'w'\n"
           "interpreter_gone\tinterpreter 2 'w' is gone, and Counter 0 with it\n"
           "interpreter 2 'w' is gone, and Counter 0 with it\n"
           "interpreter 2 'w' is gone\n");
}

TEST_CASE("a local ref works like a proxy in its own interpreter") {
  CHECK(logged(R"lua(
    local obj = {n = 1, get = function(self, x) return self.n, x end}
    local r = atoll.ref(obj)
    log(r:get("x"))
    atoll.set(r, "n", 5)
    log(atoll.get(r, "n"), obj.n)
    log(atoll.ref(function(...) return ... end)(1, 2))
    log(atoll.async(r, "get", 9):await())
  )lua") == "1\tx\n5\t5\n1\t2\n5\t9\n");
}

TEST_CASE("callbacks: a function passed by reference is called from the other interpreter") {
  CHECK(logged(R"lua(
    local w = atoll.spawn{code = "return {each = function(n, f) local s = 0; for i = 1, n do s = s + f(i) end return s end}"}
    log(w:call("each", 3, atoll.ref(function(i) return i * 10 end)))
  )lua") == "60\n");
}

TEST_CASE("a released reference refuses calls, naming its owner, and its object is let go") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string("local atoll = require 'atoll'; local log = atoll.log.info\n") + counter + R"lua(
    local c = w:call("make")
    do local d <close> = w:call("make"); d:add(1) end
    atoll.release(c)
    local _, e = pcall(c.add, c, 1)
    log(e.code, e.message)
    local _, e = pcall(w.call, w, "is_one", c)
    log(e.code, e.message)
    collected = w:call("make")
    collected = nil
    collectgarbage()
    collectgarbage()
  )lua");
  CHECK(testing::lines(main)
        == "reference_released\tthe reference to Counter 0 of interpreter 2 'w' was released\n"
           "reference_released\targument 1 is a reference to Counter 0 of interpreter 2 'w' that was released\n");
  CHECK(main.imports().size() == 0);
  CHECK(world[2].exports().live() == 0);
  CHECK(world[2].exports().minted() == world[2].exports().returned());
}

TEST_CASE("references in a refused message, in unread results and in undecodable ones go home") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string("local atoll = require 'atoll'; local log = atoll.log.info\n") + counter + R"lua(
    do
      local c = w:call("make")
      pcall(w.call, w, "is_one", c, {c, print})
      w:async("make")
      local f = w:async("make")
      atoll.sleep(1)
      local mine = {}
      pcall(w.call, w, "is_one", atoll.ref(mine), print)
    end
    atoll.sleep(1)
    for _ = 1, 3 do collectgarbage() end
  )lua");
  CHECK(testing::lines(main).empty());
  CHECK(main.imports().size() == 0);
  CHECK(world[2].exports().live() == 0);
  CHECK(main.exports().live() == 0);
}

TEST_CASE("wherever memory for a message runs out, no credit and no object is lost") {
  bool all_sent = false;
  for (std::size_t limit = 40; limit < 300; ++limit) {
    fake_world world(make_lua_guest);
    auto& main = world.run(std::string("local atoll = require 'atoll'; log = atoll.log.info\n") + counter + R"lua(
      local c = w:call("make")
      return {
        try = function()
          local mine = atoll.ref({})
          local ok, e = pcall(atoll.send, c, "add", c, c, mine, {c, mine})
          log(ok and "sent" or e.code)
          ok, e = pcall(atoll.send, w, "is_one", mine, c)
          log(ok and "sent" or e.code)
        end,
        forget = function() c = nil; for _ = 1, 3 do collectgarbage() end end,
      })lua");
    const auto deliver = [&](std::string_view function) {
      incoming message;
      message.kind = record_kind::send;
      message.name = function;
      main.program->deliver(message);
    };
    main.limit_messages(limit);
    deliver("try");
    main.limit_messages(std::numeric_limits<std::size_t>::max());
    const std::string said = testing::lines(main);
    all_sent = said == "sent\nsent\n";
    CAPTURE(limit);
    CHECK((all_sent || said == "out_of_memory\nsent\n" || said == "out_of_memory\nout_of_memory\n"));
    world.settle();
    world[2].program->drop_imports();
    world[2].imports().drop_all_uses();
    deliver("forget");
    world[2].flush_protocol();
    main.flush_protocol();
    world.settle();
    main.drop_due();
    CHECK(main.exports().live() == 0);
    CHECK(main.exports().added() == main.exports().released());
    CHECK(main.imports().size() == 0);
    CHECK(world[2].exports().minted() == world[2].exports().returned());
  }
  CHECK(all_sent);
}

TEST_CASE("after drop_imports proxies answer reference_released, and give nothing back") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string("local atoll = require 'atoll'; log = atoll.log.info\n") + counter + R"lua(
    local c = w:call("make")
    return {try = function() local _, e = pcall(c.add, c, 1); c = nil; collectgarbage(); log(e.code) end}
  )lua");
  main.program->drop_imports();
  incoming message;
  message.kind = record_kind::send;
  message.name = "try";
  main.program->deliver(message);
  CHECK(testing::lines(main) == "reference_released\n");
  CHECK(main.imports().size() == 1);
}

TEST_CASE("an object nobody else holds is freed in its owner") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string("local atoll = require 'atoll'; local log = atoll.log.info\n") + R"lua(
    local w = atoll.spawn{code = [[
      local atoll = require "atoll"
      dead = 0
      return {
        make = function() return atoll.ref(setmetatable({}, {__gc = function() dead = dead + 1 end})) end,
        dead = function() collectgarbage() collectgarbage() return dead end,
      }]]}
    local a, b = w:call("make"), w:call("make")
    log(w:call("dead"))
    atoll.release(a)
    atoll.sleep(0)  -- releases go out when the turn ends
    log(w:call("dead"))
    b = nil
    collectgarbage()
    atoll.sleep(0)
    log(w:call("dead"))
  )lua");
  CHECK(testing::lines(main) == "0\n1\n2\n");
}
