#include "actors/future.hpp"

#include <cstdio>
#include <cstdlib>

#include "actors/interpreter_actor.hpp"

namespace Atoll {

void answer::give(call_results results) {
  if (changed_.forked()) return;
  const std::scoped_lock lock(mutex_);
  if (results_) return;
  results_.emplace(std::move(results));
  changed_->notify_all();
}

bool answer::given() const {
  if (changed_.forked()) return true; // await() answers at once
  const std::scoped_lock lock(mutex_);
  return results_.has_value();
}

const call_results* answer::await(std::optional<std::chrono::steady_clock::time_point> until, error& why) const {
  if (changed_.forked()) {
    why = forked_error();
    return nullptr;
  }
  std::unique_lock lock(mutex_);
  if (results_) return &*results_;
  if (on_worker_thread()) {
    why = {
        errc::invalid_argument, "a future was waited for inside an interpreter's turn or a callback", {}, {}, {}, {}};
#if defined(ATOLL_CHECKED)
    std::fprintf(stderr, "atoll: future invariant: %s\n", why.message.c_str());
    std::abort();
#else
    return nullptr;
#endif
  }
  const auto is_there = [&] { return results_.has_value(); };
  if (!until) {
    changed_->wait(lock, is_there);
  } else if (!changed_->wait_until(lock, *until, is_there)) {
    why = {errc::timeout, "no answer yet", {}, {}, {}, {}};
    return nullptr;
  }
  return &*results_;
}

} // namespace Atoll
