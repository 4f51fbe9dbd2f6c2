// When an interpreter runs: idle, scheduled, running, or running with news. One atomic word.
// Why: a sleeping interpreter gets one wake-up for any number of senders, no wake-up is lost, and no two workers ever run
// the same interpreter.
// Threads: signal() any thread; begin(), end(), close() the owner's turn only.
// Invariants: (1) between begin() and the end() that answers true nobody else's begin() happens.
//             (2) who gets `schedule` from signal() must schedule the owner, once; everybody else need not.
//             (3) what a thread did before signal() is visible to the owner after the begin() or failed end() that
//                 follows. (4) after close() no signal() answers `schedule`: nothing is scheduled any more.
//
//   idle --signal: schedule--> scheduled --begin--> running --end: true--> idle
//                                                    |  signal: noted
//                                                    v
//                                                  news --end: false--> running
#pragma once

#include <atomic>
#include <cstdint>

namespace Atoll {

class turn_state {
public:
  enum class signalled : std::uint8_t {
    schedule, // the owner slept: schedule it
    noted,    // it runs, or will
    closed,   // it ended: what was left for it must be thrown away by whoever left it
  };

  /// Any thread: there is something for the owner.
  signalled signal() noexcept {
    // acq_rel: releases what was left to begin()/end() below; acquires close(), so that the caller sees the inbox as the
    // owner left it.
    const std::uint32_t before = word_.fetch_or(active | news, std::memory_order_acq_rel);
    if ((before & closed) != 0) return signalled::closed;
    return (before & active) != 0 ? signalled::noted : signalled::schedule;
  }

  /// Owner: the turn starts; everything signalled so far is visible.
  void begin() noexcept {
    word_.fetch_and(~news, std::memory_order_acquire); // pairs with signal()
  }

  /// Owner: the turn is over. False: there is news, and the owner still runs (as after begin()).
  bool end() noexcept {
    std::uint32_t expected = active;
    // release: this turn's writes to the next begin(), through the signal() in between.
    if (word_.compare_exchange_strong(expected, 0, std::memory_order_acq_rel)) return true;
    begin();
    return false;
  }

  /// Owner: no turn follows. Signals from now on answer `closed`.
  void close() noexcept { word_.fetch_or(closed | active, std::memory_order_acq_rel); }

  /// Any thread. Idle answers are only good for a double look (finalization::quiet).
  bool idle() const noexcept { return (word_.load(std::memory_order_acquire) & active) == 0; }
  bool is_closed() const noexcept { return (word_.load(std::memory_order_acquire) & closed) != 0; }
  /// Any thread: something new waits for the running owner.
  bool has_news() const noexcept { return (word_.load(std::memory_order_relaxed) & news) != 0; }

private:
  static constexpr std::uint32_t active = 1; // scheduled or running
  static constexpr std::uint32_t news = 2;   // signalled since begin()
  static constexpr std::uint32_t closed = 4;

  std::atomic<std::uint32_t> word_{0};
};

} // namespace Atoll
