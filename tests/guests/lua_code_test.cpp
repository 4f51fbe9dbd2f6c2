// Code objects of Lua guests: who has which, and when they die.
#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "atoll/lua.hpp"
#include "guests/lua/coverage.hpp"
#include "guests/lua/state.hpp"
#include "tests/guests/lua_programs.hpp"

using namespace Atoll;

namespace {

using extra_index = code_extra_registry::index;

std::atomic<int> freed{0};
void count_freed(void*) { ++freed; }

struct runtime_with_lua {
  runtime_with_lua() : whole(config()) { freed = 0; }
  static system_config config() {
    system_config c;
    c.workers = 2;
    c.languages["lua"] = lua();
    return c;
  }
  interpreter_handle spawn(const char* text, std::string name = {}) {
    return whole.spawn<lua>({.name = std::move(name)}, code(text)).value();
  }
  Atoll::system whole;
};

extra_index request(const interpreter_handle& who, void (*free)(void*) = count_freed) {
  return static_cast<extra_index>(with_code(who,
                                            [free](lua_code& all) {
                                              return all.registry().request_code_extra_index(free).map(
                                                  [](extra_index i) { return int{i}; });
                                            })
                                      .get()
                                      .value());
}

int number_at(code_object* code, extra_index i) {
  void* extra = nullptr;
  (void)code->get_extra(i, extra);
  return static_cast<int>(reinterpret_cast<std::intptr_t>(extra));
}

void* as_extra(int n) { return reinterpret_cast<void*>(static_cast<std::intptr_t>(n)); }

/// Sets the extra of the function f of its interface.
result<void> set_on_f(const interpreter_handle& who, extra_index i, int n) {
  return with_code(who,
                   [i, n](lua_code& all) {
                     return all.of_interface("f").and_then(
                         [&](code_object* f) { return f->set_extra(all.registry(), i, as_extra(n)); });
                   })
      .get();
}

/// Who holds the one object that is held.
std::vector<interpreter_id> holders(Atoll::system& whole) {
  const auto all = whole.references();
  return all && all->size() == 1 ? all->front().holders : std::vector<interpreter_id>{};
}

/// A new function of `owner`, with an extra, that `holder` alone holds when this returns.
void hand_over(Atoll::system& whole, const interpreter_handle& owner, const interpreter_handle& holder, extra_index i) {
  auto f = owner.call<ref<>>("make").get().value();
  REQUIRE(with_code(f, [i](lua_code& all, code_object& code) {
            return code.set_extra(all.registry(), i, as_extra(1));
          }).get());
  REQUIRE(holder.call<void>("hold", f).get());
  f = {};
  const std::vector<interpreter_id> alone{holder.id()};
  for (int k = 0; k < 2000 && holders(whole) != alone; ++k) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  REQUIRE(holders(whole) == alone);
}

/// Waits until `n` were freed.
bool all_freed(int n) {
  for (int i = 0; i < 2000 && freed < n; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return freed == n;
}

} // namespace

TEST_CASE("code: closures of one function share their code, other functions have their own") {
  runtime_with_lua r;
  const auto who = r.spawn(R"(local function make(n) return function() return n end end
                              return {a = make(1), b = make(2), c = function() end, d = print})");
  const extra_index i = request(who);
  const auto seen = with_code(who, [i](lua_code& all) -> result<int> {
                      code_object* const a = all.of_interface("a").value();
                      CHECK(a == all.of_interface("b").value());
                      CHECK(a != all.of_interface("c").value());
                      CHECK(a->set_extra(all.registry(), i, as_extra(7)));
                      CHECK(all.of_interface("d").error().code == errc::invalid_argument);
                      CHECK(all.of_interface("e").error().code == errc::invalid_argument);
                      return number_at(all.of_interface("b").value(), i);
                    }).get();
  CHECK(seen.value() == 7);
}

TEST_CASE("code: a function another interpreter held last is freed by its owner, in the owner's turn") {
  runtime_with_lua r;
  const auto owner = r.spawn(R"(return {
    make = function() return require("atoll").ref(load("return 1")) end,
    collect = function() collectgarbage() collectgarbage() end})");
  const auto holder = r.spawn("local held; return {hold = function(f) held = f end, "
                              "drop = function() held = nil collectgarbage() collectgarbage() end}");
  const extra_index i = request(owner);
  hand_over(r.whole, owner, holder, i);
  REQUIRE(owner.call<void>("collect").get());
  CHECK(freed == 0);
  REQUIRE(holder.call<void>("drop").get());
  for (int k = 0; k < 500 && freed == 0; ++k) REQUIRE(owner.call<void>("collect").get());
  CHECK(freed == 1);
}

TEST_CASE("code: extras are freed once when their interpreter stops, is killed, and at finalization") {
  const char* const text = "return {f = function() end, spin = function() while true do end end}";
  runtime_with_lua r;
  for (const char* how : {"stop", "kill", "kill while it runs", "finalize"}) {
    INFO(how);
    freed = 0;
    const auto who = r.spawn(text);
    const extra_index i = request(who);
    REQUIRE(set_on_f(who, i, 1));
    if (how[0] == 's') (void)who.stop().get();
    if (how[4] == ' ') (void)who.send("spin");
    if (how[0] == 'k') (void)who.kill();
    if (how[0] == 'f') r.whole.finalize();
    CHECK(all_freed(1));
  }
}

TEST_CASE("code: collected code is freed at once and only its own, over many collections") {
  runtime_with_lua r;
  const auto who = r.spawn(R"(local kept, n = {}, 0
    return {
      make = function() n = n + 1 local f = load("return " .. n) if n % 2 == 0 then kept[n] = f end
        return require("atoll").ref(f) end,
      collect = function() collectgarbage() collectgarbage() end})");
  const extra_index i = request(who);
  for (int n = 1; n <= 200; ++n) {
    auto f = who.call<ref<>>("make").get().value();
    REQUIRE(with_code(f, [i, n](lua_code& all, code_object& code) -> result<void> {
              CHECK(number_at(&code, i) == 0); // a block that served other code before is no old code
              return code.set_extra(all.registry(), i, as_extra(n));
            }).get());
  }
  for (int k = 0; k < 500 && freed < 100; ++k) REQUIRE(who.call<void>("collect").get());
  CHECK(freed == 100);
  (void)who.stop().get();
  CHECK(all_freed(200));
}

TEST_CASE("code: pending calls with their host and jobs see the same code, each has one fate while interpreters end") {
  runtime_with_lua r;
  for (const char* how : {"stop", "kill", "finalize"}) {
    INFO(how);
    freed = 0;
    const auto who = r.spawn("return {f = function() end}");
    const extra_index i = request(who);
    std::atomic<int> set{0};
    std::atomic<int> lost{0};
    std::atomic<bool> pended{false}; // a pending call ran
    std::atomic<bool> enough{false};
    const auto set_next = [&, i](lua_code& all) -> result<void> {
      // Each overwrites the one before; the last is freed with the code.
      return all.of_interface("f")
          .and_then([&](code_object* f) { return f->set_extra(all.registry(), i, as_extra(1)); })
          .map([&] { ++set; });
    };
    std::thread caller([&] {
      while (!enough)
        (void)r.whole.add_pending_call(who.id(), [&](host& h) {
          lua_code* const all = code_of(h.program());
          if (all == nullptr || !set_next(*all)) ++lost;
          pended = true;
        });
    });
    int answered = 0;
    const auto ask = [&] {
      const auto answer = with_code(who, set_next).get();
      ++answered;
      return answer.has_value();
    };
    for (int n = 0; n < 100; ++n) CHECK(ask());
    while (!pended) std::this_thread::yield();
    auto last = with_code(who, set_next);
    if (how[0] == 's') (void)who.stop();
    if (how[0] == 'k') (void)who.kill();
    if (how[0] == 'f') r.whole.finalize();
    (void)last.get(); // done or refused, but answered
    while (ask()) {
    }
    CHECK(answered > 100);
    enough = true;
    caller.join();
    CHECK(lost == 0);
    CHECK(set > 100);
    CHECK(all_freed(set));
  }
}

namespace {

std::atomic<int> freed_elsewhere{0};

/// The next of a chain of functions, held by the code of the one before.
void free_link(void* next) {
  delete static_cast<ref<>*>(next);
  ++freed;
}

} // namespace

TEST_CASE(
    "code: free functions that let go of the next function free a chain of them, one collection after the other") {
  runtime_with_lua r;
  const auto who = r.spawn(R"(return {
    make = function(n) return require("atoll").ref(load("return " .. n)) end,
    collect = function() collectgarbage() collectgarbage() end})");
  const extra_index i = request(who, free_link);
  constexpr int links = 50;
  ref<> next;
  for (int n = 0; n < links; ++n) {
    auto f = who.call<ref<>>("make", n).get().value();
    REQUIRE(with_code(f, [i, &next](lua_code& all, code_object& code) {
              return code.set_extra(all.registry(), i, new ref<>(std::move(next)));
            }).get());
    next = std::move(f);
  }
  REQUIRE(who.call<void>("collect").get());
  CHECK(freed == 0);
  next = {};
  for (int k = 0; k < 2000 && freed < links; ++k) REQUIRE(who.call<void>("collect").get());
  CHECK(freed == links);
}

TEST_CASE("code: a function another interpreter still holds at finalization is freed by its owner's function, once") {
  runtime_with_lua r;
  freed_elsewhere = 0;
  const auto owner = r.spawn("return {make = function() return require('atoll').ref(load('return 1')) end}");
  const auto holder = r.spawn("local held; return {hold = function(f) held = f end, f = function() end}");
  const extra_index i = request(owner);
  // The same number means another function there.
  REQUIRE(request(holder, [](void*) { ++freed_elsewhere; }) == i);
  REQUIRE(set_on_f(holder, i, 2));
  hand_over(r.whole, owner, holder, i);
  CHECK(r.whole.finalize().verdict == finalization_report::verdict_kind::clean);
  CHECK(freed == 1);
  CHECK(freed_elsewhere == 1);
}

namespace {

struct levels {
  lua_code* all;
  code_object* found[3];
  errc why[3];
};

/// For programs: asks for the code at level 0, 1 and 100.
int ask_levels(lua_State* L) {
  auto& seen = *static_cast<levels*>(lua_touserdata(L, lua_upvalueindex(1)));
  constexpr int asked[] = {0, 1, 100};
  for (int n = 0; n < 3; ++n) {
    const int top = lua_gettop(L);
    const auto code = seen.all->of_running(L, asked[n]);
    seen.found[n] = code ? *code : nullptr;
    seen.why[n] = code ? errc::ok : code.error().code;
    CHECK(lua_gettop(L) == top);
  }
  return 0;
}

} // namespace

TEST_CASE("code: who runs at a level is found, in a coroutine too, and a function of C and a level beyond are errors") {
  testing::fake_world world(make_lua_guest);
  auto& who = world.run(R"(local function inner() ask() return 1 end
                           return {f = function() ask() return 1 end, inner = inner,
                                   coroutine = function() return coroutine.wrap(inner)() end})");
  auto& g = static_cast<lua_guest&>(*who.program);
  levels seen{code_of(who.program.get()), {}, {}};
  lua_pushlightuserdata(g.main, &seen);
  lua_pushcclosure(g.main, ask_levels, 1);
  lua_setglobal(g.main, "ask");
  const auto run = [&](const char* name) {
    seen.found[1] = nullptr;
    lua_rawgeti(g.main, LUA_REGISTRYINDEX, g.interface_ref);
    lua_getfield(g.main, -1, name);
    REQUIRE(lua_pcall(g.main, 0, 1, 0) == LUA_OK);
    CHECK(lua_tointeger(g.main, -1) == 1);
    lua_settop(g.main, 0);
    CHECK(seen.why[0] == errc::invalid_argument); // ask itself
    CHECK(seen.why[1] == errc::ok);
    CHECK(seen.why[2] == errc::invalid_argument);
  };
  run("f"); // the first to ask for code in this guest
  CHECK(seen.found[1] == seen.all->of_interface("f").value());
  run("coroutine");
  CHECK(seen.found[1] == seen.all->of_interface("inner").value());
}

TEST_CASE("code: a tool's exception, a table for a function and an interpreter that ended are errors of the call") {
  runtime_with_lua r;
  const auto who = r.spawn("return {t = function() return require('atoll').ref({}) end}");
  const auto thrown = with_code(who, [](lua_code&) -> int { throw std::runtime_error("tool broke"); }).get();
  CHECK(thrown.error().message == "tool broke");
  const auto out = with_code(who, [](lua_code&) -> int { throw std::bad_alloc(); }).get();
  CHECK(out.error().code == errc::out_of_memory);
  const auto t = who.call<ref<>>("t").get().value();
  const auto table = with_code(t, [](lua_code&, code_object&) {}).get();
  CHECK(table.error().message == "a Lua function was expected, not a table");
  (void)who.stop().get();
  CHECK(with_code(who, [](lua_code&) {}).get().error().code == errc::interpreter_gone);
}

TEST_CASE("code: a function that throws while an interpreter closes is logged, and the others are freed") {
  testing::fake_world world(make_lua_guest);
  auto& who = world.run("return {f = function() end, g = function() end}");
  lua_code& all = *code_of(who.program.get());
  freed = 0;
  const auto bad = all.registry().request_code_extra_index([](void*) { throw std::runtime_error("free broke"); });
  const auto good = all.registry().request_code_extra_index(count_freed);
  for (const char* name : {"f", "g"}) {
    REQUIRE(all.of_interface(name).value()->set_extra(all.registry(), bad.value(), as_extra(1)));
    REQUIRE(all.of_interface(name).value()->set_extra(all.registry(), good.value(), as_extra(1)));
  }
  who.program->close();
  CHECK(freed == 2);
  CHECK(testing::lines(who).find("free function failed: free broke") != std::string::npos);
}

TEST_CASE("code: every line of a dumped chunk that can run is found, as Lua's own activelines say") {
  lua_State* L = luaL_newstate();
  std::string text = "-- nothing\nlocal a = 1\nlocal t = {\n 5,\n nil, true, 2.5, 'x'}\n\nlocal function f(x)\n if x "
                     "then\n  return 1\n"
                     " end\n return function()\n  return x\n end\nend\n";
  for (int i = 0; i < 300; ++i) text += "a = a + " + std::to_string(i) + (i % 3 == 0 ? "\n\n\n" : "\n");
  text += std::string(200, '\n') + "return f\n";
  REQUIRE(luaL_loadstring(L, text.c_str()) == LUA_OK);
  std::string dump;
  lua_dump(
      L,
      [](lua_State*, const void* p, std::size_t n, void* to) {
        static_cast<std::string*>(to)->append(static_cast<const char*>(p), n);
        return 0;
      },
      &dump, 0);
  std::set<int> found;
  const auto take = [](void* to, int line) { static_cast<std::set<int>*>(to)->insert(line); };
  REQUIRE(lines_of_dump(dump, take, &found));
  std::set<int> expected;
  // The chunk, the function it returns, and the function that one returns.
  for (int level = 0; level < 3; ++level) {
    lua_Debug ar;
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">L", &ar);
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) expected.insert(static_cast<int>(lua_tointeger(L, -2)));
    lua_pop(L, 1);
    if (level < 2) lua_call(L, 0, 1);
  }
  CHECK(found == expected);
  for (std::size_t n = 0; n < dump.size(); ++n) CHECK_FALSE(lines_of_dump(dump.substr(0, n), take, &found));
  lua_close(L);
}
