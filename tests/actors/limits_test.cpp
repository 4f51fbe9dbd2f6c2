// Limits in whole runtimes: turns that cannot be preempted and the spare workers, kills, processor time, how many may live.
#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "actors/core.hpp"
#include "tests/actors/outside.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::code_of;
using test::soon;

namespace {

/// What was logged, in lines.
class log_book {
public:
  void add(std::string_view line) {
    const std::scoped_lock lock(mutex_);
    text_ += line;
  }
  bool has(std::string_view words) const {
    const std::scoped_lock lock(mutex_);
    return text_.find(words) != std::string::npos;
  }
  std::string text() const {
    const std::scoped_lock lock(mutex_);
    return text_;
  }

private:
  mutable std::mutex mutex_;
  std::string text_;
};

/// Native interpreters whose function "hold" keeps its thread until it is let go.
struct holders {
  std::atomic<int> inside{0};
  std::atomic<int> let_go{0}; // how many may leave

  native_interface offered() {
    native_interface f;
    f.function("hold", [this] {
      const int turn = ++inside;
      for (const auto end = clock_type::now() + 60s; let_go < turn && clock_type::now() < end;)
        std::this_thread::sleep_for(1ms);
      return turn;
    });
    f.function("twice", [](int x) { return 2 * x; });
    return f;
  }
};

system_config config_for(unsigned workers, log_book& log) {
  system_config c;
  c.workers = workers;
  c.log = [&log](std::string_view line) { log.add(line); };
  c.languages["lua"] = lua();
  return c;
}

/// One worker, and C++ that can hold it up.
system_config one_worker(log_book& log, holders& held, std::size_t spare_workers = system_config{}.spare_workers) {
  system_config c = config_for(1, log);
  c.languages["native"] = make_native_guest(held.offered());
  c.spare_workers = spare_workers;
  return c;
}

interpreter_handle native_one(Atoll::system& s, std::string name) {
  auto h = s.spawn({.name = std::move(name), .language = "native"}, source{});
  REQUIRE(h.has_value());
  return *h;
}

interpreter_handle lua_one(Atoll::system& s, const std::string& code, spawn_options options = {}) {
  auto h = s.spawn<lua>(std::move(options), Atoll::code(code));
  REQUIRE_MESSAGE(h.has_value(), (h ? "" : h.error().message));
  return *h;
}

} // namespace

TEST_CASE("limits: what waits behind a turn that does not end is run by a spare worker, which leaves when it ends") {
  log_book log;
  holders held;
  Atoll::system s(one_worker(log, held));
  const auto stuck = native_one(s, "stuck");
  const auto other = native_one(s, "other");
  const auto holding = stuck.call<int>("hold");
  REQUIRE(soon([&] { return held.inside == 1; }));
  for (int i = 0; i < 50; ++i) {
    const auto answer = other.call<int>("twice", i).get_for(20s);
    REQUIRE_MESSAGE(answer.has_value(), log.text());
    CHECK(*answer == 2 * i);
  }
  CHECK_FALSE(holding.ready());
  CHECK(soon([&] { return log.has("interpreter 2 'stuck': its turn has lasted "); }));
  CHECK(log.has(" s in 'hold' and cannot be preempted there: a spare worker takes over what waits"));
  held.let_go = 1;
  CHECK(holding.get_for(20s).value() == 1);
  CHECK(other.call<int>("twice", 4).get_for(20s).value() == 8);
  CHECK(s.finalize().verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("limits: as many spare workers run as threads are stuck, spares among them, up to their bound") {
  log_book log;
  holders held;
  Atoll::system s(one_worker(log, held, 2));
  std::vector<interpreter_handle> all;
  for (int i = 0; i < 4; ++i) all.push_back(native_one(s, "stuck" + std::to_string(i)));
  const auto other = native_one(s, "other");
  std::vector<future<int>> holding;
  for (int n = 1; n <= 2; ++n) {
    holding.push_back(all[holding.size()].call<int>("hold"));
    REQUIRE(soon([&] { return held.inside == n; }));
    CHECK_MESSAGE(other.call<int>("twice", n).get_for(20s).has_value(), log.text());
  }
  CHECK_FALSE(log.has("spare workers: others wait"));
  holding.push_back(all[2].call<int>("hold"));
  REQUIRE(soon([&] { return held.inside == 3; }));
  const auto late = other.call<int>("twice", 9);
  CHECK(code_of(late.get_for(300ms)) == errc::timeout);
  CHECK(soon([&] {
    return log.has("3 threads are in turns that do not end, and there may be 2 spare workers: others wait");
  }));
  held.let_go = 3;
  CHECK(late.get_for(20s).value() == 18);
  for (auto& one : holding) CHECK(one.get_for(20s).has_value());
  CHECK(s.finalize().verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("limits: without spare workers what waits goes on waiting, and the log says for whom") {
  log_book log;
  holders held;
  Atoll::system s(one_worker(log, held, 0));
  const auto stuck = native_one(s, "stuck");
  const auto other = native_one(s, "other");
  const auto holding = stuck.call<int>("hold");
  REQUIRE(soon([&] { return held.inside == 1; }));
  const auto late = other.call<int>("twice", 1);
  CHECK(soon([&] { return log.has(" and cannot be preempted there: what waits for its worker goes on"); }));
  CHECK_FALSE(late.ready());
  held.let_go = 1;
  CHECK(late.get_for(20s).value() == 2);
}

TEST_CASE("limits: a kill of Lua code that loops takes effect within 100 ms") {
  log_book log;
  Atoll::system s(config_for(2, log));
  for (const std::string loop : {
           "while true do end",
           "while true do pcall(function() while true do end end) end",
           "while true do coroutine.wrap(function() while true do end end)() end",
           "while true do setmetatable({}, {__gc = function() while true do end end}) collectgarbage() end",
           "local t <close> = setmetatable({}, {__close = function() while true do end end}) while true do end",
           "while true do load(function() while true do end end) end",
           "local t = {} while true do t[#t % 1000 + 1] = ('x'):rep(100) end",
           "while true do table.sort({3, 2, 1}, function(a, b) while true do end end) end",
       }) {
    CAPTURE(loop);
    auto best = time_point::duration::max(); // a machine that pauses is not slow each time
    for (int attempt = 0; attempt < 5 && best >= 100ms; ++attempt) {
      const auto w = lua_one(s, "return {ready = function() end, loop = function() " + loop + " end}");
      REQUIRE(w.send("loop").has_value());
      std::this_thread::sleep_for(30ms); // it loops by now; if not, the kill finds it asleep
      const auto start = clock_type::now();
      REQUIRE(w.kill().has_value());
      REQUIRE(soon([&] { return w.state() == run_state::gone; }));
      best = std::min(best, clock_type::now() - start);
    }
    CHECK(best < 100ms); // 1 to 3 ms here
  }
}

TEST_CASE("limits: as many interpreters live as the runtime allows, and one that ends makes room") {
  log_book log;
  system_config c = config_for(2, log);
  c.interpreters = 5;
  Atoll::system s(std::move(c));
  for (int round = 0; round < 20; ++round) {
    std::vector<interpreter_handle> all;
    for (int i = 0; i < 5; ++i) all.push_back(lua_one(s, "return {}"));
    const auto refused = s.spawn<lua>({}, code("return {}"));
    CHECK(code_of(refused) == errc::limit_reached);
    CHECK(refused.error().message == "no further interpreter: the runtime may have 5 at a time, which live already");
    for (const auto& w : all) REQUIRE(w.kill().has_value());
    REQUIRE(soon([&] { return s.list().empty(); }));
    // Out of the directory comes before the end: the room is there a moment later.
    REQUIRE(soon([&] {
      auto again = s.spawn<lua>({}, code("return {}"));
      if (!again) return false;
      (void)again->stop().get();
      return true;
    }));
    REQUIRE(soon([&] { return s.inside().living().empty(); }));
  }
  const auto named = s.spawn<lua>({.name = "one"}, code("return {}"));
  REQUIRE(named.has_value());
  for (int i = 0; i < 10; ++i) CHECK(code_of(s.spawn<lua>({.name = "one"}, code(""))) == errc::name_taken);
  for (int i = 0; i < 10; ++i) CHECK(code_of(s.spawn({.language = "none"}, code(""))) == errc::invalid_argument);
  for (int i = 0; i < 4; ++i) (void)lua_one(s, "return {}"); // none of those was counted
}

TEST_CASE("limits: a guest that takes memory without end dies alone, and the report says of what") {
  log_book log;
  Atoll::system s(config_for(2, log));
  const auto other = lua_one(s, "return {f = function() return 'alive' end}");
  const auto eater = s.spawn<lua>({.name = "eater", .memory = 4 << 20},
                                  code("local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end"));
  CHECK(code_of(eater) == errc::out_of_memory);
  const auto bomb = s.spawn<lua>({.name = "bomb", .memory = 4 << 20}, code("return ('x'):rep(1 << 30)"));
  CHECK(code_of(bomb) == errc::out_of_memory);
  CHECK(other.call<std::string>("f").get().value() == "alive");
  const finalization_report r = s.finalize();
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
  CHECK(to_text(r).find("failed: interpreter 3 'eater': not enough memory (its limit is 4194304 bytes)")
        != std::string::npos);
  CHECK(to_json(r).find("\"out_of_memory\"") != std::string::npos);
}

TEST_CASE("limits: a message that uses its processor time ends, whatever it does about it, and the next is answered") {
  log_book log;
  Atoll::system s(config_for(2, log));
  const auto w = lua_one(s, R"lua(return {
    spin = function() while true do pcall(function() while true do end end) end end,
    long_c = function() while true do ("x"):rep(1 << 22) end end,
    sorts = function() while true do pcall(table.sort, {3, 2, 1}, function() while true do end end) end end,
    ok = function() return 1 end})lua",
                         {.message_cpu = 50ms});
  for (const char* function : {"spin", "long_c", "sorts"}) {
    CAPTURE(std::string(function));
    const auto r = w.call<int>(function).get_for(60s);
    CHECK(code_of(r) == errc::cpu_limit);
    CHECK(r.error().message
          == std::string(function) + " used 0.05 s of processor time, which is the limit for a message");
    CHECK(w.call<int>("ok").get_for(20s).value() == 1);
  }
}

TEST_CASE("limits: a call's number has its depth in it, and is answered once whatever that is") {
  call_table calls;
  std::vector<call_id> open;
  for (std::uint32_t depth : {1U, 2U, 1000U, deepest_call, deepest_call + 5}) open.push_back(calls.open(depth, depth));
  CHECK(depth_of(open[2]) == 1000);
  CHECK(depth_of(open[4]) == deepest_call);
  CHECK(calls.close(open[2]) == 1000U);
  CHECK_FALSE(calls.close(open[2]).has_value());
  const call_id again = calls.open(7, 3); // the same slot
  CHECK_FALSE(calls.is_open(open[2]));
  CHECK_FALSE(calls.close(open[2]).has_value());
  CHECK(calls.is_open(again));
  CHECK(calls.close(again) == 7U);
  CHECK_FALSE(calls.close(0).has_value());
  CHECK(calls.size() == 4);
  CHECK(calls.close_all_but(1).size() == 3);
}
