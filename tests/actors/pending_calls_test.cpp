// Pending calls: who may schedule them, when they run, when they are refused; counted against the report.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <latch>
#include <map>
#include <mutex>
#include <thread>

#include <atoll/lua.hpp>

#include "tests/actors/outside.hpp"
#include "tests/in_a_process.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::code_of;
using test::probe;
using test::probe_functions;
using test::soon;
using test::spawn_probe;

namespace {

const char* const lua_worker = R"lua(
local atoll = require "atoll"
return {
  count = function(n) local s = 0 for i = 1, n do s = s + 1 end return s end,
  nap = function() atoll.sleep(60) return 1 end,
  forever = function() while true do end end,
})lua";

/// Probes that block until they are let go on, and Lua.
struct runtime_under_test {
  probe_functions functions;
  system_config config;
  std::atomic<bool> go_on{false};
  std::atomic<int> blocked{0};

  runtime_under_test() {
    functions["block"] = [this](probe&, const incoming&) {
      ++blocked;
      while (!go_on) std::this_thread::sleep_for(1ms);
    };
    config.workers = 2;
    config.log = [this](std::string_view line) {
      const std::scoped_lock lock(mutex_);
      logged_ += line;
    };
    config.languages["lua"] = lua();
    config.languages["probe"] = [this](host& h) { return std::make_unique<probe>(h, functions); };
  }
  std::string logged() {
    const std::scoped_lock lock(mutex_);
    return logged_;
  }

private:
  std::mutex mutex_;
  std::string logged_;
};

interpreter_handle spawn_lua(Atoll::system& s) {
  auto h = s.spawn<lua>({.name = "worker"}, code(lua_worker));
  if (!h) MESSAGE(h.error().message);
  REQUIRE(h.has_value());
  return *h;
}

/// Until it is accepted or refused for good.
result<void> add_patiently(Atoll::system& s, interpreter_id to, const std::function<void()>& call) {
  for (;;) {
    auto r = s.add_pending_call(to, call);
    if (r || r.error().code != errc::mailbox_full) return r;
    std::this_thread::yield();
  }
}

} // namespace

TEST_CASE("a pending call sees its target as current, whichever thread or interpreter scheduled it") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle a = spawn_probe(s, "a");
  const interpreter_handle b = spawn_probe(s, "b");
  std::atomic<int> seen{0};
  const auto check = [&seen](const interpreter_handle& target) {
    return [&seen, target](host& h) {
      if (h.id() == target.id() && h.name() == target.name() && h.program() != nullptr) ++seen;
    };
  };
  CHECK(s.add_pending_call(a.id(), check(a)));
  std::thread([&] { CHECK(s.add_pending_call(b.id(), check(b))); }).join();
  CHECK(s.add_pending_call(a.id(), [&](host&) {
    CHECK(s.add_pending_call(b.id(), check(b))); // from another's turn
    CHECK(s.add_pending_call(a.id(), check(a))); // from its own
  }));
  CHECK(soon([&] { return seen == 4; }));
  CHECK(s.finalize().pending_calls_run == 5);
}

TEST_CASE("a full queue refuses with the interpreter and the limit, and what is tried again runs in the end") {
  runtime_under_test t;
  t.config.pending_calls = 8;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s, "worker");
  CHECK(h.send("block"));
  REQUIRE(soon([&] { return t.blocked == 1; }));
  int early = 0;
  for (int i = 0; i < 8; ++i) CHECK(s.add_pending_call(h.id(), [&early] { ++early; }));
  const auto full = s.add_pending_call(h.id(), [&early] { early += 100; });
  REQUIRE(!full.has_value());
  CHECK(full.error().code == errc::mailbox_full);
  CHECK(full.error().message.find("'worker'") != std::string::npos);
  CHECK(full.error().message.find(" 8 pending calls") != std::string::npos);
  constexpr int threads = 4;
  constexpr int calls = 500;
  std::array<std::vector<int>, threads> ran;
  std::atomic<int> refused{0};
  std::vector<std::thread> all;
  for (int k = 0; k < threads; ++k) {
    all.emplace_back([&, k] {
      auto& mine = ran[static_cast<std::size_t>(k)];
      for (int i = 0; i < calls; ++i) {
        for (;;) {
          if (s.add_pending_call(h.id(), [&mine, i] { mine.push_back(i); })) break;
          ++refused;
          std::this_thread::yield();
        }
      }
    });
  }
  CHECK(soon([&] { return refused > 100; }));
  t.go_on = true;
  for (auto& one : all) one.join();
  const auto r = s.finalize();
  CHECK(early == 8);
  CHECK(r.pending_calls_run == 8 + threads * calls);
  CHECK(r.pending_calls_refused == 0);
  for (const auto& mine : ran) {
    REQUIRE(mine.size() == calls);
    CHECK(std::is_sorted(mine.begin(), mine.end()));
  }
}

TEST_CASE("a pending call runs behind the messages its thread sent before it") {
  runtime_under_test t;
  std::vector<std::string> order;
  t.functions["message"] = [&](probe&, const incoming&) { order.emplace_back("message"); };
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s);
  CHECK(h.send("block"));
  REQUIRE(soon([&] { return t.blocked == 1; }));
  for (int i = 0; i < 20; ++i) CHECK(h.send("message"));
  std::atomic<bool> called{false};
  CHECK(s.add_pending_call(h.id(), [&] {
    order.emplace_back("call");
    called = true;
  }));
  t.go_on = true;
  CHECK(soon([&] { return called.load(); }));
  s.finalize();
  REQUIRE(order.size() == 21);
  CHECK(order.back() == "call");
}

TEST_CASE("pending calls never nest, also when one schedules others into its own interpreter") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s);
  std::vector<int> order;
  int depth = 0;
  int deepest = 0;
  std::function<void(int)> add = [&](int n) {
    CHECK(s.add_pending_call(h.id(), [&, n] {
      deepest = std::max(deepest, ++depth);
      order.push_back(n);
      if (n < 100) {
        add(2 * n);
        add(2 * n + 1);
      }
      --depth;
    }));
  };
  add(1);
  const auto r = s.finalize();
  CHECK(deepest == 1);
  REQUIRE(order.size() == 199);
  for (std::size_t i = 0; i < order.size(); ++i) CHECK(order[i] == static_cast<int>(i + 1)); // breadth first
  CHECK(r.pending_calls_run == 199);
}

TEST_CASE("a pending call that throws is logged with its interpreter, and the rest run") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s, "origin");
  int ran = 0;
  CHECK(s.add_pending_call(h.id(), [] { throw std::runtime_error("out of luck"); }));
  CHECK(s.add_pending_call(h.id(), [] { throw 1; }));
  CHECK(s.add_pending_call(h.id(), [] { throw std::bad_alloc(); }));
  CHECK(s.add_pending_call(h.id(), [&] { ++ran; }));
  const auto r = s.finalize();
  CHECK(ran == 1);
  CHECK(r.pending_calls_run == 4);
  CHECK(r.pending_calls_failed == 3);
  CHECK(t.logged().find("'origin': a pending call failed: out of luck") != std::string::npos);
  CHECK(t.logged().find("'origin': a pending call failed with an exception that is no") != std::string::npos);
}

TEST_CASE("what throws in the middle of a message takes it back, and what is sent later arrives whole") {
  struct broken_job final : call_job {
    explicit broken_job(interpreter_id to) : to_(to) {}
    void run(host& owner) override {
      owner.open_message(to_, record_kind::send).put_text("half");
      throw std::runtime_error("in the middle");
    }
    interpreter_id to_;
  };
  runtime_under_test t;
  std::vector<std::size_t> got; // the receiver's turn
  t.functions["message"] = [&](probe&, const incoming& m) { got.push_back(m.args.left()); };
  t.functions["half"] = [&](probe&, const incoming&) { got.push_back(1000); };
  Atoll::system s(t.config);
  const interpreter_handle from = spawn_probe(s);
  const interpreter_handle to = spawn_probe(s);
  const auto begin = [&](host& h, const char* name) -> wire_writer& {
    wire_writer& w = h.open_message(to.id(), record_kind::send);
    w.put_text(name);
    return w;
  };
  const auto whole = [&](host& h) {
    begin(h, "message").put_bool(true);
    CHECK(h.commit() == send_status::sent);
  };
  CHECK(s.add_pending_call(from.id(), [&](host& h) {
    begin(h, "half").put_string("of it");
    throw std::runtime_error("in the middle");
  }));
  CHECK(s.add_pending_call(from.id(), whole));
  CHECK(s.add_pending_call(from.id(), [&](host& h) { begin(h, "half"); })); // forgets to send it
  CHECK(s.add_pending_call(from.id(), whole));
  (void)from.run(std::make_unique<broken_job>(to.id()));
  CHECK(s.add_pending_call(from.id(), whole));
  s.finalize();
  REQUIRE(got.size() == 3);
  CHECK(std::count(got.begin(), got.end(), got[0]) == 3);
  CHECK(got[0] < 10);
}

TEST_CASE(
    "a pending call's function ends right after it ran, at once when it is refused, and may itself submit calls") {
  runtime_under_test t;
  t.config.pending_calls = 2;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s);
  struct end {
    std::thread::id where;
    errc again{};
  };
  std::mutex mutex;
  std::map<int, end> ended;
  std::map<int, std::thread::id> ran;
  const auto call = [&](int n) {
    const std::shared_ptr<void> held(nullptr, [&, n](void*) {
      const auto r = s.add_pending_call(h.id(), [] {});
      const std::scoped_lock lock(mutex);
      ended[n] = {std::this_thread::get_id(), code_of(r)};
    });
    return std::function<void()>([&, n, held] {
      const std::scoped_lock lock(mutex);
      ran[n] = std::this_thread::get_id();
      CHECK((n == 1 || ended.count(n - 1) == 1));
    });
  };
  CHECK(h.send("block"));
  REQUIRE(soon([&] { return t.blocked == 1; }));
  CHECK(s.add_pending_call(h.id(), call(1)));
  CHECK(s.add_pending_call(h.id(), call(2)));
  CHECK(code_of(s.add_pending_call(h.id(), call(3))) == errc::mailbox_full);
  CHECK(ended.at(3).where == std::this_thread::get_id());
  CHECK(ended.at(3).again == errc::mailbox_full);
  t.go_on = true;
  CHECK(soon([&] {
    const std::scoped_lock lock(mutex);
    return ended.size() == 3;
  }));
  for (const int n : {1, 2}) {
    CHECK(ended[n].where == ran.at(n));
    CHECK(ended[n].again == errc::ok);
  }
  // Given up with its interpreter.
  t.go_on = false;
  CHECK(h.send("block"));
  REQUIRE(soon([&] { return t.blocked == 2; }));
  CHECK(s.add_pending_call(h.id(), call(4)));
  CHECK(h.kill());
  t.go_on = true;
  REQUIRE(soon([&] { return h.state() == run_state::gone; }));
  CHECK(s.finalize().pending_calls_refused == 1);
  CHECK(ran.count(4) == 0);
  CHECK(ended.at(4).again == errc::interpreter_gone);
}

TEST_CASE("a pending call wakes an idle interpreter, and one whose only task sleeps for a minute") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle idle = spawn_probe(s);
  const interpreter_handle napping = spawn_lua(s);
  auto nap = napping.call("nap");
  std::this_thread::sleep_for(20ms);
  for (const interpreter_id who : {idle.id(), napping.id()}) {
    std::atomic<bool> ran{false};
    const auto start = std::chrono::steady_clock::now();
    CHECK(s.add_pending_call(who, [&] { ran = true; }));
    CHECK(soon([&] { return ran.load(); }));
    CHECK(std::chrono::steady_clock::now() - start < 5s);
  }
  CHECK(!nap.ready());
}

TEST_CASE("a long Lua loop runs its pending calls long before it ends") {
  for (const auto slice : {10ms, 1ms}) { // half of one is no whole number of milliseconds
    runtime_under_test t;
    t.config.time_slice = slice;
    Atoll::system s(t.config);
    const interpreter_handle h = spawn_lua(s);
    auto loop = h.call("forever");
    std::chrono::steady_clock::duration longest{};
    for (int i = 0; i < 10; ++i) {
      std::this_thread::sleep_for(10ms);
      std::atomic<bool> ran{false};
      const auto start = std::chrono::steady_clock::now();
      CHECK(s.add_pending_call(h.id(), [&] { ran = true; }));
      REQUIRE(soon([&] { return ran.load(); }));
      longest = std::max(longest, std::chrono::steady_clock::now() - start);
    }
    MESSAGE("longest wait: ", std::chrono::duration<double, std::milli>(longest).count(), " ms");
    CHECK(longest < 1s); // 50 ms on a machine that is free
    CHECK(!loop.ready());
    CHECK(h.kill());
  }
}

TEST_CASE("a pending call that a turn takes in together with the message of a long loop runs before the loop ends") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_lua(s);
  std::atomic<bool> ran{false};
  std::latch go(1);
  CHECK(s.add_pending_call(h.id(), [&] { go.wait(); }));
  CHECK(h.send("forever"));
  CHECK(s.add_pending_call(h.id(), [&] { ran = true; }));
  go.count_down();
  CHECK(soon([&] { return ran.load(); }));
  CHECK(h.kill());
}

TEST_CASE("ten threads with 100000 pending calls each, every one counted once") {
  runtime_under_test t;
  t.config.pending_calls = 10000;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s);
  constexpr int threads = 10;
  constexpr int calls = 100000;
  std::array<int, threads> next{}; // the owner's turn
  int wrong = 0;
  std::vector<std::thread> all;
  for (std::size_t k = 0; k < threads; ++k) {
    all.emplace_back([&, k] {
      for (int i = 0; i < calls; ++i) {
        const auto accepted = add_patiently(s, h.id(), [&next, &wrong, k, i] {
          if (next[k] != i) ++wrong;
          ++next[k];
        });
        if (!accepted) return;
      }
    });
  }
  for (auto& one : all) one.join();
  const auto r = s.finalize();
  CHECK(wrong == 0);
  for (const int n : next) CHECK(n == calls);
  CHECK(r.pending_calls_run == std::uint64_t{threads} * calls);
  CHECK(r.pending_calls_refused == 0);
}

TEST_CASE("a pending call without a target or a function is refused, and says why") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s);
  const auto why = [&](interpreter_id who) {
    const auto r = s.add_pending_call(who, [] { CHECK(false); });
    REQUIRE(!r.has_value());
    CHECK(r.error().code == errc::interpreter_gone);
    return r.error().message;
  };
  CHECK(why(interpreter_id{99}) == "there never was an interpreter 99: it takes no pending call");
  CHECK(why(host_interpreter).find("host program") != std::string::npos);
  CHECK(why(net_interpreter).find("TCP") != std::string::npos);
  CHECK(code_of(s.add_pending_call(h.id(), std::function<void()>())) == errc::invalid_argument);
  CHECK(code_of(s.add_pending_call(h.id(), std::function<void(host&)>())) == errc::invalid_argument);
  CHECK(code_of(s.make_pending_flag(h.id(), {})) == errc::invalid_argument);
  (void)h.stop().get();
  REQUIRE(soon([&] { return h.state() == run_state::gone; }));
  CHECK(why(h.id()).find("is gone") != std::string::npos);
  CHECK(code_of(s.make_pending_flag(h.id(), [](host&) {})) == errc::interpreter_gone);
  s.finalize();
  CHECK(code_of(s.add_pending_call(h.id(), [] {})) == errc::runtime_finalized);
  CHECK(code_of(s.make_pending_flag(h.id(), [](host&) {})) == errc::runtime_finalized);
}

TEST_CASE("pending calls accepted before an interpreter ends run before its guest closes, those after it are refused") {
  runtime_under_test t;
  Atoll::system* runtime = nullptr;
  bool closed = false;
  errc at_close{};
  errc flag_at_close{};
  int ran = 0;
  t.functions["start"] = [&](probe& p, const incoming&) {
    p.hooks["close"] = [&, id = p.outside().id()] {
      closed = true;
      at_close = code_of(runtime->add_pending_call(id, [&] { ran += 1000; }));
      flag_at_close = code_of(runtime->make_pending_flag(id, [](host&) {}));
    };
  };
  Atoll::system s(t.config);
  runtime = &s;
  const interpreter_handle h = spawn_probe(s);
  CHECK(h.send("block"));
  REQUIRE(soon([&] { return t.blocked == 1; }));
  auto stopped = h.stop(); // its turn ends in this message: the calls behind it are its last
  for (int i = 0; i < 100; ++i) {
    CHECK(s.add_pending_call(h.id(), [&](host& target) {
      CHECK(!closed);
      if (target.program() != nullptr) ++ran;
    }));
  }
  t.go_on = true;
  CHECK(stopped.get().has_value());
  const auto r = s.finalize();
  CHECK(ran == 100);
  CHECK(closed);
  CHECK(at_close == errc::interpreter_gone);
  CHECK(flag_at_close == errc::interpreter_gone);
  CHECK(r.pending_calls_run == 100);
  CHECK(r.pending_calls_refused == 0);
}

TEST_CASE("a pending call that schedules itself for ever does not keep its interpreter from ending") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s);
  std::atomic<int> ran{0};
  std::atomic<int> refused{0};
  std::function<void()> again = [&] {
    ++ran;
    if (!s.add_pending_call(h.id(), again)) ++refused;
  };
  CHECK(s.add_pending_call(h.id(), again));
  CHECK(soon([&] { return ran > 1000; }));
  CHECK(h.stop().get().has_value());
  const auto r = s.finalize();
  CHECK(refused == 1);
  CHECK(r.pending_calls_run == static_cast<std::uint64_t>(ran));
  CHECK(r.pending_calls_refused == 0);
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("while interpreters are stopped and killed and the runtime ends, each pending call has exactly one fate") {
  constexpr std::size_t interpreters = 12;
  constexpr std::size_t threads = 3;
  for (int round = 0; round < 8; ++round) {
    runtime_under_test t;
    t.config.log_threshold = log_level::error;
    t.config.pending_calls = 50;
    std::array<std::atomic<bool>, interpreters + 2> closed{};
    t.functions["start"] = [&](probe& p, const incoming&) {
      p.hooks["close"] = [&, id = number(p.outside().id())] { closed[id] = true; };
    };
    struct fate {
      std::atomic<int> ran{0};
      bool accepted = false;
    };
    std::array<std::deque<fate>, threads> fates;
    std::atomic<int> late{0};
    std::atomic<int> unexpected{0};
    std::atomic<bool> enough{false};
    std::vector<std::thread> hammers;
    finalization_report r;
    {
      Atoll::system s(t.config);
      std::vector<interpreter_handle> all;
      for (std::size_t i = 0; i < interpreters; ++i) all.push_back(spawn_probe(s));
      REQUIRE(number(all.back().id()) < closed.size());
      for (std::size_t k = 0; k < threads; ++k) {
        hammers.emplace_back([&, k] {
          for (std::size_t i = k; !enough; ++i) {
            fate& f = fates[k].emplace_back();
            const auto done = s.add_pending_call(all[i % interpreters].id(), [&](host& h) {
              ++f.ran;
              if (closed[number(h.id())]) ++late;
            });
            f.accepted = done.has_value();
            if (done) continue;
            const errc why = done.error().code;
            if (why != errc::mailbox_full && why != errc::interpreter_gone && why != errc::runtime_finalized)
              ++unexpected;
          }
        });
      }
      for (std::size_t i = 0; i < interpreters / 2; ++i) {
        std::this_thread::sleep_for(1ms);
        if (i % 2 == 0) {
          (void)all[i].stop();
        } else {
          CHECK(all[i].kill());
        }
      }
      r = s.finalize();
      enough = true;
      for (auto& one : hammers) one.join();
    }
    std::uint64_t ran = 0;
    std::uint64_t abandoned = 0;
    for (const auto& mine : fates) {
      for (const fate& f : mine) {
        CHECK(f.ran <= (f.accepted ? 1 : 0));
        ran += static_cast<std::uint64_t>(f.ran);
        abandoned += f.accepted && f.ran == 0 ? 1 : 0;
      }
    }
    CHECK(ran > 0);
    CHECK(late == 0);
    CHECK(unexpected == 0);
    CHECK(r.pending_calls_run == ran);
    CHECK(r.pending_calls_refused == abandoned);
    CHECK((abandoned > 0) == (t.logged().find("did not run") != std::string::npos));
  }
}

namespace {

/// In a process of its own: the abandoned state and its thread stay behind on purpose.
bool abandoned_calls_are_reported() {
  runtime_under_test t;
  t.config.deadline = 300ms;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s);
  if (!h.send("block") || !soon([&] { return t.blocked == 1; })) return false;
  std::atomic<int> ran{0};
  for (int i = 0; i < 3; ++i)
    if (!s.add_pending_call(h.id(), [&] { ++ran; })) return false;
  const auto r = s.finalize();
  t.go_on = true; // it comes back, too late
  std::this_thread::sleep_for(50ms);
  return ran == 0 && r.pending_calls_run == 0 && r.pending_calls_refused == 3
         && t.logged().find("3 pending calls did not run") != std::string::npos;
}

} // namespace

TEST_CASE("the pending calls of an interpreter that is abandoned are reported, and do not run when it comes back") {
  CHECK(test::in_a_process([] { return abandoned_calls_are_reported() ? 0 : 1; }) == 0);
}
