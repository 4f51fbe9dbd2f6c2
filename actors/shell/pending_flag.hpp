// A pending call made ahead, for those who may neither lock nor allocate: a signal handler raises it.
// Why: accepting a call takes a lock and memory. Here both are paid when the flag is made; raising is one store, and the
// runtime's ticker looks at it every few milliseconds.
// Ownership: copies and the interpreter share one state; the call lives at least as long as the interpreter.
// Threads: raise() any thread and any signal handler; copies as shared_ptr.
// Invariants: (1) a raise before its interpreter's guest is closed is followed by a run that begins after it, or is
//                 reported with the refused. Raises between two looks are one. (2) raise() is wait-free.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

namespace Atoll {

class host;

class pending_flag {
public:
  pending_flag() = default;

  /// Async-signal-safe. Does nothing on an empty flag, or when the interpreter is gone.
  void raise() const noexcept {
    // release: pairs with the exchange in pending_calls::accept_raised(); the call sees what was written before.
    if (state_ != nullptr) state_->raised.store(true, std::memory_order_release);
  }
  explicit operator bool() const noexcept { return state_ != nullptr; }

private:
  friend class pending_calls;
  struct state {
    std::atomic<bool> raised{false};
    std::function<void(host&)> call;
  };
  static_assert(std::atomic<bool>::is_always_lock_free, "a lock in a signal handler");
  explicit pending_flag(std::shared_ptr<state> made) noexcept : state_(std::move(made)) {}

  std::shared_ptr<state> state_;
};

} // namespace Atoll
