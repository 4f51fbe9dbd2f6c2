// Reaches guests that compute for long: a signal to the worker thread, on which the guest sets a hook.
// Why: a flag tested in the guest's hot loop would cost every program; a hook that is not set costs nothing (DESIGN 16).
// Ownership: one per runtime; worker threads enter themselves with their first turn.
// Threads: enter()/leave() the worker around each turn; poke() any thread.
// Invariants: (1) the handler touches only what the interrupted thread itself runs: the slot's interpreter is set and
//                 cleared by the same thread, so it cannot be gone.
//             (2) workers outlive the ticker: the runtime stops it before CAF's threads end.
//             (3) a turn shorter than two periods is never disturbed, but for poke(); a longer one only while something
//                 waits: messages, pending calls, work of the same turn, or others for a worker. Samples come regardless.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace Atoll {

class interpreter;

class ticker {
public:
  /// `period`: 0 for a ticker without a thread, which ticks when poked only.
  /// `sample_period`: how often every thread in a turn samples its guest; 0: never.
  /// The others are called on the ticker's thread at each look, under no lock of its: `look` first, then `others_wait`,
  /// whether interpreters wait for a worker.
  ticker(std::chrono::milliseconds period, std::chrono::milliseconds sample_period, std::function<void()> look,
         std::function<bool()> others_wait);
  ~ticker();

  /// The calling thread runs `who` from now on, until leave().
  void enter(interpreter& who);
  void leave() noexcept;

  /// No tick comes after it. Workers may still enter and leave.
  void stop();

  /// Ticks the thread that runs `who` now, if one does.
  void poke(const interpreter* who);

private:
  struct slot {
    std::atomic<interpreter*> who{nullptr}; // relaxed: read by its own thread's signal handler, and compared by others
    std::atomic<std::uint64_t> turn{0};     // relaxed: a stale answer costs one tick more or less
    std::atomic<bool> share{false};         // relaxed, as above: others want this worker
    std::atomic<bool> sample{false};        // relaxed, as above: the next signal is a sample
    pthread_t thread{};
    std::uint64_t seen = 0; // the ticker's: the turn at its last look
  };
  static thread_local slot* mine_;

  static void on_signal(int);
  void run();
  bool tick_long_turns(bool share);
  void sample();

  const std::chrono::milliseconds period_;
  const std::chrono::milliseconds sample_period_;
  const std::function<void()> look_;
  const std::function<bool()> others_wait_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<slot>> slots_; // under mutex_
  bool stop_ = false;                        // under mutex_
  std::thread thread_;
};

} // namespace Atoll
