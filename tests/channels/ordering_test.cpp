// Memory orders and orders of steps that only many tries, or ThreadSanitizer, can see: two threads meet again and again,
// handed from one to the other by nothing but what is tested.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "tests/channels/residents.hpp"

using namespace Atoll;

namespace {

void await(const std::atomic<int>& counter, int value) {
  for (int spins = 1; counter.load() < value; ++spins)
    if (spins % 2000 == 0) std::this_thread::yield(); // on one core the other needs it
}

/// Runs both at once, as close together as two threads get: `times` times, or fewer when other processes keep the two apart
/// and two seconds are over. `between` runs alone after each.
void meet(int times, const std::function<void(int)>& here, const std::function<void(int)>& there,
          const std::function<void(int)>& between) {
  std::atomic<int> arrived{0};
  std::atomic<int> left{0};
  std::atomic<bool> enough{false}; // before `left` says that both have left
  std::thread other([&] {
    for (int i = 0; !enough.load(); ++i) {
      arrived.fetch_add(1);
      await(arrived, 2 * (i + 1));
      there(i);
      left.fetch_add(1);
      await(left, 2 * (i + 1));
    }
  });
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  for (int i = 0; !enough.load(); ++i) {
    arrived.fetch_add(1);
    await(arrived, 2 * (i + 1));
    here(i);
    await(left, 2 * i + 1);
    between(i);
    enough.store(i + 1 >= times || std::chrono::steady_clock::now() >= until);
    left.fetch_add(1);
  }
  other.join();
}

} // namespace

TEST_CASE("turn_state: begin() alone makes visible what was done before the signal") {
  // The turn is handed over by a relaxed flag: nothing but signal() and begin() orders `written`. Without the acquire
  // ThreadSanitizer reports it.
  turn_state turn;
  std::atomic<bool> scheduled{false};
  int written = 0;
  std::thread sender([&] {
    written = 7;
    if (turn.signal() == turn_state::signalled::schedule) scheduled.store(true, std::memory_order_relaxed);
  });
  while (!scheduled.load(std::memory_order_relaxed)) std::this_thread::yield();
  turn.begin();
  CHECK(written == 7);
  sender.join();
}

TEST_CASE("inbox: who asks for room while the last message is handled hears of it, at once or from the owner") {
  inbox_ptr box;
  test::counting_waker bell;
  const auto fresh = [&] {
    box.reset(new inbox(interpreter_id{1}, 0));
    box->set_waker(bell);
    CHECK(box->push(test::numbers(interpreter_id{2}, 0)));
  };
  bool at_once = false;
  std::size_t told = 0;
  int forgotten = 0;
  fresh();
  meet(
      30000, [&](int) { at_once = box->await_room(interpreter_id{2}); }, [&](int) { told = box->handled(1).size(); },
      [&](int) {
        if (!at_once && told == 0) ++forgotten;
        fresh();
      });
  CHECK(forgotten == 0);
}
