// What programs share that try random lives until their time is up: tests/torture and tests/stress.
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>

namespace Atoll::testing {

/// An argument that must be a number, 0 or more; otherwise `usage` does not return.
template <class Usage>
double number_argument(const char* text, Usage&& usage) {
  char* end = nullptr;
  const double n = text != nullptr ? std::strtod(text, &end) : 0;
  if (end == nullptr || end == text || *end != 0 || n < 0) usage();
  return n;
}

inline std::uint64_t drawn_seed() { return 1 + std::random_device()() % 1'000'000; }

/// The most memory that the process had, in MiB.
inline long peak_memory() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return used.ru_maxrss / 1024;
}

/// Aborts when it has not been fed for so long.
class watchdog {
public:
  explicit watchdog(std::chrono::seconds limit) : limit_(limit), thread_([this] { watch(); }) {}
  ~watchdog() {
    {
      const std::scoped_lock lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  void feed() {
    {
      const std::scoped_lock lock(mutex_);
      fed_ = true;
    }
    changed_.notify_all();
  }

private:
  void watch() {
    std::unique_lock lock(mutex_);
    while (!over_) {
      fed_ = false;
      if (changed_.wait_for(lock, limit_, [this] { return over_ || fed_; })) continue;
      std::puts("it never ends");
      std::fflush(stdout);
      std::abort();
    }
  }

  const std::chrono::seconds limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false; // under mutex_
  bool fed_ = false;  // under mutex_
  std::thread thread_;
};

} // namespace Atoll::testing
