// The open calls of one caller: which guest word waits for which answer.
// Threads: owner only.
// Invariants: (1) a call id is answered at most once: a second or late answer finds nothing.
#pragma once

#include <optional>
#include <vector>

#include "runtime/ids.hpp"

namespace Atoll {

class call_table {
public:
  call_id open(guest_word token) {
    std::uint32_t i = free_;
    if (i == none) {
      i = static_cast<std::uint32_t>(entries_.size());
      entries_.emplace_back();
    } else {
      free_ = entries_[i].next_free;
    }
    entries_[i].token = token;
    entries_[i].open = true;
    ++open_;
    return (static_cast<call_id>(entries_[i].generation) << 32U) | (i + 1);
  }

  /// The word that waited, and the call is closed; nothing when it was closed before.
  std::optional<guest_word> close(call_id call) {
    const auto i = static_cast<std::uint32_t>(call) - 1;
    if (i >= entries_.size()) return std::nullopt;
    entry& e = entries_[i];
    if (!e.open || e.generation != static_cast<std::uint32_t>(call >> 32U)) return std::nullopt;
    e.open = false;
    ++e.generation;
    e.next_free = free_;
    free_ = i;
    --open_;
    return e.token;
  }

  std::size_t size() const noexcept { return open_; }

  /// Closes every call but those of `kept` and returns the words that waited, oldest slot first.
  std::vector<guest_word> close_all_but(guest_word kept) {
    std::vector<guest_word> waited;
    for (std::uint32_t i = 0; i < entries_.size(); ++i) {
      if (!entries_[i].open || entries_[i].token == kept) continue;
      waited.push_back(*close((static_cast<call_id>(entries_[i].generation) << 32U) | (i + 1)));
    }
    return waited;
  }

private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  struct entry {
    guest_word token = 0;
    std::uint32_t generation = 0;
    std::uint32_t next_free = none;
    bool open = false;
  };
  std::vector<entry> entries_;
  std::uint32_t free_ = none;
  std::size_t open_ = 0;
};

} // namespace Atoll
