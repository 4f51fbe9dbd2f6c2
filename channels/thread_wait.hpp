// A host thread that waits on channels: it blocks.
// Ownership: counted, as any wait; its thread keeps it until it has read the result.
// Threads: await() one thread; ready() and give_up() any.
// Invariants: (1) ready() is the only writer of told_, once; what was written before it is seen after await().
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>

#include "channels/channel_wait.hpp"

namespace Atoll {

class thread_wait final : public channel_wait {
public:
  using channel_wait::channel_wait;

  void ready() noexcept override {
    {
      const std::scoped_lock lock(mutex_);
      told_ = true;
      changed_.notify_one();
    }
    intrusive_ptr_release(this); // the count of whoever took it
  }
  /// await() returns, whether it was taken or not: the one who took it may never come to say so.
  void give_up() noexcept {
    const std::scoped_lock lock(mutex_);
    given_up_ = true;
    changed_.notify_one();
  }
  /// True: it was taken. False: nobody has said so until then.
  bool await(std::optional<std::chrono::steady_clock::time_point> until) {
    std::unique_lock lock(mutex_);
    const auto over = [this] { return told_ || given_up_; };
    if (until)
      changed_.wait_until(lock, *until, over);
    else
      changed_.wait(lock, over);
    return told_;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool told_ = false;     // under mutex_
  bool given_up_ = false; // under mutex_
};

} // namespace Atoll
