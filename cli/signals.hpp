// SIGINT and SIGTERM as requests: the first finalizes, the second exits at once.
// Why: a handler may do next to nothing; a thread that waits for signals may do everything.
// Ownership: main() makes it before any other thread, so that all of them leave the signals to it.
// Threads: one of its own.
#pragma once

#include <functional>
#include <mutex>
#include <thread>

namespace Atoll::cli {

class signal_watch {
public:
  /// Blocks the signals in the calling thread, and so in every thread it starts.
  signal_watch();
  ~signal_watch();
  signal_watch(const signal_watch&) = delete;
  signal_watch& operator=(const signal_watch&) = delete;

  /// While it lives, the first signal calls `first`, in the watching thread; from its making on any further one exits.
  class request {
  public:
    request(signal_watch& watch, std::function<void()> first);
    ~request();
    request(const request&) = delete;
    request& operator=(const request&) = delete;

  private:
    signal_watch& watch_;
  };

private:
  void watch();

  std::mutex mutex_;
  std::function<void()> first_; // under mutex_; empty: what it would use is gone
  std::thread thread_;
};

} // namespace Atoll::cli
