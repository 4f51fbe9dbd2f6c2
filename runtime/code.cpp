#include "runtime/code.hpp"

#include <fmt/format.h>

namespace Atoll {

result<code_extra_registry::index> code_extra_registry::request_code_extra_index(free_function free) {
  if (functions_.size() == max_indices)
    return fail(errc::invalid_argument,
                fmt::format("all {} code extra indices of this interpreter are given out", max_indices));
  functions_.push_back(free);
  return static_cast<index>(functions_.size() - 1);
}

void code_extra_registry::release(index i, void* extra) {
  if (extra == nullptr || functions_[i] == nullptr) return;
  queue_.emplace_back(functions_[i], extra);
  drain();
}

void code_extra_registry::release_all(std::vector<void*>& extras) {
  for (std::size_t i = 0; i < extras.size(); ++i)
    if (extras[i] != nullptr && functions_[i] != nullptr) queue_.emplace_back(functions_[i], extras[i]);
  extras.clear();
  drain();
}

void code_extra_registry::drain() {
  if (draining_) return;
  draining_ = true;
  while (!queue_.empty()) {
    const auto [free, extra] = queue_.back();
    queue_.pop_back();
    free(extra);
  }
  draining_ = false;
}

code_object::~code_object() { registry_->release_all(extras_); }

result<void> code_object::set_extra(index i, void* extra) {
  if (i >= registry_->indices())
    return fail(errc::invalid_argument, fmt::format("code extra index {} was not requested in this interpreter", i));
  if (i >= extras_.size()) extras_.resize(i + std::size_t{1});
  // Emptied before the free function runs, which may look at this slot or set it.
  while (void* old = std::exchange(extras_[i], nullptr)) registry_->release(i, old);
  extras_[i] = extra;
  return {};
}

result<void> code_object::get_extra(index i, void*& extra) const noexcept {
  extra = i < extras_.size() ? extras_[i] : nullptr;
  return {};
}

} // namespace Atoll
