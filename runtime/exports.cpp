#include "runtime/exports.hpp"

namespace Atoll {

export_table::slot_index export_table::add(guest_word object) {
  slot_index slot = free_;
  if (slot == none) {
    slot = static_cast<slot_index>(entries_.size());
    entries_.emplace_back();
    due_.reserve(entries_.capacity()); // so that take_back never allocates
  } else {
    free_ = entries_[slot].next_free;
  }
  entry& e = entries_[slot];
  e.out = 0;
  e.object = object;
  e.used = true;
  ++added_;
  return slot;
}

wire_ref export_table::mint(slot_index slot) noexcept {
  entry& e = entries_[slot];
  if (e.out == 0) ++live_;
  e.out += policy_.grant;
  minted_ += policy_.grant;
  return {{owner_, slot, e.generation}, policy_.grant, {}};
}

std::uint32_t export_table::grant(const object_id& id) noexcept {
  entry* e = resolve(id);
  return e != nullptr ? mint(id.slot).credit : 0;
}

bool export_table::take_back(const object_id& id, std::uint64_t credit) noexcept {
  entry* e = resolve(id);
  if (e == nullptr || credit > e->out) return false;
  if (credit == 0) return true;
  e->out -= credit;
  returned_ += credit;
  if (e->out == 0) {
    --live_;
    if (!e->due) {
      e->due = true;
      due_.push_back(id.slot);
    }
  }
  return true;
}

std::optional<guest_word> export_table::find(const object_id& id) const noexcept {
  const entry* e = const_cast<export_table*>(this)->resolve(id);
  if (e == nullptr) return std::nullopt;
  return e->object;
}

std::optional<guest_word> export_table::take_due() noexcept {
  while (!due_.empty()) {
    const slot_index slot = due_.back();
    due_.pop_back();
    entry& e = entries_[slot];
    e.due = false;
    if (e.out > 0) continue;
    e.used = false;
    ++e.generation;
    // A slot whose generations are used up retires: a reused generation could resolve a stale id.
    if (e.generation != 0) {
      e.next_free = free_;
      free_ = slot;
    }
    ++released_;
    return e.object;
  }
  return std::nullopt;
}

export_table::entry* export_table::resolve(const object_id& id) noexcept {
  if (id.owner != owner_ || id.slot >= entries_.size()) return nullptr;
  entry& e = entries_[id.slot];
  return e.used && e.generation == id.generation ? &e : nullptr;
}

} // namespace Atoll
