// Interpreters in large numbers: what they cost, what they leave behind, how they end.
#include <doctest/doctest.h>
#include <malloc.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include <atoll/lua.hpp>

#include "actors/ticker.hpp"

using namespace Atoll;
using namespace std::chrono_literals;

namespace {

#if defined(ATOLL_CHECKED)
constexpr int many = 500; // each block of each heap is checked
#else
constexpr int many = 10000;
#endif

constexpr const char* nursery = R"(
  local atoll = require "atoll"
  local kept = {}
  return {
    come_and_go = function(n, code) for i = 1, n do atoll.spawn {code = code}:stop() end end,
    bear = function(n, code) for i = 1, n do kept[#kept + 1] = atoll.spawn {code = code} end end,
    each_takes = function(n) for i, w in ipairs(kept) do w:call("take", kept[i % #kept + 1], n) end end,
  })";

constexpr const char* lender = R"(
  local atoll = require "atoll"
  local held = {}
  return {
    give = function(n)
      local refs = {}
      for i = 1, n do refs[i] = atoll.ref({i}) end
      return refs
    end,
    take = function(peer, n) held[#held + 1] = peer:call("give", n) end,
  })";

system_config lua_config() {
  system_config c;
  c.workers = 2;
  c.deadline = 60s; // generous: what is measured stands in bench/births.cpp
  c.languages["lua"] = Atoll::lua();
  c.log_threshold = log_level::error;
  return c;
}

interpreter_handle start(Atoll::system& runtime, std::string_view code, std::string name = {}) {
  const auto made =
      runtime.spawn<Atoll::lua>({.name = std::move(name)}, {source_kind::code, std::string(code), "=test"});
  REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  return *made;
}

template <class... Args>
void ask(const interpreter_handle& who, std::string_view function, Args&&... args) {
  const auto answer = who.call<void>(function, std::forward<Args>(args)...).get();
  REQUIRE_MESSAGE(answer.has_value(), (answer ? "" : answer.error().message));
}

/// Bytes that the program has of malloc; 0 under sanitizers, which have their own.
std::size_t in_use() {
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

/// What a runtime's programs warn of during its life, one text to a line.
std::string said_while(const std::function<void(Atoll::system&)>& life) {
  std::mutex mutex;
  std::string said;
  {
    system_config c = lua_config();
    c.log_threshold = log_level::warn;
    c.log = [&](std::string_view line) {
      const std::scoped_lock lock(mutex);
      said += line.substr(line.rfind(": ") + 2);
    };
    Atoll::system runtime(c);
    life(runtime);
  }
  return said;
}

} // namespace

TEST_CASE("births: interpreters that come and go leave no memory behind") {
  system_config c = lua_config();
  c.reported_ends = 10;
  Atoll::system runtime(c);
  const interpreter_handle parent = start(runtime, nursery);
  ask(parent, "come_and_go", many / 5, "return {}");
  const std::size_t before = in_use();
  ask(parent, "come_and_go", many, "return {}");
  const std::size_t after = in_use();
  CAPTURE(before);
  CAPTURE(after);
  // The parent's collector is at some point of its round; what stayed of each would be more than 20 bytes.
  CHECK(after < before + static_cast<std::size_t>(many) * 20 + 100'000);
  const finalization_report r = runtime.finalize();
  CHECK(r.outcomes[static_cast<std::size_t>(end_kind::stopped)] == many + many / 5 + 1);
}

TEST_CASE("births: of one that ends before its timer is due, the clock keeps a number and no more") {
  Atoll::system runtime(lua_config());
  const interpreter_handle parent = start(runtime, nursery);
  constexpr const char* with_timer = "require('atoll').after(3600, function() end)";
  constexpr int n = many / 5;
  ask(parent, "come_and_go", n, with_timer);
  const std::size_t before = in_use();
  ask(parent, "come_and_go", n, with_timer);
  CHECK(in_use() < before + static_cast<std::size_t>(n) * 600 + 100'000); // the rest is its line in the report
}

TEST_CASE("births: the report counts every interpreter, and lists as many as it was told and whoever is amiss") {
  system_config c = lua_config();
  c.reported_ends = 3;
  Atoll::system runtime(c);
  const interpreter_handle parent = start(runtime, nursery);
  ask(parent, "bear", 20, "return {}");
  ask(parent, "come_and_go", 20, "return {}");
  for (int i = 0; i < 5; ++i) CHECK(!runtime.spawn<Atoll::lua>({}, {source_kind::code, "error 'no'", "=test"}));
  const finalization_report r = runtime.finalize();
  CHECK(r.total() == 46);
  CHECK(r.outcomes[static_cast<std::size_t>(end_kind::stopped)] == 41);
  CHECK(r.outcomes[static_cast<std::size_t>(end_kind::failed)] == 5);
  CHECK(r.interpreters.size() == 6);
  CHECK(std::count_if(r.interpreters.begin(), r.interpreters.end(),
                      [](const auto& i) { return i.outcome == end_kind::failed; })
        == 3);
  CHECK(std::is_sorted(r.interpreters.begin(), r.interpreters.end(),
                       [](const auto& a, const auto& b) { return a.id < b.id; }));
  CHECK(to_text(r).find("interpreters: 46 (41 stopped, 5 failed)") != std::string::npos);
}

#if !defined(ATOLL_CHECKED)
TEST_CASE("births: a program pays for the libraries it names") {
  Atoll::system runtime(lua_config());
  const auto heap_of = [&](std::string_view code) {
    return start(runtime, code).stats().get().value().at("heap_bytes");
  };
  const double bare = heap_of("return {}");
  CHECK(bare < 8 * 1024);
  CHECK(heap_of("local x = math.pi return {}") > bare + 1024);
  CHECK(heap_of("return {type}") > bare + 512);
  CHECK(heap_of("return {x = _G}") > bare + 8 * 1024);
}
#endif

TEST_CASE("finalization: thousands of interpreters that hold each other's objects end in time, and nothing leaks") {
  Atoll::system runtime(lua_config());
  const interpreter_handle parent = start(runtime, nursery);
  constexpr int lenders = many / 5;
  ask(parent, "bear", lenders, lender);
  ask(parent, "each_takes", 20);
  const finalization_report r = runtime.finalize();
  CAPTURE(to_text(r).substr(0, 2000));
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
  CHECK(r.exported >= static_cast<std::uint64_t>(lenders) * 20);
  CHECK(r.released == r.exported);
  CHECK(r.outcomes[static_cast<std::size_t>(end_kind::stopped)] == lenders + 1);
}

TEST_CASE("finalization: exit handlers run newest first, whoever stands between them has none") {
  const std::string said = said_while([](Atoll::system& runtime) {
    for (int i = 0; i < 40; ++i) {
      const std::string log = "require('atoll').log.warn('" + std::to_string(i) + "')";
      start(runtime, i % 10 == 5 ? "require('atoll').at_exit(function() " + log + " end)" : "return {}");
    }
    CHECK(runtime.finalize().verdict == finalization_report::verdict_kind::clean);
  });
  CHECK(said == "35\n25\n15\n5\n");
}

TEST_CASE("finalization: a handler that another's handler makes runs, though there was none when the phase began") {
  const std::string said = said_while([](Atoll::system& runtime) {
    constexpr const char* ready = R"(
      local atoll = require "atoll"
      return {
        promise = function(text) atoll.at_exit(function() atoll.log.warn(text) end) end,
      })";
    start(runtime, ready, "first");
    start(runtime, ready, "second");
    start(runtime, "return {}");
    start(runtime, R"(
      local atoll = require "atoll"
      atoll.at_exit(function()
        atoll.find("first"):call("promise", "first")
        atoll.find("second"):call("promise", "second")
        atoll.log.warn("last")
      end))");
    CHECK(runtime.finalize().verdict == finalization_report::verdict_kind::clean);
  });
  CHECK(said == "last\nsecond\nfirst\n");
}

TEST_CASE("finalization: what Lua programs do as they close is done newest first") {
  const std::string said = said_while([](Atoll::system& runtime) {
    for (int i = 0; i < 30; ++i) {
      const std::string log = "require('atoll').log.warn('" + std::to_string(i) + "')";
      start(runtime, i % 3 == 1 ? "setmetatable({}, {__gc = function() " + log + " end})" : "return {}");
    }
    runtime.finalize();
  });
  CHECK(said == "28\n25\n22\n19\n16\n13\n10\n7\n4\n1\n");
}

TEST_CASE("ticker: it sleeps when nothing runs, and looks again when it is woken") {
  std::atomic<int> looks{0};
  std::atomic<bool> wanted{true};
  ticker t(
      1ms, 0ms,
      [&] {
        ++looks;
        return wanted.load();
      },
      [] { return false; });
  const auto within = [](auto&& condition) {
    const auto until = clock_type::now() + 20s;
    while (!condition() && clock_type::now() < until) std::this_thread::sleep_for(1ms);
    return condition();
  };
  CHECK(within([&] { return looks > 60; })); // `look` wants to be asked again
  wanted = false;
  CHECK(within([&] {
    const int before = looks;
    std::this_thread::sleep_for(200ms);
    return looks == before;
  }));
  const int before = looks;
  t.wake();
  CHECK(within([&] { return looks > before; }));
}

TEST_CASE("ticker: a turn that never ends after a long rest is preempted as any") {
  Atoll::system runtime(lua_config());
  const interpreter_handle w = start(runtime, R"(
    local done = false
    return {
      busy = function() while not done do end return "over" end,
      set = function() done = true end,
    })");
  std::this_thread::sleep_for(500ms); // no condition to wait for: the ticker is asleep by then, or the case is easier
  const auto busy = w.call<std::string>("busy");
  CHECK(w.call<void>("set").get_for(30s));
  CHECK(busy.get_for(30s).value_or("") == "over");
}
