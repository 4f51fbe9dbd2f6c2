// Classes that pack their objects: atoll.class, __pack, __unpack.
#include <doctest/doctest.h>

#include "guests/lua/state.hpp"
#include "tests/guests/lua_programs.hpp"

using namespace Atoll;
using Atoll::testing::fake_world;
using Atoll::testing::lines;

namespace {

/// In both interpreters: `vector` (x, y) and `box` (anything, as often as it says); they count what they are called for.
constexpr const char* classes = R"lua(
  local atoll = require "atoll"
  packs, unpacks = 0, 0
  vector = {}
  vector.__index = vector
  vector.__pack = function(v) packs = packs + 1; return v.x, v.y end
  vector.__unpack = function(x, y) unpacks = unpacks + 1; return setmetatable({x = x, y = y}, vector) end
  vector.length = function(v) return math.sqrt(v.x * v.x + v.y * v.y) end
  box = {}
  box.__pack = function(b) return table.unpack(b, 1, b.n) end
  box.__unpack = function(...) return setmetatable(table.pack(...), box) end
  function new(x, y) return setmetatable({x = x, y = y}, vector) end
  function boxed(...) return setmetatable(table.pack(...), box) end
  atoll.class("vector", vector)
  atoll.class("box", box)
  failing = {__pack = function() error("cannot", 0) end, __unpack = print}
  atoll.class("failing", failing)
)lua";

std::string played(const std::string& code) {
  fake_world world(make_lua_guest);
  world.run("classes = [==[" + std::string(classes) + "]==]\n" + classes + R"lua(
    local log = atoll.log.info
    local w = atoll.spawn({code = classes .. [==[
      return {
        same = function(...) return ... end, kept = function(v) keep = v; return v:length() end, give = function() return keep end,
        count = function() return packs, unpacks end, is = function(a, b) return rawequal(a, b), getmetatable(a) == vector end,
        failing = function() return 1, {setmetatable({}, failing)} end,
      }]==]}, {name = "w"})
    local function why(f, ...) local ok, e = pcall(f, ...); return ok and "fine" or e.code .. ": " .. e.message end
  )lua" + code);
  return lines(world[1]);
}

} // namespace

TEST_CASE("an object of a registered class arrives as an object of the receiver's class of that name") {
  CHECK(played(R"lua(
    log(w:call("kept", new(3, 4)))
    local v = w:call("give")
    log(getmetatable(v) == vector, v.x, v.y, v:length())
    log(packs, unpacks, w:call("count"))
  )lua") == "5.0\ntrue\t3\t4\t5.0\n1\t1\t1\t1\n");
}

TEST_CASE("an object that occurs twice is packed once and arrives as one, also over several arguments and as a key") {
  CHECK(played(R"lua(
    local v = new(1, 2)
    log(w:call("is", v, v))
    local t = w:call("same", {v, a = {v}, [v] = true})
    log(rawequal(t[1], t.a[1]), t[t[1]], packs, unpacks)
    local p, q = w:call("same", boxed(v), v)
    log(rawequal(p[1], q))
  )lua") == "true\ttrue\ntrue\ttrue\t2\t1\ntrue\n");
}

TEST_CASE("packed values may be nil, tables with cycles, references and packed objects") {
  CHECK(played(R"lua(
    local loop = {}
    loop.loop = loop
    local b = w:call("same", boxed(nil, loop, atoll.ref(log), boxed(new(1, 2)), loop, nil))
    log(b.n, b[1], b[2].loop == b[2], rawequal(b[5], b[2]), rawequal(b[3], log), b[4][1].y, b[6])
    log(w:call("same", boxed()).n, w:call("same", boxed(boxed(), boxed()))[2].n)
  )lua") == "6\tnil\ttrue\ttrue\ttrue\t2\tnil\n0\t0\n");
}

TEST_CASE("an object cannot contain itself, nor what contains it") {
  CHECK(played(R"lua(
    local b = boxed(1)
    b[1] = {x = b}
    log(why(w.call, w, "same", b))
    local t = {}
    t.box = boxed(1, {t})
    log(why(w.call, w, "same", 0, t))
    local k = boxed(1)
    k[1] = {[k] = 1}
    log(why(w.call, w, "same", k))
  )lua")
        == "not_shareable: not shareable: argument 1 (value 1 of class 'box').x leads back to what contains its packed "
           "object; "
           "pass atoll.ref instead\n"
           "not_shareable: not shareable: argument 2.box (value 2 of class 'box')[1] leads back to what contains its "
           "packed "
           "object; pass atoll.ref instead\n"
           "not_shareable: not shareable: argument 1 (value 1 of class 'box') (a key) leads back to what contains its "
           "packed "
           "object; pass atoll.ref instead\n");
}

TEST_CASE("a new interpreter has no classes yet: objects in arguments of spawn are refused") {
  CHECK(played(R"lua(
    log(why(atoll.spawn, {code = ""}, {args = {1, {new(9, 0)}}}))
  )lua")
        == "not_shareable: not shareable: args 2[1] is an object of a packed class, and a new interpreter has none; "
           "send it in a "
           "call\n");
}

TEST_CASE("objects travel as results, in evals, futures and one-way messages") {
  CHECK(played(R"lua(
    log(w:eval("new(5, 6)").y, w:async("same", new(7, 8)):await().x)
    w:send("kept", new(1, 0))
    log(w:call("give").x)
    local r = w:eval("require'atoll'.ref({at = function(self, v) return v.y, v end})")
    log(r:at(new(2, 3)), select(2, r:at(new(2, 3))).x)
    atoll.set(r, "v", new(4, 4))
    log(atoll.get(r, "v"):length() > 5)
  )lua") == "6\t7\n1\n3\t2\ntrue\n");
}

TEST_CASE("a class the receiver does not have is an error that names it, and nothing of the message is lost") {
  fake_world world(make_lua_guest);
  world.run(std::string(classes) + R"lua(
    local log = atoll.log.info
    local w = atoll.spawn({code = "return {same = function(...) return ... end}"}, {name = "w"})
    object = setmetatable({}, {__atoll = "ref", __gc = function() log("let go") end})
    local _, e = pcall(w.call, w, "same", {a = {new(1, 2)}, b = 1}, object)
    log(e.code, e.message)
    object, e = nil, nil
    w:call("same")
    collectgarbage() collectgarbage()
    log(pcall(w.call, w, "same", 1))
  )lua");
  CHECK(lines(world[1])
        == "not_shareable\tvalue 1.a[1] is an object of class 'vector', which interpreter 2 'w' does not have; call "
           "atoll.class('vector', ...) there\nlet go\ntrue\t1\n");
}

TEST_CASE("an error of __pack or __unpack names the class and the value, and the turn goes on") {
  CHECK(played(R"lua(
    log(why(w.call, w, "same", {a = {setmetatable({}, failing)}}))
    log(why(w.call, w, "same", boxed(1, setmetatable({}, failing))))
    log(why(w.call, w, "failing"))
    vector.__unpack = function(x) if x == 1 then error({code = 7}) end return nil end
    log(why(w.call, w, "same", 0, {v = new(1, 2)}))
    log(why(w.call, w, "same", new(2, 2)))
    local f = w:async("same", boxed(new(2, 2)))
    log(why(f.await, f))
    vector.__pack = nil
    log((why(w.call, w, "same", new(1, 2)):gsub("%(field.-%)", "")))
    log(w:call("same", 1))
  )lua")
        == "guest_error: cannot (in __pack of class 'failing', for argument 1.a[1])\n"
           "guest_error: cannot (in __pack of class 'failing', for argument 1 (value 2 of class 'box'))\n"
           "guest_error: cannot (in __pack of class 'failing', for result 2[1]) (returned by failing of interpreter 2 "
           "'w')\n"
           "guest_error: (error object is a table value) (in __unpack of class 'vector', for value 2.v)\n"
           "guest_error: __unpack of class 'vector' answered nil, for value 1\n"
           "guest_error: __unpack of class 'vector' answered nil, for value 1 (value 1 of class 'box')\n"
           "guest_error: attempt to call a nil value (in __pack of class 'vector', for argument 1)\n1\n");
}

TEST_CASE("what cannot cross inside a packed object is named by the way to it") {
  CHECK(
      played(R"lua(
    log(why(w.call, w, "same", {boxed(1, {x = print})}))
    log(why(w.call, w, "same", boxed(boxed(print))))
    log(why(w.call, w, "same", {[boxed(print)] = 1}))
    local deep = new(1, 1)
    for _ = 1, 200 do deep = boxed(deep) end
    log(why(w.call, w, "same", deep):match("is nested.*"))
  )lua")
      == "not_shareable: not shareable: argument 1[1] (value 2 of class 'box').x is a function; pass atoll.ref(f)\n"
         "not_shareable: not shareable: argument 1 (value 1 of class 'box') (value 1 of class 'box') is a function; "
         "pass "
         "atoll.ref(f)\n"
         "not_shareable: not shareable: argument 1 (a key) (value 1 of class 'box') is a function; pass atoll.ref(f)\n"
         "is nested too deep (200 tables at most)\n");
}

TEST_CASE("a __pack that sends, changes the message or releases the reference it is for breaks nothing") {
  CHECK(
      played(R"lua(
    local pack = vector.__pack
    vector.__pack = function(v) w:send("same", boxed(0)); return pack(v) end
    log(w:call("same", new(1, 2)).y)
    local t = {new(1, 2)}
    vector.__pack = function(v) t[2] = new(3, 4); return 1, 1 end
    log(why(w.call, w, "same", t))
    vector.__pack = function(v) setmetatable(t, vector); return 1, 1 end
    t = {}
    log(why(w.call, w, "same", t, new(1, 2)))
    local r = w:eval("require'atoll'.ref({at = function(self, v) return v.y end})")
    vector.__pack = function(v) atoll.release(r); return pack(v) end
    log(why(r.at, r, new(1, 2)))
    vector.__pack = function(v) atoll.sleep(1) end
    log(why(w.call, w, "same", new(1, 2)))
    vector.__pack = pack
    log(w:call("same", new(1, 2)).y)
  )lua")
      == "2\n"
         "not_shareable: not shareable: argument 1[2] came in while a __pack ran: it must not change what is sent\n"
         "not_shareable: not shareable: argument 1 came in while a __pack ran: it must not change what is sent\n"
         "fine\n"
         "invalid_argument: cannot wait across a C call (a comparison, a metamethod) (in __pack of class 'vector', for "
         "argument 1)\n2\n");
}

TEST_CASE("atoll.class refuses what is no class, and a name or a class a second time") {
  CHECK(played(R"lua(
    local function try(...) log(select(2, pcall(atoll.class, ...))) end
    try(1, {}); try("", {}); try("x", 1); try("x", {}); try("x", {__pack = print}); try("x", {__pack = print, __unpack = 1})
    try("vector", {__pack = print, __unpack = print})
    try("other", vector)
    log(atoll.class("vector", vector) == vector)
  )lua")
        == "bad argument #1 to 'atoll.class' (string expected, got number)\n"
           "bad argument #1 to 'atoll.class' (a class needs a name)\n"
           "bad argument #2 to 'atoll.class' (table expected, got number)\n"
           "bad argument #2 to 'atoll.class' (a class needs a function __pack)\n"
           "bad argument #2 to 'atoll.class' (a class needs a function __unpack)\n"
           "bad argument #2 to 'atoll.class' (a class needs a function __unpack)\n"
           "bad argument #1 to 'atoll.class' (another class is registered as 'vector')\n"
           "bad argument #2 to 'atoll.class' (the class is registered as 'vector' already)\ntrue\n");
}

TEST_CASE("an endless __pack or __unpack is interrupted, and the interpreter lives on") {
  for (const bool kill : {false, true}) {
    fake_world world(make_lua_guest);
    auto& main = world.run(std::string(classes) + R"lua(
      local log = atoll.log.info
      local w = atoll.spawn({code = [==[return {same = function(...) return ... end}]==]})
      again = function()
        local ok, e = pcall(w.call, w, "same", setmetatable({}, endless))
        log(tostring(ok), tostring(e))
      end
      endless = {__pack = function() tick() while true do end end, __unpack = print}
      atoll.class("endless", endless)
      return {again = again}
    )lua");
    auto& guest = static_cast<lua_guest&>(*main.program);
    lua_State* L = guest.main;
    lua_pushcfunction(L, [](lua_State* inner) {
      lua_guest::of(inner).tick();
      return 0;
    });
    lua_setglobal(L, "tick");
    (kill ? main.wanted.kill : main.wanted.interrupt) = true;
    task* t = guest.new_task(task_body::callback, "test");
    lua_pushcfunction(t->thread, [](lua_State* inner) {
      lua_pushcfunction(inner, lua_guest::with_traceback);
      lua_getglobal(inner, "again");
      return lua_guest::of(inner).run_body(inner);
    });
    guest.run(*t, 0);
    main.wanted = {};
    if (kill) {
      CHECK(main.logged.empty()); // nothing of the guest ran any more
      CHECK(guest.dead);
    } else {
      REQUIRE(main.logged.size() == 1);
      CHECK(main.logged[0].find("in test: interrupted") == 0);
      CHECK(!guest.unwinding);
    }
  }
}
