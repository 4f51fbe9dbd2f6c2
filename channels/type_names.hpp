// The names of types, as numbers: so that a reference says what it refers to without asking the owner.
// Why: a name in each message and in each table entry would cost more than the reference. One table for the runtime, and
// two bytes travel. It is here and not in runtime/, as every interpreter reads and writes it: it needs a lock; guests
// reach it through host. It is looked at when an object is first exported and when a reference is printed, no oftener.
// Ownership: the directory's, shared with the host program's references, which may be printed after the runtime's end.
// Threads: any thread.
// Invariants: (1) a number means the same name for ever; 0 is "object". (2) it is bounded: 65,536 names of 64 bytes; a
//                 longer name is cut, and a type that comes when all numbers are taken is an "object".
#pragma once

#include <deque>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "runtime/ids.hpp"

namespace Atoll {

class type_names {
public:
  static constexpr std::size_t count_max = 65536;
  static constexpr std::size_t length_max = 64;

  type_names();
  type_names(const type_names&) = delete;
  type_names& operator=(const type_names&) = delete;

  /// The number of a name, new if need be; "object" when there is no room or no memory.
  type_id id_of(std::string_view name) noexcept;
  /// Lives as long as the table.
  std::string_view name_of(type_id id) const noexcept;

private:
  mutable std::shared_mutex mutex_;
  std::deque<std::string> names_; // their addresses are the keys below
  std::unordered_map<std::string_view, type_id> ids_;
};

} // namespace Atoll
