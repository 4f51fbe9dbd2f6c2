// What stands in the channels' code for its lock and its atomic, so that a schedule decides who goes next.
// Why: between two of these steps a party touches only what its locks guard, so that their order is all that matters; that
// the locks do guard it is ThreadSanitizer's to say (tests/channels).
// Threads: one; outside of a party nothing here waits.
#pragma once

#include <atomic>
#include <vector>

namespace Atoll::stepped {

enum class step {
  lock,  // takes a mutex; possible while nobody has it
  read,  // of an atomic
  write, // of an atomic
  tell,  // calls a wait's ready()
  told,  // waits for that
  begin,
};

/// The party that runs is about to do this to `what`; returns when the schedule says so. `blocked`: while it is true, the
/// step can't be taken.
void about_to(step kind, const void* what, const bool* blocked = nullptr) noexcept;

/// The mutexes that somebody has.
std::vector<const void*>& locked() noexcept;

/// As std::atomic.
template <class T>
class atomic {
public:
  atomic(T initial) noexcept : value_(initial) {} // NOLINT(google-explicit-constructor): as std::atomic
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load(std::memory_order) const noexcept {
    about_to(step::read, this);
    return value_;
  }
  void store(T next, std::memory_order) noexcept {
    about_to(step::write, this);
    value_ = next;
  }
  bool compare_exchange_strong(T& expected, T next, std::memory_order) noexcept {
    about_to(step::write, this);
    if (value_ == expected) {
      value_ = next;
      return true;
    }
    expected = value_;
    return false;
  }

private:
  T value_;
};

} // namespace Atoll::stepped
