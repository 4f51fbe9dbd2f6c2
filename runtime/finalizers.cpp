#include "runtime/finalizers.hpp"

namespace Atoll {

finalizer_registry::id finalizer_registry::add(guest_word what, std::optional<int> priority) {
  const id number = next_++;
  entries_.emplace(number, entry{number, what, priority});
  if (priority) at_exit_.emplace(rank{*priority, number}, what);
  return number;
}

std::optional<guest_word> finalizer_registry::take(id number) {
  const auto at = entries_.find(number);
  if (at == entries_.end()) return std::nullopt;
  const entry e = at->second;
  entries_.erase(at);
  if (e.priority) at_exit_.erase({*e.priority, number});
  return e.what;
}

std::optional<finalizer_registry::entry> finalizer_registry::next(int min_priority) const {
  if (at_exit_.empty()) return std::nullopt;
  const auto& [best, what] = *at_exit_.rbegin();
  if (best.first < min_priority) return std::nullopt;
  return entry{best.second, what, best.first};
}

std::optional<finalizer_registry::entry> finalizer_registry::take_next(int min_priority) {
  const auto e = next(min_priority);
  if (e) take(e->number);
  return e;
}

void finalizer_registry::leave_to_object(id number) {
  const auto at = entries_.find(number);
  if (at == entries_.end() || !at->second.priority) return;
  at_exit_.erase({*at->second.priority, number});
  at->second.priority.reset();
}

} // namespace Atoll
