// The owner's side of the reference protocol: which of its objects others hold, and how much credit is out for each.
// Why: weighted counting (ARCHITECTURE.md, "A reference's life"). The owner alone mints credit; an object lives until
// all of it came home. Nothing is shared, nothing is atomic, no order of messages is needed.
// Ownership: one table per interpreter, part of its C++ shell; it outlives the guest.
// Threads: owner only.
// Invariants: (I1) out = credit held by imports + credit in flight, for every entry, always.
//             (I2) out > 0 => the guest keeps the object alive.
//             (I4) an object is handed to the dropper exactly once, when its out returns to 0.
//             (10) a slot's generation changes when its object goes: a stale id resolves to nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "runtime/credit.hpp"
#include "runtime/wire.hpp"

namespace Atoll {

class export_table {
public:
  using slot_index = std::uint32_t;

  explicit export_table(interpreter_id owner, credit_policy policy = {}) noexcept : owner_(owner), policy_(policy) {}

  /// Enters an object. Its `out` is 0 until the first mint; the caller mints at once.
  slot_index add(guest_word object);

  /// Rule 1: credit for one more occurrence of the object in a message.
  wire_ref mint(slot_index slot) noexcept;

  /// Rule 3: credit for a holder that asked; 0 when the id is stale.
  std::uint32_t grant(const object_id& id) noexcept;

  /// Rules 5 to 8: credit came home, by a decref, a call's target or the reference itself. When it was the last, the
  /// object is due: the next take_due() hands it out. A stale id is ignored (answers false).
  bool take_back(const object_id& id, std::uint64_t credit) noexcept;

  /// The object an id names; nothing when it is stale or another interpreter's.
  std::optional<guest_word> find(const object_id& id) const noexcept;

  /// An object whose last credit came home, to be let go by the guest; its slot is free again and its generation over.
  /// Nothing when no object is due. An object minted again before its turn came is not due any more.
  std::optional<guest_word> take_due() noexcept;

  /// Objects others hold: those with out > 0.
  std::size_t live() const noexcept { return live_; }
  /// How many credits were minted and came home, over the table's life: the audit and the report read them.
  std::uint64_t minted() const noexcept { return minted_; }
  std::uint64_t returned() const noexcept { return returned_; }
  /// Objects that entered the table, and that left it because all credit came home.
  std::uint64_t added() const noexcept { return added_; }
  std::uint64_t released() const noexcept { return released_; }
  std::uint64_t out(slot_index slot) const noexcept { return entries_[slot].out; }

  /// Calls f(object_id, guest_word, out) for every object others hold.
  template <class F>
  void for_each(F&& f) const {
    for (slot_index i = 0; i < entries_.size(); ++i)
      if (entries_[i].used && entries_[i].out > 0)
        f(object_id{owner_, i, entries_[i].generation}, entries_[i].object, entries_[i].out);
  }

private:
  struct entry {
    std::uint64_t out = 0;
    guest_word object = 0;
    std::uint32_t generation = 1;
    slot_index next_free = none;
    bool used = false;
    bool due = false; // stands in due_
  };
  static constexpr slot_index none = ~slot_index{0};

  entry* resolve(const object_id& id) noexcept;

  interpreter_id owner_;
  credit_policy policy_;
  std::vector<entry> entries_;
  std::vector<slot_index> due_;
  slot_index free_ = none;
  std::size_t live_ = 0;
  std::uint64_t minted_ = 0;
  std::uint64_t returned_ = 0;
  std::uint64_t added_ = 0;
  std::uint64_t released_ = 0;
};

} // namespace Atoll
