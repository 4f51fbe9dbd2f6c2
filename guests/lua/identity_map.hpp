// Numbers objects by address, for one message at a time.
// Why: shared subtables and cycles must stay shared; a Lua table for it would allocate, and could fail halfway.
// Threads: owner only. The addresses are compared, never followed.
#pragma once

#include <cstdint>
#include <vector>

namespace Atoll {

class identity_map {
public:
  static constexpr std::uint32_t fresh = ~std::uint32_t{0};

  /// Forgets everything, in constant time.
  void clear() noexcept {
    count_ = 0;
    if (++epoch_ != 0) return;
    for (entry& e : entries_) e.epoch = 0;
    epoch_ = 1;
  }

  /// The number `object` got before; `fresh` when it just got the next one.
  std::uint32_t number(const void* object) {
    if ((count_ + 1) * 2 > entries_.size()) grow();
    entry& e = slot_of(object);
    if (e.epoch == epoch_) return e.number;
    e = {object, epoch_, count_++};
    return fresh;
  }

private:
  struct entry {
    const void* object = nullptr;
    std::uint32_t epoch = 0;
    std::uint32_t number = 0;
  };

  entry& slot_of(const void* object) noexcept {
    const std::size_t mask = entries_.size() - 1;
    std::size_t i = (reinterpret_cast<std::uintptr_t>(object) * 0x9E3779B97F4A7C15ULL >> 32U) & mask;
    while (entries_[i].epoch == epoch_ && entries_[i].object != object) i = (i + 1) & mask;
    return entries_[i];
  }

  void grow() {
    std::vector<entry> old(entries_.empty() ? 16 : entries_.size() * 2);
    old.swap(entries_);
    for (const entry& e : old)
      if (e.epoch == epoch_) slot_of(e.object) = e;
  }

  std::vector<entry> entries_;
  std::uint32_t epoch_ = 1;
  std::uint32_t count_ = 0;
};

} // namespace Atoll
