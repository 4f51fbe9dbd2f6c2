// A part that most never need: made when it is first used.
// Why: most interpreters have no timers, sockets, channels or imports. The empty tables for all that were more than half
// of what an idle one took.
// Ownership: owns the part.
// Threads: one at a time; get() also from a signal handler on the same thread.
#pragma once

#include <atomic>
#include <utility>

namespace Atoll {

template <class T>
class on_demand {
public:
  on_demand() = default;
  on_demand(const on_demand&) = delete;
  on_demand& operator=(const on_demand&) = delete;
  ~on_demand() { delete get(); }

  /// Null: nobody has needed it.
  T* get() const noexcept { return part_.load(std::memory_order_relaxed); }
  explicit operator bool() const noexcept { return get() != nullptr; }
  /// It has been made.
  T* operator->() const noexcept { return get(); }
  T& operator*() const noexcept { return *get(); }

  /// Made of `args`, if it is not there yet. Throws std::bad_alloc.
  template <class... Args>
  T& need(Args&&... args) {
    if (T* const known = get()) [[likely]]
      return *known;
    T* const made = new T(std::forward<Args>(args)...);
    part_.store(made, std::memory_order_relaxed);
    return *made;
  }

private:
  std::atomic<T*> part_{nullptr}; // relaxed: a signal handler sees what its own thread did
};

} // namespace Atoll
