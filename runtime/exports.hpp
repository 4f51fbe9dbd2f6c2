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

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "runtime/credit.hpp"
#include "runtime/paged_array.hpp"
#include "runtime/wire.hpp"

namespace Atoll {

class export_table {
public:
  using slot_index = std::uint32_t;

  explicit export_table(interpreter_id owner, credit_policy policy = {}) noexcept : owner_(owner), policy_(policy) {}

  /// Enters an object. Its `out` is 0 until the first mint; the caller mints at once.
  slot_index add(guest_word object, type_id type = object_type);

  /// Rule 1: credit for one more occurrence of the object in a message.
  wire_ref mint(slot_index slot) noexcept;

  /// Rule 3: credit for a holder that asked; 0 when the id is stale.
  std::uint32_t grant(const object_id& id) noexcept;

  /// Rules 5 to 8: credit came home, by a decref, a call's target or the reference itself. When it was the last, the
  /// object is due: the next take_due() hands it out. A stale id is ignored (answers false).
  bool take_back(const object_id& id, std::uint64_t credit) noexcept;
  /// The same for a decref's body; `drop_due` is called at once for what it makes due, while the entry is near. Answers
  /// how many objects the decref named.
  template <class F>
  std::uint64_t take_back(wire_reader& decref, F&& drop_due);

  /// The object an id names; nothing when it is stale or another interpreter's.
  std::optional<guest_word> find(const object_id& id) const noexcept;

  /// An object whose last credit came home, to be let go by the guest; its slot is free again and its generation over.
  /// Nothing when no object is due. An object minted again before its turn came is not due any more.
  std::optional<guest_word> take_due() noexcept {
    while (due_ != none) {
      entry& e = entries_[due_];
      const slot_index slot = std::exchange(due_, e.next);
      e.due = false;
      if (e.out > 0) continue;
      free(slot, e);
      return e.object;
    }
    return std::nullopt;
  }

  /// Objects others hold: those with out > 0.
  std::size_t live() const noexcept { return live_; }
  /// How many credits were minted and came home, over the table's life: the audit and the report read them.
  std::uint64_t minted() const noexcept { return minted_; }
  std::uint64_t returned() const noexcept { return returned_; }
  /// Objects that entered the table, and that left it because all credit came home.
  std::uint64_t added() const noexcept { return added_; }
  std::uint64_t released() const noexcept { return released_; }
  type_id type_of(slot_index slot) const noexcept { return entries_[slot].type; }
  std::uint64_t out(slot_index slot) const noexcept { return entries_[slot].out; }
  /// Memory for the entries.
  std::size_t bytes() const noexcept { return entries_.bytes(); }

  /// Calls f(object_id, guest_word, out) for every object others hold.
  template <class F>
  void for_each(F&& f) const {
    for (slot_index i = 0; i < entries_.size(); ++i)
      if (entries_[i].used && entries_[i].out > 0)
        f(object_id{owner_, i, entries_[i].generation}, entries_[i].object, entries_[i].out);
  }

private:
  static constexpr slot_index none = ~slot_index{0};

  // Two to a cache line: there may be millions.
  struct entry {
    std::uint64_t out = 0;
    guest_word object = 0;
    std::uint32_t generation = 1;
    slot_index next = none; // of the due, while it is due; of the free, while it is free
    type_id type{};
    bool used = false;
    bool due = false; // stands in the list that begins with due_
  };
  static_assert(sizeof(entry) == 32);

  entry* resolve(const object_id& id) noexcept {
    if (id.owner != owner_ || id.slot >= entries_.size()) return nullptr;
    entry& e = entries_[id.slot];
    return e.used && e.generation == id.generation ? &e : nullptr;
  }
  bool take_back(slot_index slot, entry& e, std::uint64_t credit) noexcept {
    if (credit > e.out) return false;
    if (credit == 0) return true;
    e.out -= credit;
    returned_ += credit;
    if (e.out > 0) return true;
    --live_;
    if (!e.due) {
      e.due = true;
      e.next = std::exchange(due_, slot);
    }
    return true;
  }
  void prefetch(slot_index slot) const noexcept {
    if (slot < entries_.size()) __builtin_prefetch(&entries_[slot], 1);
  }
  void free(slot_index slot, entry& e) noexcept {
    e.used = false;
    ++released_;
    // A slot whose generations are used up retires: a reused generation could resolve a stale id.
    if (++e.generation == 0) return;
    e.next = free_;
    free_ = slot;
  }

  interpreter_id owner_;
  credit_policy policy_;
  paged_array<entry> entries_;
  slot_index due_ = none;
  slot_index free_ = none;
  std::size_t live_ = 0;
  std::uint64_t minted_ = 0;
  std::uint64_t returned_ = 0;
  std::uint64_t added_ = 0;
  std::uint64_t released_ = 0;
};

template <class F>
std::uint64_t export_table::take_back(wire_reader& decref, F&& drop_due) {
  constexpr std::uint32_t runs_at_once = 64;
  std::array<decref_run, runs_at_once> runs;
  std::uint64_t named = 0;
  for (std::uint32_t left = decref.get_u32(); left > 0;) {
    const std::uint32_t n = std::min(left, runs_at_once);
    left -= n;
    for (std::uint32_t i = 0; i < n; ++i) {
      runs[i] = decref.get_decrefs(owner_);
      prefetch(runs[i].slot);
    }
    if (decref.failed()) break;
    for (std::uint32_t i = 0; i < n; ++i) {
      const decref_run& run = runs[i];
      for (std::uint32_t k = 0; k < run.count; ++k) {
        const slot_index slot = run.slot + k;
        if (entry* e = resolve({owner_, slot, run.generation})) take_back(slot, *e, run.credit);
        if (due_ != none) drop_due();
      }
      named += run.count;
    }
  }
  return named;
}

} // namespace Atoll
