// Checked builds: whose turn a thread is in, so that a heap notices who touches it from outside (DESIGN section 4).
// Why: a private heap has no locks; a second thread inside it is a fault that shows much later, somewhere else.
// Threads: each has its own.
// Invariants: (1) a heap with an owner is touched in that owner's turn only, or the process aborts and names both.
#pragma once

#include "runtime/ids.hpp"

namespace Atoll {

/// The calling thread is in a turn of `who` while this lives. Nothing in other builds.
class heap_turn {
public:
#if defined(ATOLL_CHECKED)
  explicit heap_turn(interpreter_id who) noexcept;
  ~heap_turn();
  /// Aborts unless this thread is in a turn of `owner`. The heap of nobody (host_interpreter) may be touched by anybody.
  static void check(interpreter_id owner) noexcept;
#else
  explicit heap_turn(interpreter_id) noexcept {}
  static void check(interpreter_id) noexcept {}
#endif
  heap_turn(const heap_turn&) = delete;
  heap_turn& operator=(const heap_turn&) = delete;

#if defined(ATOLL_CHECKED)
private:
  interpreter_id before_;
#endif
};

} // namespace Atoll
