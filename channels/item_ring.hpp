// The items of a channel, in order, in one ring of bytes.
// Why: an item of a few bytes costs a copy of those bytes, no allocation and no pointer chase; a large one is a pointer.
// Ownership: part of its channel.
// Threads: the channel's lock.
// Invariants: (1) entries lie whole: one that does not fit behind the last begins at the front, behind a filler.
//             (2) size() counts the entries that are neither filler nor taken out.
#pragma once

#include <optional>

#include "channels/item.hpp"

namespace Atoll {

class item_ring {
public:
  /// Larger items are not copied: their buffer is taken over.
  static constexpr std::size_t inline_max = 4096;

  item_ring() = default;
  item_ring(const item_ring&) = delete;
  item_ring& operator=(const item_ring&) = delete;
  ~item_ring();

  std::size_t size() const noexcept { return live_; }
  std::size_t bytes() const noexcept { return capacity_; }

  /// Appends. False, and nothing changed, when memory is out; else the item is empty.
  bool push(channel_item& item) noexcept;
  /// Takes the first one out, into an item that has room for inline_max bytes. False: there is none.
  bool pop(channel_item& into) noexcept;
  /// Takes out, or marks as orphaned, what a sender left, each by its own policy: how many. Calls removed(channel_item&&).
  template <class F>
  std::size_t orphan(interpreter_id sender, F&& removed) {
    std::size_t count = 0;
    for (std::uint64_t at = head_; at != tail_; at += stride(entry_at(at))) {
      entry& e = entry_at(at);
      if (e.sender != sender || e.what == kind::filler || e.what == kind::removed) continue;
      if (e.orphans == orphan_policy::keep) continue;
      ++count;
      if (e.orphans == orphan_policy::error) {
        e.orphaned = true;
        continue;
      }
      channel_item item;
      if (!item.bytes.reserve(inline_max)) continue; // no memory to take it out: it stays
      move_out(e, item);
      e.what = kind::removed;
      --live_;
      removed(std::move(item));
    }
    return count;
  }

private:
  enum class kind : std::uint8_t { bytes, block, filler, removed };
  struct entry {
    std::uint32_t size = 0; // of what follows
    kind what = kind::bytes;
    orphan_policy orphans = orphan_policy::keep;
    bool orphaned = false;
    interpreter_id sender{};

    std::uint8_t* content() noexcept { return reinterpret_cast<std::uint8_t*>(this + 1); }
  };
  static_assert(sizeof(entry) == 16);

  entry& entry_at(std::uint64_t position) noexcept {
    return *reinterpret_cast<entry*>(memory_ + (position & (capacity_ - 1)));
  }
  static std::uint64_t stride(const entry& e) noexcept { return (sizeof(entry) + e.size + 15) & ~std::uint64_t{15}; }
  /// Room for an entry with so many bytes behind the last one; null: no memory.
  entry* append(std::size_t size) noexcept;
  bool grow(std::size_t need) noexcept;
  static void move_out(entry& e, channel_item& into) noexcept;

  std::uint8_t* memory_ = nullptr;
  std::uint64_t capacity_ = 0; // a power of two
  std::uint64_t head_ = 0;     // positions only grow
  std::uint64_t tail_ = 0;
  std::size_t live_ = 0;
};

} // namespace Atoll
