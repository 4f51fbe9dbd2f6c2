// One thread that stands still at one moment, while the runtime comes to its end.
// Why: the races that are left are those for which a thread must be held up for milliseconds between two instructions. A
// quiet machine does that once in a hundred thousand runtimes, a crowded one when it matters.
// A moment: a thread is about to lock a mutex or has unlocked one, or allocates. What others wait for has mostly just been
// told under a lock. And what was freed is overwritten, so that nobody goes on with it unnoticed.
// Threads: arm() and let_go() one thread.
#pragma once

#include <chrono>

namespace Atoll::hold_ups {

enum class party {
  workers, // the runtime's, while they are in a turn
  caller   // who has said as_caller
};

/// The calling thread is a caller while it lives.
struct as_caller {
  as_caller() noexcept;
  ~as_caller();
  as_caller(const as_caller&) = delete;
  as_caller& operator=(const as_caller&) = delete;
};

/// From now on the moments of that party are counted from 0, and who comes to number `moment` stands still, until let_go()
/// or for `at_most`.
void arm(party whom, unsigned moment, std::chrono::milliseconds at_most) noexcept;
/// Somebody has come to the moment.
bool reached() noexcept;
/// Whoever stands still goes on, and nobody else is stopped.
void let_go() noexcept;

} // namespace Atoll::hold_ups
