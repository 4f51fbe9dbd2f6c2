// Pending flags: calls that a signal handler asks for.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <latch>
#include <thread>

#include <atoll/lua.hpp>

#include "tests/actors/outside.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::probe;
using test::probe_functions;
using test::soon;
using test::spawn_probe;

namespace {

pending_flag raised_by_signal; // before the handler is set, until after it is taken away
void on_signal(int) { raised_by_signal.raise(); }

/// SIGUSR1 raises the flag while this lives.
class signal_raises {
public:
  explicit signal_raises(pending_flag flag) {
    raised_by_signal = std::move(flag);
    struct sigaction action {};
    action.sa_handler = &on_signal;
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, &before_);
  }
  ~signal_raises() {
    sigaction(SIGUSR1, &before_, nullptr);
    raised_by_signal = {};
  }
  signal_raises(const signal_raises&) = delete;
  signal_raises& operator=(const signal_raises&) = delete;

private:
  struct sigaction before_ {};
};

struct runtime_under_test {
  probe_functions functions;
  system_config config;

  runtime_under_test() {
    config.workers = 2;
    config.log = [](std::string_view) {};
    config.languages["lua"] = lua();
    config.languages["probe"] = [this](host& h) { return std::make_unique<probe>(h, functions); };
  }
};

} // namespace

TEST_CASE("a pending flag raised in a signal handler runs its call in its interpreter, idle or in a long loop") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle idle = spawn_probe(s);
  const auto looping = s.spawn<lua>({}, code("return {forever = function() while true do end end}"));
  REQUIRE(looping.has_value());
  CHECK(looping->send("forever"));
  for (const interpreter_handle& h : {idle, *looping}) {
    std::atomic<int> ran{0};
    auto flag = s.make_pending_flag(h.id(), [&](host& target) { ran += target.id() == h.id() ? 1 : 1000; });
    REQUIRE(flag.has_value());
    const signal_raises hearing(*flag);
    for (int i = 1; i <= 3; ++i) {
      REQUIRE(std::raise(SIGUSR1) == 0);
      REQUIRE(soon([&] { return ran == i; }));
    }
  }
  CHECK(looping->kill());
  CHECK(s.finalize().pending_calls_run == 6);
}

TEST_CASE("a signal that interrupts the submission of pending calls raises its flag all the same") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s);
  std::atomic<int> ran{0};
  auto flag = s.make_pending_flag(h.id(), [&](host&) { ++ran; });
  REQUIRE(flag.has_value());
  const signal_raises hearing(*flag);
  std::atomic<bool> over{false};
  std::thread submitter([&] {
    while (!over) (void)s.add_pending_call(h.id(), [] {});
  });
  for (int i = 0; i < 200; ++i) {
    pthread_kill(submitter.native_handle(), SIGUSR1);
    std::this_thread::sleep_for(200us);
  }
  CHECK(soon([&] { return ran > 0; }));
  over = true;
  submitter.join();
}

TEST_CASE("a pending flag that finds the queue full stays raised, and raises that come meanwhile are one") {
  runtime_under_test t;
  t.config.pending_calls = 1;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s);
  std::latch go(1);
  std::atomic<int> ran{0};
  std::atomic<bool> blocked{false};
  auto flag = s.make_pending_flag(h.id(), [&](host&) { ++ran; });
  REQUIRE(flag.has_value());
  CHECK(s.add_pending_call(h.id(), [&] {
    blocked = true;
    go.wait();
  }));
  REQUIRE(soon([&] { return blocked.load(); }));
  CHECK(s.add_pending_call(h.id(), [] {})); // the one that may wait
  for (int i = 0; i < 10; ++i) {
    flag->raise();
    std::this_thread::sleep_for(5ms);
  }
  go.count_down();
  CHECK(soon([&] { return ran > 0; }));
  std::this_thread::sleep_for(50ms);
  CHECK(ran == 1);
}

TEST_CASE("a pending flag raised before its interpreter ends runs before the guest closes, whatever the bound") {
  runtime_under_test t;
  t.config.pending_calls = 1;
  t.config.time_slice = 10s; // nobody looks in time: the end does
  bool closed = false;
  t.functions["start"] = [&](probe& p, const incoming&) { p.hooks["close"] = [&] { closed = true; }; };
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_probe(s);
  int ran = 0;
  auto first = s.make_pending_flag(h.id(), [&](host&) { ran += closed ? 100 : 1; });
  auto second = s.make_pending_flag(h.id(), [&](host&) { ran += closed ? 100 : 1; });
  REQUIRE(first.has_value());
  REQUIRE(second.has_value());
  first->raise();
  second->raise();
  CHECK(h.stop().get().has_value());
  first->raise(); // it is gone: nothing
  const auto r = s.finalize();
  CHECK(ran == 2);
  CHECK(r.pending_calls_run == 2);
  first->raise();
  pending_flag().raise();
}

TEST_CASE("a pending flag may be raised, and its call ends, after its runtime is gone") {
  const auto alive = std::make_shared<int>(0);
  pending_flag flag;
  {
    runtime_under_test t;
    Atoll::system s(t.config);
    flag = s.make_pending_flag(spawn_probe(s).id(), [alive](host&) { ++*alive; }).value();
  }
  flag.raise();
  CHECK(alive.use_count() == 2);
  flag = {};
  CHECK(alive.use_count() == 1);
  CHECK(*alive == 0);
}
