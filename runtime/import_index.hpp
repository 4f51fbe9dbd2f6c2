// Finds an import by its object: owner, then the owner's slot.
// Why: owners number their exports densely, so a page of slots beats a hash: one look, and neighbours share cache lines.
// A million imports dropped in order took 40 % of the time that a hash table took. Pages are small, so that a holder with
// every eighth of an owner's objects pays 34 bytes for each.
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
    if (p == nullptr || number >= p->size() || (*p)[number].cells == nullptr) return none;
    return (*(*p)[number].cells)[slot % page_slots];
  }

  void set(interpreter_id owner, std::uint32_t slot, index i) {
    pages* known = pages_of(owner);
    if (known == nullptr) {
      known = &owners_[owner];
      last_owner_ = owner;
      last_ = known;
    }
    pages& p = *known;
    const std::size_t number = slot / page_slots;
    if (number >= p.size()) p.resize(number + 1);
    page& at = p[number];
    if (at.cells == nullptr) {
      at.cells = std::make_unique<cell_array>();
      at.cells->fill(none);
      ++pages_in_use_;
    }
    index& cell = (*at.cells)[slot % page_slots];
    if (cell == none) ++at.used;
    cell = i;
  }

  /// Forgets `i`; another import that took its place stays.
  void clear(interpreter_id owner, std::uint32_t slot, index i) noexcept {
    pages* p = pages_of(owner);
    if (p == nullptr) return;
    const std::size_t number = slot / page_slots;
    if (number >= p->size() || (*p)[number].cells == nullptr) return;
    page& at = (*p)[number];
    index& cell = (*at.cells)[slot % page_slots];
    if (cell != i) return;
    cell = none;
    if (--at.used == 0) drop_page(*p, at);
  }

  std::size_t bytes() const noexcept {
    std::size_t all = pages_in_use_ * sizeof(cell_array);
    for (const auto& [owner, p] : owners_) all += sizeof(pages) + p.capacity() * sizeof(page);
    return all;
  }

private:
  static constexpr std::size_t page_slots = 64;
  using cell_array = std::array<index, page_slots>;
  struct page {
    std::unique_ptr<cell_array> cells;
    std::uint32_t used = 0;
  };
  using pages = std::vector<page>;

  pages* pages_of(interpreter_id owner) const noexcept {
    if (last_ != nullptr && last_owner_ == owner) return last_;
    const auto it = owners_.find(owner);
    if (it == owners_.end()) return nullptr;
    last_owner_ = owner;
    return last_ = const_cast<pages*>(&it->second);
  }

  [[gnu::noinline]] void drop_page(pages& p, page& empty) noexcept {
    empty.cells.reset();
    --pages_in_use_;
    while (!p.empty() && p.back().cells == nullptr) p.pop_back();
    if (!p.empty()) return;
    owners_.erase(last_owner_); // clear() looked it up
    last_ = nullptr;
  }

  std::unordered_map<interpreter_id, pages> owners_;
  std::size_t pages_in_use_ = 0;
  // The owner asked for last: most holders deal with few.
  mutable interpreter_id last_owner_{};
  mutable pages* last_ = nullptr;
};

} // namespace Atoll
