#include "runtime/exports.hpp"

namespace Atoll {

export_table::slot_index export_table::add(guest_word object, type_id type) {
  const slot_index slot = free_ != none ? free_ : entries_.grow();
  entry& e = entries_[slot];
  if (slot == free_) free_ = e.next;
  e.out = 0;
  e.object = object;
  e.type = type;
  e.used = true;
  ++added_;
  return slot;
}

wire_ref export_table::mint(slot_index slot) noexcept {
  entry& e = entries_[slot];
  if (e.out == 0) ++live_;
  e.out += policy_.grant;
  minted_ += policy_.grant;
  return {{owner_, slot, e.generation}, policy_.grant, {}, e.type};
}

std::uint32_t export_table::grant(const object_id& id) noexcept {
  entry* e = resolve(id);
  return e != nullptr ? mint(id.slot).credit : 0;
}

bool export_table::take_back(const object_id& id, std::uint64_t credit) noexcept {
  entry* e = resolve(id);
  return e != nullptr && take_back(id.slot, *e, credit);
}

std::optional<guest_word> export_table::find(const object_id& id) const noexcept {
  const entry* e = const_cast<export_table*>(this)->resolve(id);
  if (e == nullptr) return std::nullopt;
  return e->object;
}

} // namespace Atoll
