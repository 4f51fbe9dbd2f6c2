// Reaches guests that compute for long: a signal to the worker thread, on which the guest sets a hook.
// Why: a flag tested in the guest's hot loop would cost every program; a hook that is not set costs nothing (DESIGN 16).
// Ownership: one per runtime; worker threads enter themselves with their first turn.
// Threads: enter()/leave() the worker around each turn; poke() any thread.
// Invariants: (1) the handler touches only what the interrupted thread itself runs: the slot's interpreter is set and
//                 cleared by the same thread, so it cannot be gone.
//             (2) workers outlive the ticker: the runtime stops it before CAF's threads end.
//             (3) a turn shorter than its interpreter's time slice, of two periods or more, is never disturbed, but for poke(); a longer one only while something
//                 waits: messages, pending calls, work of the same turn, or others for a worker; or while its guest's
//                 processor time is limited. Samples come regardless.
//             (4) a thread is stuck when its turn was asked to end stuck_after ago and has not.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "actors/stuck_turn.hpp"

namespace Atoll {

class interpreter;

/// What holds a thread up.
struct stuck_report {
  interpreter_id who{};
  std::string name;
  std::string doing;                           // empty: unknown
  std::chrono::steady_clock::time_point since; // the turn began, or was seen first
  std::chrono::steady_clock::time_point until; // now
  bool over = false;                           // it has come back
};

class ticker {
public:
  /// `period`: 0 for a ticker without a thread, which ticks when poked only.
  /// `sample_period`: how often every thread in a turn samples its guest; 0: never.
  /// The others are called on the ticker's thread at each look, under no lock of its: `look` first, which answers whether
  /// it is to be asked again also when no turn begins, then `others_wait`, whether interpreters wait for a worker; `stuck`
  /// with how many threads are, and whether others wait; `tell` for a turn that is stuck while others wait, and when that is
  /// over.
  ticker(std::chrono::milliseconds period, std::chrono::milliseconds sample_period, std::function<bool()> look,
         std::function<bool()> others_wait, std::function<void(std::size_t, bool)> stuck = {},
         std::function<void(const stuck_report&)> tell = {});
  ~ticker();

  /// The calling thread runs `who` from now on, until leave().
  void enter(interpreter& who);
  void leave() noexcept;

  /// No tick comes after it. Workers may still enter and leave.
  void stop();

  /// How many turns have begun so far; nothing while one goes on. Any thread.
  std::optional<std::uint64_t> turns_at_rest();
  /// Any thread: looks are wanted again, until `look` says no.
  void wake();

  /// Any thread: its period is at most this from now on. Nothing for a ticker without a thread.
  void look_every(std::chrono::milliseconds at_most);

  /// Ticks the thread that runs `who` now, if one does.
  void poke(const interpreter* who);

private:
  struct slot {
    std::atomic<interpreter*> who{nullptr}; // relaxed: read by its own thread's signal handler, and compared by others
    std::atomic<std::uint64_t> turn{0};     // relaxed: a stale answer costs one tick more or less
    std::atomic<bool> share{false};         // relaxed, as above: others want this worker
    std::atomic<bool> sample{false};        // relaxed, as above: the next signal is a sample
    std::atomic<std::uint32_t> lasted{0}; // relaxed, as above: milliseconds that the turn will last until the next look
    std::atomic<std::uint64_t> asked{0};  // relaxed, as above: the turn that was asked to end
    std::atomic<bool> note{false};        // relaxed, as above: the next signal is to note what runs
    stuck_turn stuck;
    pthread_t thread{};
    // The ticker's:
    std::uint64_t seen = 0;                              // the turn at its last look
    std::chrono::steady_clock::time_point since{};       // that it was seen first
    std::chrono::steady_clock::time_point asked_since{}; // that it was known to be asked; epoch: it was not
    std::uint64_t note_asked = 0;                        // the turn that it was to note
    std::uint64_t told = 0;                              // the turn that was told as stuck
    std::optional<stuck_report> open;                    // what was told, until it is over
  };
  static thread_local slot* mine_;

  static void on_signal(int);
  void run();
  bool tick_long_turns(bool share);
  static bool is_stuck(slot& s, std::chrono::steady_clock::time_point now) noexcept;
  void look_at_stuck(bool share);
  void tell_stuck(slot& s, std::chrono::steady_clock::time_point now);
  void sample();

  static std::uint64_t next_number() noexcept;

  const std::uint64_t number_ = next_number(); // no two have the same, as they may have the same address
  std::chrono::milliseconds period_;           // under mutex_
  const std::chrono::milliseconds sample_period_;
  const std::function<bool()> look_;
  const std::function<bool()> others_wait_;
  const std::function<void(std::size_t, bool)> stuck_;
  const std::function<void(const stuck_report&)> tell_;
  std::vector<std::shared_ptr<slot>> looked_at_; // the ticker's: slots_, to be read without the lock
  std::size_t last_stuck_ = 0;                   // the ticker's
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<slot>> slots_; // under mutex_
  bool stop_ = false;                        // under mutex_
  // Nothing runs: the ticker sleeps at its next look, a period or more from now, if it is still set then, until a turn
  // begins. Relaxed: a turn that begins within that time without seeing it is seen by that look.
  std::atomic<bool> asleep_{false};
  std::thread thread_;
};

} // namespace Atoll
