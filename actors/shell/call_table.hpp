// The open calls of one caller: which guest word waits for which answer.
// Threads: owner only.
// Invariants: (1) a call id is answered at most once: a second or late answer finds nothing.
// A call's number is, from the lowest bit: its slot and one (26 bits), the slot's generation (26), and how deep it is in a
// chain of calls that wait for each other (12): so the depth costs no byte in a message.
#pragma once

#include <algorithm>
#include <new>
#include <optional>
#include <vector>

#include "runtime/ids.hpp"

namespace Atoll {

inline constexpr std::uint32_t deepest_call = 4095;
/// How deep a call is: 1 when nobody waits for who makes it.
constexpr std::uint32_t depth_of(call_id call) noexcept { return static_cast<std::uint32_t>(call >> 52U); }

class call_table {
public:
  call_id open(guest_word token, std::uint32_t depth = 1) {
    std::uint32_t i = free_;
    if (i == none) {
      if (entries_.size() >= slot_mask) throw std::bad_alloc();
      i = static_cast<std::uint32_t>(entries_.size());
      entries_.emplace_back();
    } else {
      free_ = entries_[i].next_free;
    }
    entries_[i].token = token;
    entries_[i].open = true;
    ++open_;
    return static_cast<call_id>(std::min(depth, deepest_call)) << 52U | number(i);
  }

  /// The word that waited, and the call is closed; nothing when it was closed before.
  std::optional<guest_word> close(call_id call) {
    if (!is_open(call)) return std::nullopt;
    const std::uint32_t i = slot_of(call);
    entry& e = entries_[i];
    e.open = false;
    e.generation = (e.generation + 1) & slot_mask;
    e.next_free = free_;
    free_ = i;
    --open_;
    return e.token;
  }

  std::size_t size() const noexcept { return open_; }
  bool is_open(call_id call) const noexcept {
    const std::uint32_t i = slot_of(call);
    return i < entries_.size() && entries_[i].open && number(i) == (call & ~depth_mask);
  }

  /// Closes every call but those of `kept` and returns the words that waited, oldest slot first.
  std::vector<guest_word> close_all_but(guest_word kept) {
    std::vector<guest_word> waited;
    for (std::uint32_t i = 0; i < entries_.size(); ++i) {
      if (!entries_[i].open || entries_[i].token == kept) continue;
      waited.push_back(*close(number(i)));
    }
    return waited;
  }

private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  static constexpr std::uint32_t slot_mask = (1U << 26U) - 1;
  static constexpr call_id depth_mask = ~((call_id{1} << 52U) - 1);
  static constexpr std::uint32_t slot_of(call_id call) noexcept {
    return (static_cast<std::uint32_t>(call) & slot_mask) - 1;
  }
  call_id number(std::uint32_t i) const noexcept {
    return (static_cast<call_id>(entries_[i].generation) << 26U) | (i + 1);
  }
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
