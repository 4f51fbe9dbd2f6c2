// The timers of one interpreter, earliest first.
// Threads: owner only; the system's clock wakes the owner for the earliest.
// Invariants: (1) a timer goes off at most once, never before its time, and not after cancel().
#pragma once

#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "runtime/host.hpp"

namespace Atoll {

class timer_queue {
public:
  std::uint64_t set(time_point when, guest_word token) {
    const std::uint64_t id = ++last_;
    by_time_.emplace(key{when, id}, token);
    times_.emplace(id, when);
    return id;
  }
  void cancel(std::uint64_t id) {
    const auto it = times_.find(id);
    if (it == times_.end()) return;
    by_time_.erase(key{it->second, id});
    times_.erase(it);
  }

  bool empty() const noexcept { return by_time_.empty(); }
  std::size_t size() const noexcept { return by_time_.size(); }
  time_point earliest() const { return by_time_.begin()->first.when; }
  /// The next timer that is due, taken out.
  std::optional<guest_word> take_due(time_point now) {
    if (by_time_.empty() || by_time_.begin()->first.when > now) return std::nullopt;
    const auto it = by_time_.begin();
    const guest_word token = it->second;
    times_.erase(it->first.id);
    by_time_.erase(it);
    return token;
  }
  std::vector<guest_word> take_all() {
    std::vector<guest_word> tokens;
    for (const auto& [k, token] : by_time_) tokens.push_back(token);
    by_time_.clear();
    times_.clear();
    return tokens;
  }

private:
  struct key {
    time_point when;
    std::uint64_t id;
    bool operator<(const key& other) const noexcept { return when != other.when ? when < other.when : id < other.id; }
  };
  std::map<key, guest_word> by_time_;
  std::unordered_map<std::uint64_t, time_point> times_;
  std::uint64_t last_ = 0;
};

} // namespace Atoll
