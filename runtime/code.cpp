#include "runtime/code.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>

namespace Atoll {

result<code_extra_registry::index> code_extra_registry::request_code_extra_index(free_function free) {
  const auto vacant =
      std::find_if(entries_.begin(), entries_.end(), [](const entry& e) { return e.state == use::vacant; });
  if (vacant != entries_.end()) {
    *vacant = {free, use::given_out, 0};
    return static_cast<index>(vacant - entries_.begin());
  }
  if (entries_.size() == max_indices)
    return fail(errc::invalid_argument,
                fmt::format("all {} code extra indices of this interpreter are given out", max_indices));
  entries_.push_back({free, use::given_out, 0});
  return static_cast<index>(entries_.size() - 1);
}

result<void> code_extra_registry::unregister_code_extra_index(index i) {
  if (!accepts(i))
    return fail(errc::invalid_argument, fmt::format("code extra index {} was not requested in this interpreter", i));
  entries_[i].state = entries_[i].values == 0 ? use::vacant : use::ending;
  return {};
}

std::size_t code_extra_registry::indices() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const entry& e) { return e.state != use::vacant; }));
}

void code_extra_registry::add_value(index i) {
  if (queue_.capacity() == values_) queue_.reserve(values_ * 2 + 16); // invariant 3
  ++entries_[i].values;
  ++values_;
}

void code_extra_registry::release(index i, void* extra) noexcept {
  queue_.emplace_back(i, extra);
  drain();
}

void code_extra_registry::release_all(std::vector<void*>& extras) noexcept {
  for (std::size_t i = 0; i < extras.size(); ++i)
    if (extras[i] != nullptr) queue_.emplace_back(static_cast<index>(i), extras[i]);
  extras.clear();
  drain();
}

void code_extra_registry::drain() noexcept {
  if (draining_) return;
  draining_ = true;
  while (!queue_.empty()) {
    const auto [i, extra] = queue_.back();
    queue_.pop_back();
    free_one(i, extra);
  }
  draining_ = false;
}

void code_extra_registry::free_one(index i, void* extra) noexcept {
  try {
    if (const free_function free = entries_[i].free) free(extra);
  } catch (const std::exception& e) {
    if (on_failure) on_failure(e.what());
  } catch (...) {
    if (on_failure) on_failure("an exception that is no std::exception");
  }
  --values_;
  entry& e = entries_[i];
  if (--e.values == 0 && e.state == use::ending) e.state = use::vacant;
}

result<void> code_object::set_extra(const code_extra_registry& mine, index i, void* extra) {
  if (&mine != registry_) return fail(errc::invalid_argument, "the code is another interpreter's: its extras are too");
  if (!registry_->accepts(i))
    return fail(errc::invalid_argument, fmt::format("code extra index {} was not requested in this interpreter", i));
  try {
    if (i >= extras_.size()) extras_.resize(i + std::size_t{1});
    if (extra != nullptr) registry_->add_value(i);
  } catch (const std::bad_alloc&) {
    return fail(errc::out_of_memory, "no memory for a code extra");
  }
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
