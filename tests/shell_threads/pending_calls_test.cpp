// The queue of pending calls on plain threads: what ThreadSanitizer sees of it.
#include "actors/shell/pending_calls.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <thread>

#include "runtime/host.hpp"

using namespace Atoll;

namespace {

/// The owner looks by itself.
struct no_waker final : waker {
  void schedule() noexcept override {}
};

constexpr std::size_t threads = 4;

struct scene {
  no_waker none;
  inbox_ptr box{new inbox(interpreter_id{7}, 100)};
  pending_calls calls{box, 16};
  scene() { box->set_waker(none); }
};

/// The calls here do not look at their host.
void run(const pending_function& call) {
  static std::max_align_t nobody{};
  void* const somewhere = &nobody;
  call(*static_cast<host*>(somewhere));
}

} // namespace

TEST_CASE(
    "pending calls added by threads while their queue is closed start once, are refused once, or were never accepted") {
  for (int round = 0; round < 50; ++round) {
    scene s;
    std::array<std::uint64_t, threads> accepted{};
    std::array<std::uint64_t, threads> ran{}; // the owner's
    std::vector<std::thread> all;
    for (std::size_t k = 0; k < threads; ++k) {
      all.emplace_back([&, k] {
        for (;;) {
          pending_function call = [&ran, k](host&) { ++ran[k]; };
          const auto said = s.calls.add(call);
          if (said == pending_calls::answer::closed) return;
          if (said == pending_calls::answer::accepted) {
            ++accepted[k];
          } else {
            std::this_thread::yield();
          }
        }
      });
    }
    std::uint64_t started = 0;
    const auto run_next = [&] {
      const auto call = s.calls.next();
      if (!call) return false;
      run(*call);
      ++started;
      return true;
    };
    while (started < 1000)
      if (s.calls.waiting() == 0 || !run_next()) std::this_thread::yield();
    s.calls.close();
    if (round % 2 == 0)
      while (run_next()) {
      }
    const std::size_t rest = s.calls.refuse_rest();
    for (auto& one : all) one.join();
    std::uint64_t sum = 0;
    std::uint64_t sum_ran = 0;
    for (std::size_t k = 0; k < threads; ++k) {
      CHECK(ran[k] <= accepted[k]);
      sum += accepted[k];
      sum_ran += ran[k];
    }
    CHECK(sum_ran == started);
    CHECK(sum == started + rest);
    CHECK(s.calls.count().started == started);
    CHECK(s.calls.count().refused == rest);
    if (round % 2 == 0) CHECK(rest == 0);
    CHECK(!s.calls.next());
  }
}

TEST_CASE("what was written before a pending flag is raised is seen by its call, and the last raise is never lost") {
  scene s;
  std::array<int, threads> written{}; // plain: the flag orders it
  std::array<int, threads> seen{};    // the owner's
  std::array<std::atomic<int>, threads> told{};
  std::array<pending_flag, threads> flags;
  for (std::size_t k = 0; k < threads; ++k) {
    flags[k] = *s.calls.make_flag([&, k](host&) {
      seen[k] = written[k];
      told[k].store(seen[k], std::memory_order_release);
    });
  }
  std::vector<std::thread> all;
  for (std::size_t k = 0; k < threads; ++k) {
    all.emplace_back([&, k] {
      for (int i = 1; i <= 200; ++i) {
        written[k] = i;
        flags[k].raise();
        while (told[k].load(std::memory_order_acquire) != i) std::this_thread::yield();
      }
    });
  }
  std::thread ticker([&] {
    while (s.calls.look_at_flags()) std::this_thread::yield();
  });
  const auto done = [&] { return std::all_of(told.begin(), told.end(), [](const auto& t) { return t == 200; }); };
  while (!done()) {
    const auto call = s.calls.next();
    if (call) {
      run(*call);
    } else {
      std::this_thread::yield();
    }
  }
  s.calls.close();
  ticker.join();
  for (auto& one : all) one.join();
  CHECK(s.calls.count().started == threads * 200);
  CHECK(!s.calls.make_flag([](host&) {}));
}
