#include "guests/native/native_finalizers.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "guests/native/native_context.hpp"
#include "runtime/guarded.hpp"

namespace Atoll {

void report_finalizer(host& outside, const result<void>& ran, const char* what) {
  outside.count_finalizer(ran ? nullptr : &ran.error());
  if (!ran) outside.log(log_level::error, fmt::format("in {}: {}", what, ran.error().message));
}

result<native_finalizers::id> native_finalizers::add(object* o, function f, std::optional<int> priority) {
  if (closed_) return fail(errc::runtime_finalizing, "finalizer: the last finalizers of this interpreter have run");
  if (!f) return fail(errc::invalid_argument, "finalizer: a function expected");
  if (o == nullptr && !priority)
    return fail(errc::invalid_argument, "finalizer: without an object it needs a priority, or it never runs");
  if (o != nullptr && o->cls->space != &context_.objects())
    return fail(errc::invalid_argument, "finalizer: an object of this interpreter expected");
  book& b = book_.need();
  if (std::find(b.dying.begin(), b.dying.end(), o) != b.dying.end())
    return fail(errc::invalid_argument, "finalizer: the object is dying");
  const id which = b.order.add(0, priority);
  try {
    b.records.emplace(which, record{o, std::move(f)});
    if (o != nullptr) b.by_object[o].push_back(which);
  } catch (...) { // no memory: nothing of it is left
    b.order.cancel(which);
    b.records.erase(which);
    throw;
  }
  if (!b.by_object.empty()) context_.objects().watch(this);
  return which;
}

std::optional<native_finalizers::record> native_finalizers::take(id which) {
  if (!book_) return std::nullopt;
  book& b = *book_;
  const auto at = b.records.find(which);
  if (at == b.records.end()) return std::nullopt;
  record r = std::move(at->second);
  b.records.erase(at);
  b.order.cancel(which);
  if (const auto list = b.by_object.find(r.dying_with); list != b.by_object.end()) {
    std::erase(list->second, which);
    if (list->second.empty()) b.by_object.erase(list);
  }
  if (b.by_object.empty()) context_.objects().watch(nullptr);
  return r;
}

result<void> native_finalizers::call(const record& r) {
  std::optional<own_holder> alive;
  if (r.dying_with != nullptr) alive.emplace(*r.dying_with);
  return guarded([&]() -> result<void> {
    r.run(context_, r.dying_with);
    return {};
  });
}

void native_finalizers::call_reported(const record& r) { report_finalizer(context_.outside(), call(r), "a finalizer"); }

result<bool> native_finalizers::run(id which) {
  if (!book_) return false;
  const auto at = book_->records.find(which);
  if (at == book_->records.end()) return false;
  if (const object* o = at->second.dying_with; o != nullptr && o->count == 0) return false;
  const auto r = take(which);
  const result<void> ran = call(*r);
  if (!ran) return tl::unexpected<error>(ran.error());
  return true;
}

bool native_finalizers::cancel(id which) { return take(which).has_value(); }

bool native_finalizers::run_next(int min_priority) {
  if (!book_) return false;
  const auto next = book_->order.next(min_priority);
  if (!next) return false;
  call_reported(*take(next->number));
  return true;
}

void native_finalizers::dying(object& o) {
  // Those of this moment, the newest first, each still to be cancelled by the ones before it.
  book& b = *book_; // it asked to watch
  const auto list = b.by_object.find(&o);
  if (list == b.by_object.end()) return;
  const std::vector<id> all = list->second;
  b.dying.push_back(&o);
  for (auto which = all.rbegin(); which != all.rend(); ++which)
    if (const auto r = take(*which)) call_reported(*r);
  std::erase(b.dying, &o);
}

void native_finalizers::close() {
  closed_ = true;
  context_.objects().watch(nullptr);
  if (!book_) return;
  book_->by_object.clear();
  while (!book_->records.empty()) take(book_->records.begin()->first);
}

} // namespace Atoll
