// How many restarts there were of late: a window that slides.
// Threads: owner only.
#pragma once

#include <chrono>
#include <deque>

namespace Atoll {

class restart_window {
public:
  using time_point = std::chrono::steady_clock::time_point;

  restart_window(std::size_t intensity, std::chrono::milliseconds period) noexcept
      : intensity_(intensity), period_(period) {}

  /// One more, at `now`. False: that is one too many within the period.
  bool add(time_point now) {
    times_.push_back(now);
    while (now - times_.front() > period_) times_.pop_front();
    return times_.size() <= intensity_;
  }
  std::size_t count() const noexcept { return times_.size(); }

private:
  std::size_t intensity_;
  std::chrono::milliseconds period_;
  std::deque<time_point> times_; // at most one more than the intensity lie within the period
};

} // namespace Atoll
