#include "actors/survey.hpp"

#include <algorithm>

namespace Atoll {

void survey::part(interpreter_id who, std::vector<exported_object> exports, const import_table& imports) {
  {
    const std::scoped_lock lock(mutex_);
    for (exported_object& o : exports) objects_.push_back(std::move(o));
    imports.for_each([&](const object_id& id, std::uint32_t, std::uint32_t) { holders_[id].push_back(who); });
  }
  close(1);
}

void survey::close(std::size_t parts) {
  listener told;
  std::vector<exported_object> all;
  {
    const std::scoped_lock lock(mutex_);
    left_ -= std::min(parts, left_);
    if (left_ > 0 || !told_) return;
    told = std::exchange(told_, nullptr);
    all = std::move(objects_);
    for (exported_object& o : all)
      if (auto it = holders_.find(o.id); it != holders_.end()) o.holders = std::move(it->second);
    holders_.clear();
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  for (exported_object& o : all) std::sort(o.holders.begin(), o.holders.end());
  told(std::move(all));
}

} // namespace Atoll
