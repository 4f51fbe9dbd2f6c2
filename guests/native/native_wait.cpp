#include "guests/native/native_wait.hpp"

#include <fmt/format.h>

namespace Atoll {

void native_wait::set_deadline(time_point when) {
  if (done()) return;
  host& outside = tasks_.outside();
  if (timer_ != 0) outside.cancel_timer(timer_);
  deadline_ = when;
  timer_ = outside.set_timer(when, token_);
}

void native_wait::settle() noexcept {
  if (done()) return;
  tasks_.leave(std::exchange(token_, over));
  if (timer_ != 0) tasks_.outside().cancel_timer(std::exchange(timer_, 0));
}

std::coroutine_handle<> native_wait::finish(const outcome& what) {
  // A timer may be the operation's own: the clock says whether the deadline is past.
  const bool late = what.what == outcome::kind::timer && deadline_ && tasks_.outside().now() >= *deadline_;
  if (late) return break_off(errc::timeout);
  if (what.what == outcome::kind::failed)
    give_up(*what.failure);
  else
    take(what);
  settle();
  return waiting_;
}

std::coroutine_handle<> native_wait::break_off(errc code) {
  give_up(broken_off(code));
  settle();
  return waiting_;
}

error native_wait::broken_off(errc code) const {
  const host& outside = tasks_.outside();
  return {code, fmt::format("{} while waiting for {}", name_of(code), text()), {}, outside.id(), outside.name(), {}};
}

} // namespace Atoll
