// A mutex for a few instructions: it spins before it sleeps.
// Why: a channel's lock is held for some 20 ns at a time by parties on several cores. With std::mutex they spent 30 % of
// their time in the kernel, waking each other.
// Threads: any thread. Not recursive, not fair.
// Invariants: (1) whoever unlocks a word that somebody may sleep on wakes one sleeper: no wake-up is lost.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace Atoll {

class spin_mutex {
public:
  spin_mutex() = default;
  spin_mutex(const spin_mutex&) = delete;
  spin_mutex& operator=(const spin_mutex&) = delete;

  void lock() noexcept {
    if (!try_lock()) wait();
  }
  bool try_lock() noexcept {
    std::uint32_t expected = free;
    return word_.compare_exchange_strong(expected, held, std::memory_order_acquire, std::memory_order_relaxed);
  }
  void unlock() noexcept {
    // release: pairs with the acquire of the next lock().
    if (word_.exchange(free, std::memory_order_release) == slept_on) word_.notify_one();
  }

private:
  static constexpr std::uint32_t free = 0;
  static constexpr std::uint32_t held = 1;
  static constexpr std::uint32_t slept_on = 2; // held, and somebody may sleep
  static constexpr int spins = 200;            // some 2 us: longer than it is ever held by a thread that runs

  static void pause() noexcept {
#if defined(__x86_64__)
    _mm_pause();
#endif
  }

  void wait() noexcept {
    for (int i = 0; i < spins; ++i) {
      pause();
      if (word_.load(std::memory_order_relaxed) == free && try_lock()) return;
    }
    // The holder was descheduled. acquire: as in try_lock().
    while (word_.exchange(slept_on, std::memory_order_acquire) != free) word_.wait(slept_on, std::memory_order_relaxed);
  }

  std::atomic<std::uint32_t> word_{free};
};

} // namespace Atoll
