// Whether this process is a fork of the one in which something was made.
// Why: a fork copies memory and one thread. A lock that another thread held is held for ever there, and who would answer
// is not there. So whatever host threads reach asks first, before it takes a lock, and answers errc::forked.
// Ownership: a birthplace is part of what it speaks of.
// Threads: any thread, signal handlers too.
// Invariants: (1) forked() changes in a new process only, before fork() returns there. Processes made without fork's
//                 handlers (vfork, posix_spawn, a bare clone) must do no more than exec.
#pragma once

#include <atomic>
#include <cstdint>

#include "runtime/errors.hpp"

namespace Atoll {

class birthplace {
public:
  birthplace() noexcept;

  /// True: the process has been forked since, and this is the child.
  bool forked() const noexcept { return forks_ != seen_.load(std::memory_order_relaxed); }

private:
  // How many forks lie between this process and the first that asked. relaxed: written while there is one thread.
  static std::atomic<std::uint32_t> seen_;
  static void note_fork() noexcept { seen_.fetch_add(1, std::memory_order_relaxed); }

  std::uint32_t forks_;
};

/// What every operation on a parent's runtime answers in the child.
error forked_error();

/// A member that is not destroyed in a forked child: a condition variable on which a thread of the parent waited would
/// wait for that thread.
template <class T>
class unless_forked {
public:
  unless_forked() : what_() {}
  unless_forked(const unless_forked&) = delete;
  unless_forked& operator=(const unless_forked&) = delete;
  ~unless_forked() {
    if (!born_.forked()) what_.~T();
  }

  bool forked() const noexcept { return born_.forked(); }
  T& operator*() noexcept { return what_; }
  T* operator->() noexcept { return &what_; }

private:
  union {
    T what_;
  };
  birthplace born_;
};

} // namespace Atoll
