// The finalizers of one interpreter and the order in which its exit runs them (DESIGN section 10).
// Why: finalizers, collections and messages change the registry while it is being run. CPython's mutated a structure
// under its own iteration (bpo-24484); here nobody iterates: each step takes one entry out, then runs it.
// Ownership: the guest, or its shell; what an entry's word stands for is the guest's business.
// Threads: owner only.
// Invariants: (1) a word added comes out once: by take, take_next or cancel.
//             (2) next and take_next give the highest priority first and the newest first among equals, of what is in the
//                 registry at that moment.
//             (3) an entry without a priority, or left to its object, never comes out of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "runtime/ids.hpp"

namespace Atoll {

class finalizer_registry {
public:
  /// Never used twice in a registry; never 0.
  using id = std::uint64_t;

  struct entry {
    id number = 0;
    guest_word what = 0;
    std::optional<int> priority;
  };

  /// Without a priority it never runs at exit.
  id add(guest_word what, std::optional<int> priority);
  /// False when it ran, was taken or was cancelled before.
  bool cancel(id number) { return take(number).has_value(); }
  /// Disarms it, for a run by hand or because its object died.
  std::optional<guest_word> take(id number);
  /// The one to run next at exit, among those of at least this priority.
  std::optional<entry> next(int min_priority) const;
  /// Takes it out.
  std::optional<entry> take_next(int min_priority);

  /// From now on only its object's death, or a run by hand, takes it.
  void leave_to_object(id number);

  std::size_t size() const noexcept { return entries_.size(); }

private:
  // Ascending: the last key is the highest priority's newest.
  using rank = std::pair<int, id>;

  std::unordered_map<id, entry> entries_;
  std::map<rank, guest_word> at_exit_;
  id next_ = 1;
};

} // namespace Atoll
