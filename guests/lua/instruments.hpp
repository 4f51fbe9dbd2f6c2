// What the Lua interpreters of a run tell of where they spend their time and which lines they reach.
// Why: counters live in the code extras of each interpreter, without locks; when the code dies, at the latest with its
// interpreter, they are added up here. Off, nothing of it exists.
// Ownership: shared by whoever started the run and its guests. Threads: any.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace Atoll {

/// Sums by key, from many threads.
template <class Key>
class shared_counts {
public:
  using map = std::map<Key, std::uint64_t>;
  /// 0 is remembered too.
  void add(const Key& key, std::uint64_t n) {
    const std::scoped_lock lock(mutex_);
    counts_[key] += n;
  }
  map get() const {
    const std::scoped_lock lock(mutex_);
    return counts_;
  }

private:
  mutable std::mutex mutex_;
  map counts_;
};

/// Samples by stack: "interpreter;outermost;...;innermost". No frame has a semicolon or a line break in it.
using stack_counts = shared_counts<std::string>;
/// Runs by file and line. Lines that could run and did not are there with 0.
using line_counts = shared_counts<std::pair<std::string, int>>;

/// Null: off. A profile also needs ticks (system_config::sample_period).
struct lua_instruments {
  std::shared_ptr<stack_counts> profile;
  std::shared_ptr<line_counts> coverage;
};

} // namespace Atoll
