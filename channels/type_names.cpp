#include "channels/type_names.hpp"

#include <mutex>
#include <new>

namespace Atoll {

type_names::type_names() { ids_.emplace(names_.emplace_back("object"), object_type); }

type_id type_names::id_of(std::string_view name) noexcept {
  if (name.empty()) return object_type;
  if (name.size() > length_max) {
    // Not in the middle of a character.
    std::size_t end = length_max;
    while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0U) == 0x80U) --end;
    name = name.substr(0, end > 0 ? end : length_max);
  }
  {
    const std::shared_lock lock(mutex_);
    if (const auto it = ids_.find(name); it != ids_.end()) return it->second;
  }
  const std::scoped_lock lock(mutex_);
  if (const auto it = ids_.find(name); it != ids_.end()) return it->second;
  const std::size_t number = names_.size();
  if (number == count_max) return object_type;
  try {
    names_.emplace_back(name);
    ids_.emplace(names_.back(), type_id{static_cast<std::uint16_t>(number)});
    return type_id{static_cast<std::uint16_t>(number)};
  } catch (const std::bad_alloc&) {
    if (names_.size() > number) names_.pop_back();
    return object_type;
  }
}

std::string_view type_names::name_of(type_id id) const noexcept {
  const std::shared_lock lock(mutex_);
  const auto number = static_cast<std::size_t>(id);
  return number < names_.size() ? names_[number] : names_.front();
}

} // namespace Atoll
