// The channels' lock, in the build of tests/interleavings: taking it is a step of the schedule.
// Threads: one; the parties are fibers (schedule.hpp).
#pragma once

#include "tests/interleavings/stepped.hpp"

namespace Atoll {

class spin_mutex {
public:
  spin_mutex() = default;
  spin_mutex(const spin_mutex&) = delete;
  spin_mutex& operator=(const spin_mutex&) = delete;

  void lock() noexcept {
    stepped::about_to(stepped::step::lock, this, &held_);
    held_ = true;
    stepped::locked().push_back(this);
  }
  void unlock() noexcept {
    held_ = false;
    std::erase(stepped::locked(), this);
  }

private:
  bool held_ = false;
};

} // namespace Atoll
