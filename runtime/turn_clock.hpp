// A clock for the length of turns: cheap enough to be read twice in every turn.
// Why: two steady_clock reads were 8 % of a round trip between two interpreters.
// Threads: any thread.
// Invariants: (1) ticks are of one length in the process: x86's counter is the same on all cores of a machine whose
//                 kernel uses it as its clock; elsewhere it is steady_clock.
#pragma once

#include <chrono>
#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace Atoll {

inline std::uint64_t turn_ticks() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

/// Seconds a tick lasts, measured against steady_clock since the first call; good to a percent after some milliseconds.
inline double seconds_per_tick() noexcept {
  struct mark {
    std::uint64_t ticks = turn_ticks();
    std::chrono::steady_clock::time_point time = std::chrono::steady_clock::now();
  };
  static const mark first;
  const std::uint64_t ticks = turn_ticks() - first.ticks;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - first.time).count();
  return ticks > 0 ? seconds / static_cast<double>(ticks) : 0;
}

} // namespace Atoll
