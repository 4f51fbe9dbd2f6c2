// Values from Lua guest to Lua guest: what arrives equals what was sent and is another object; limits are errors.
#include <doctest/doctest.h>

#include "guests/lua/state.hpp"
#include "runtime/value_codec.hpp"
#include "tests/guests/lua_programs.hpp"
#include "tests/seeds.hpp"

using namespace Atoll;
using Atoll::testing::fake_interpreter;
using Atoll::testing::fake_world;
using Atoll::testing::logged;
using Atoll::testing::seeds;

namespace {

/// same(a, b): nil when b is a copy of a, otherwise where they differ. A table of a stands for one of b and the other way
/// round, so what was shared still is and nothing else; no table is both. Keys that are tables are met in their pairs' order.
constexpr const char* same = R"lua(
  local function copies(a, b)
    local to, from, left = {}, {}, 0
    local function walk(x, y, path)
      if math.type(x) ~= math.type(y) or type(x) ~= type(y) then return path .. ": kinds" end
      if type(x) == "number" then
        if x ~= x then return y == y and path .. ": not nan" or nil end
        return (x ~= y or 1 / x ~= 1 / y and math.type(x) == "float") and path .. ": " .. x .. " became " .. y or nil
      end
      if type(x) ~= "table" then return x ~= y and path .. ": another " .. type(x) or nil end
      if to[x] or from[y] then return (to[x] ~= y or from[y] ~= x) and path .. ": shared otherwise" or nil end
      if rawequal(x, y) then return path .. ": the same table" end
      to[x], from[y] = y, x
      local tables = {}
      for k in next, y do if type(k) == "table" then tables[#tables + 1] = k end end
      local n, m, at = 0, 0, 0
      for _ in next, y do m = m + 1 end
      for k, v in next, x do
        n = n + 1
        local other = k
        if type(k) == "table" then
          at = at + 1
          other = to[k]
          for _, candidate in ipairs(tables) do
            if not other and candidate[1] == k[1] then other = candidate end
          end
          if other == nil then return path .. ": a key is missing" end
          local bad = walk(k, other, path .. "<key>")
          if bad then return bad end
        end
        local bad = walk(v, y[other], path .. "." .. tostring(k))
        if bad then return bad end
      end
      return n ~= m and path .. ": " .. n .. " entries became " .. m or nil
    end
    return walk(a, b, "")
  end
)lua";

/// graph(): any value, of tables that share, contain each other and are keys; strings of any bytes; numbers at the edges.
constexpr const char* graphs = R"lua(
  local random, serial = math.random, 0
  local edges = {0, -0.0, 0.5, 1 / 0, -1 / 0, 0 / 0, math.mininteger, math.maxinteger, -32, -33, 95, 96, 1 << 31, (1 << 31) - 1,
    -(1 << 31), -(1 << 31) - 1, 2^53, 5e-324, "", ("x"):rep(63), ("x"):rep(64), "\0", true, false}
  local function text(n)
    local bytes = {}
    for i = 1, random(0, n) do bytes[i] = string.char(random(0, 255)) end
    return table.concat(bytes)
  end
  local function scalar()
    local what = random(5)
    if what == 1 then return random(0) elseif what == 2 then return text(100)
    elseif what == 3 then return random() * 10 ^ random(-300, 300) end
    return edges[random(#edges)]
  end
  local function graph()
    local tables = {}
    for i = 1, random(1, 8) do
      serial = serial + 1
      tables[i] = {serial} -- tells table keys apart
    end
    local function any() if random(3) == 1 then return tables[random(#tables)] end return scalar() end
    for _, t in ipairs(tables) do
      for i = 2, random(2, 8) do t[i] = random(6) > 1 and any() or nil end
      for _ = 1, random(0, 5) do
        local k = any()
        if k == k then t[k] = any() end
      end
    end
    return tables[1], scalar(), tables[#tables], nil, any()
  end
)lua";

/// The size limit of messages from now on, in this world's interpreters.
std::string logged_with_limit(std::size_t bytes, const std::string& code) {
  fake_world world(make_lua_guest);
  world.record_limit = bytes;
  world.run("local atoll = require 'atoll'; local log = atoll.log.info\n" + code);
  return Atoll::testing::lines(world[1]);
}

constexpr const char* echo =
    "local w = atoll.spawn{code = 'return {same = function(...) return ... end, n = function(...) "
    "return select(\"#\", ...) end}'}\n";

} // namespace

TEST_CASE("random graphs come back as equal copies from another guest, sharing what was shared and no more") {
  const seeds runs = seeds::from_environment(1, 300);
  const std::string from = std::to_string(runs.first);
  const std::string to = std::to_string(runs.first + runs.count - 1);
  CHECK(logged(std::string(same) + graphs + echo + "for seed = " + from + ", " + to + R"lua( do
      math.randomseed(seed)
      local sent = table.pack(graph())
      local got = table.pack(w:call("same", table.unpack(sent, 1, sent.n)))
      local bad = copies(sent, got)
      if bad then log("ATOLL_SEED=" .. seed .. bad) end
    end
    log("done")
  )lua") == "done\n");
}

TEST_CASE("the comparison of copies finds what differs") {
  CHECK(logged(std::string(same) + R"lua(
    local t = {1}
    log(copies(t, t), copies({t, t}, {{1}, {1}}), copies({{1}, {1}}, {t, t}), copies({-0.0}, {0.0}), copies({0 / 0}, {1.0}))
    log(copies({1}, {1.0}), copies({a = 1}, {}), copies({}, {a = 1}), copies({"a"}, {"b"}), copies({t}, {{1}}))
  )lua")
        == ": the same table\t.2: shared otherwise\t.2: shared otherwise\t.1: -0.0 became 0.0\t.1: not nan\n"
           ".1: kinds\t.a: kinds\t: 0 entries became 1\t.1: another string\tnil\n");
}

TEST_CASE("random graphs are the same bytes again after a visit to C++") {
  const seeds runs = seeds::from_environment(1, 300);
  fake_world world(make_lua_guest);
  fake_interpreter& first = world.run(std::string(graphs) + "return {graph = graph}");
  auto& guest = static_cast<lua_guest&>(*first.program);
  lua_State* L = guest.main;
  no_references none;
  for (std::uint64_t seed = runs.first; seed < runs.first + runs.count; ++seed) {
    INFO("replay with ATOLL_SEED=" << seed);
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, static_cast<lua_Integer>(seed));
    lua_call(L, 1, 0);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, guest.interface_ref);
    lua_getfield(L, 1, "graph");
    lua_call(L, 0, LUA_MULTRET);
    Atoll::testing::bytes_writer written;
    REQUIRE(guest.encode(L, 2, written, "value"));
    const std::string bytes = written.take();
    const auto values = decode_values(wire_reader(bytes), none);
    REQUIRE(values);
    CHECK(values->size() == static_cast<std::size_t>(lua_gettop(L)) - 1);
    Atoll::testing::bytes_writer again;
    REQUIRE(encode_values(again, none, *values));
    CHECK(again.take() == bytes);
    lua_settop(L, 0);
  }
}

TEST_CASE("strings of no bytes and of 64 MiB, tables of 200000 entries and of 200 levels cross whole") {
  CHECK(logged(std::string(same) + echo + R"lua(
    local big = ("0123456789abcde\0"):rep(1 << 22)
    log(#big, w:call("same", big) == big, w:call("same", "") == "")
    local wide = {}
    for i = 1, 100000 do wide[i], wide["k" .. i] = i, i end
    log(copies(wide, w:call("same", wide)))
    local deep = {}
    for _ = 1, 199 do deep = {deep, k = {}} end
    log(copies(deep, w:call("same", deep)))
    log(select("#", w:call("same", table.unpack({}, 1, 10000))))
  )lua") == "67108864\ttrue\ttrue\nnil\nnil\n10000\n");
}

TEST_CASE("one table deeper than the limit is an error with its path, as an item, a value and a key") {
  CHECK(logged(std::string(echo) + R"lua(
    local function deep(n, step) local t = {}; for _ = 2, n do t = step(t) end; return t end
    local steps = {function(t) return {t} end, function(t) return {k = t} end, function(t) return {[t] = 1} end}
    for _, step in ipairs(steps) do
      local ok = pcall(w.call, w, "n", deep(200, step))
      local _, e = pcall(w.call, w, "n", deep(201, step))
      local path, why = e.message:match("argument 1(.*) is (.*)")
      log(ok, e.code, #path, why)
    end
    local endless = {}
    endless.next = endless
    log(w:call("same", endless).next ~= nil)
  )lua")
        == "true\tnot_shareable\t600\tnested too deep (200 tables at most)\n"
           "true\tnot_shareable\t400\tnested too deep (200 tables at most)\n"
           "true\tnot_shareable\t1600\tnested too deep (200 tables at most)\n"
           "true\n");
}

TEST_CASE("a message over the size limit is refused by name, where it grew too large, and the next one goes") {
  CHECK(logged_with_limit(1000, std::string(echo) + R"lua(
    local function try(f, ...) local ok, e = pcall(w.call, w, f, ...); return ok or e.code .. ": " .. e.message end
    log(try("n", ("x"):rep(900)))
    log(try("n", ("x"):rep(1000)))
    log(try("n", 1, {a = {("x"):rep(600), ("y"):rep(600)}}))
    log(try(("f"):rep(1000)))
    log(try("n", atoll.self(), atoll.ref(print), ("x"):rep(990)))
    log(try("n", table.unpack({}, 1, 5000)))
    log(pcall(w.send, w, "n", ("x"):rep(2000)))
    log(select(2, pcall(atoll.spawn, {code = ""}, {args = {("x"):rep(2000)}})))
    log(w:call("n", 1, 2))
    local _, e = pcall(w.eval, w, "('x'):rep(2000)")
    log(e.message)
  )lua")
        == "true\n"
           "not_shareable: not shareable: the message is larger than 1000 bytes, the most that crosses at once; send "
           "it in "
           "parts\n"
           "not_shareable: not shareable: the message is larger than 1000 bytes, the most that crosses at once; send "
           "it in "
           "parts (argument 2.a[2])\n"
           "not_shareable: not shareable: the message is larger than 1000 bytes, the most that crosses at once; send "
           "it in "
           "parts\n"
           "not_shareable: not shareable: the message is larger than 1000 bytes, the most that crosses at once; send "
           "it in "
           "parts\n"
           "not_shareable: not shareable: the message is larger than 1000 bytes, the most that crosses at once; send "
           "it in "
           "parts\n"
           "false\tnot shareable: the message is larger than 1000 bytes, the most that crosses at once; send it in "
           "parts\n"
           "not shareable: the message is larger than 1000 bytes, the most that crosses at once; send it in parts\n"
           "2\n"
           "not shareable: the message is larger than 1000 bytes, the most that crosses at once; send it in parts "
           "(returned "
           "by eval of interpreter 2)\n");
}

TEST_CASE("everything that cannot cross is named by its path: in keys, results, arguments of spawn and of references") {
  CHECK(
      logged(std::string(echo) + R"lua(
    local function why(f, ...) local _, e = pcall(f, ...); return e.code == "not_shareable" and e.message or tostring(e) end
    local function try(...) log((why(w.call, w, "n", ...):gsub("^not shareable: ", ""))) end
    local f = atoll.task(function() end)
    local m = atoll.monitor(w, print)
    local t = atoll.after(1, print)
    local r = atoll.spawn{code = "return {f = function() return require'atoll'.ref(print) end}"}:call("f")
    atoll.release(r)
    try({print})
    try({a = {b = {[print] = 1}}})
    try({[{print}] = 1})
    try({[1.5] = print, x = 1})
    try({["a b"] = print})
    try({[true] = print})
    try(coroutine.create(print))
    try(f); try({m = m}); try(1, t); try(atoll.finalizer({}, print))
    try(setmetatable({}, {}))
    try({r})
    try({[{}] = {setmetatable({}, {})}})
    t:cancel()
    log(why(atoll.spawn, {code = ""}, {args = {1, {x = print}}}))
    log(why(w.send, w, "n", {print}))
    log(why(atoll.async, w, "n", {print}))
    log(why(w.eval, w, "{f = print}"))
    local o = w:eval("require'atoll'.ref({get = function() return 1, {print} end})")
    log(why(o.get, o, {1, print}))
    log(why(o.get, o))
    log(why(atoll.set, o, "k", {print}))
    log(why(atoll.set, o, print, 1))
  )lua")
      == "argument 1[1] is a function; pass atoll.ref(f)\n"
         "argument 1.a.b (a key) is a function; pass atoll.ref(f)\n"
         "argument 1 (a key)[1] is a function; pass atoll.ref(f)\n"
         "argument 1[1.5] is a function; pass atoll.ref(f)\n"
         "argument 1[\"a b\"] is a function; pass atoll.ref(f)\n"
         "argument 1[boolean] is a function; pass atoll.ref(f)\n"
         "argument 1 is a coroutine; pass atoll.ref(co)\n"
         "argument 1 is a future\nargument 1.m is a monitor\nargument 2 is a timer\nargument 1 is a finalizer\n"
         "argument 1 is a table with a metatable; pass atoll.ref(t), or register its class with atoll.class\n"
         "argument 1[1] is a reference to function 0 of interpreter 3 that was released\n"
         "argument 1[table][1] is a table with a metatable; pass atoll.ref(t), or register its class with atoll.class\n"
         "not shareable: args 2.x is a function; pass atoll.ref(f)\n"
         "not shareable: argument 1[1] is a function; pass atoll.ref(f)\n"
         "not shareable: argument 1[1] is a function; pass atoll.ref(f)\n"
         "not shareable: result 1.f is a function; pass atoll.ref(f) (returned by eval of interpreter 2)\n"
         "not shareable: argument 1[2] is a function; pass atoll.ref(f)\n"
         "not shareable: result 2[1] is a function; pass atoll.ref(f) (returned by get of interpreter 2)\n"
         "not shareable: argument 2[1] is a function; pass atoll.ref(f)\n"
         "not shareable: argument 1 is a function; pass atoll.ref(f)\n");
}

TEST_CASE("counts that lie are found before they cost memory, also when each alone could be true") {
  constexpr std::size_t filler = std::size_t{1} << 20U;
  fake_world world(make_lua_guest);
  fake_interpreter& first = world.run("return {}", 32 * filler);
  auto& guest = static_cast<lua_guest&>(*first.program);
  lua_State* L = guest.main;
  const auto complaint = [&](const std::string& bytes) {
    lua_pushcfunction(L, [](lua_State* inner) { return lua_guest::of(inner).push_message_values(inner); });
    guest.begin_reading(wire_reader(bytes));
    const int status = lua_pcall(L, 0, 0, 0);
    guest.end_reading();
    const errc code = status == LUA_OK ? errc::ok : guest.capture(L, -1, status).code;
    lua_settop(L, 0);
    return code;
  };
  const auto nested = [&](std::uint32_t items, std::uint32_t pairs) {
    Atoll::testing::bytes_writer w;
    for (int i = 0; i < 100; ++i) {
      w.put_tag(wire_tag::table);
      w.put_u32(items);
      w.put_u32(pairs);
    }
    return w.take() + std::string(filler, static_cast<char>(wire_tag::nil));
  };
  CHECK(complaint(nested(filler, 0)) == errc::bad_message);
  CHECK(complaint(nested(0, filler / 4)) == errc::bad_message);
  CHECK(complaint(nested(0xFFFFFFFF, 0xFFFFFFFF)) == errc::bad_message);
  CHECK(complaint(std::string("\x0d\1\0\0\0x\xff\xff\xff\xff", 10)) == errc::bad_message); // packed
  CHECK(complaint(std::string("\x06\xff\xff\xff\xffx", 6)) == errc::bad_message);          // string
  CHECK(complaint(std::string("\x07\1\0\0\0\0\0\0\0\x80", 10)) == errc::ok);
}
