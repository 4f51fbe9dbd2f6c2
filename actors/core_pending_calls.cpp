// Pending calls as the runtime takes them: to whom, and whose flags the ticker looks at.
#include <fmt/format.h>

#include <algorithm>

#include "actors/core.hpp"

namespace Atoll {

error core::takes_no_call(interpreter_id who) const {
  const char* const what = who == host_interpreter     ? "{} is the host program, no interpreter"
                           : who == net_interpreter    ? "{} serves TCP: it is no interpreter"
                           : directory_.was_given(who) ? "interpreter {} is gone"
                                                       : "there never was an interpreter {}";
  return {errc::interpreter_gone,
          fmt::format(fmt::runtime(what), number(who)) + ": it takes no pending call",
          {},
          who,
          {},
          {}};
}

result<std::shared_ptr<pending_calls>> core::pending_of(interpreter_id who) const {
  if (forked()) return tl::unexpected(forked_error());
  if (port_->closed()) return tl::unexpected(finalized());
  // The directory has it from the moment its birth is sure, living_ before.
  if (directory_.find(who) != nullptr)
    if (const actor_ptr self = find(who)) return self->shell().pending();
  return tl::unexpected(takes_no_call(who));
}

result<void> core::add_pending_call(interpreter_id who, pending_function call) {
  const auto to = pending_of(who);
  if (!to) return tl::unexpected(to.error());
  if (!call) return fail(errc::invalid_argument, "a pending call without a function");
  try {
    switch ((*to)->add(call)) {
    case pending_calls::answer::accepted: return {};
    case pending_calls::answer::closed: break;
    case pending_calls::answer::full: {
      const auto info = directory_.look_up(who);
      return fail(errc::mailbox_full, fmt::format("interpreter {}: {} pending calls wait already, which is the limit",
                                                  number_and_name(who, info ? info->name : ""), (*to)->limit()));
    }
    }
  } catch (const std::bad_alloc&) {
    return fail(errc::out_of_memory, fmt::format("no memory for a pending call of interpreter {}", number(who)));
  }
  return tl::unexpected(takes_no_call(who));
}

result<pending_flag> core::make_pending_flag(interpreter_id who, pending_function call) {
  const auto to = pending_of(who);
  if (!to) return tl::unexpected(to.error());
  if (!call) return fail(errc::invalid_argument, "a pending flag without a function");
  if (crank_ != nullptr)
    return fail(errc::invalid_argument, "a runtime without threads does not look at pending flags");
  try {
    auto made = (*to)->make_flag(std::move(call));
    if (!made) return tl::unexpected(takes_no_call(who));
    const std::scoped_lock lock(flags_mutex_);
    if (std::find(flagged_.begin(), flagged_.end(), *to) == flagged_.end()) flagged_.push_back(*to);
    ticker_->wake();
    return *std::move(made);
  } catch (const std::bad_alloc&) {
    return fail(errc::out_of_memory, fmt::format("no memory for a pending flag of interpreter {}", number(who)));
  }
}

bool core::look_at_flags() noexcept {
  std::vector<std::shared_ptr<pending_calls>> all;
  try {
    const std::scoped_lock lock(flags_mutex_);
    all = flagged_;
  } catch (const std::bad_alloc&) {
    return true; // what is raised stays raised
  }
  for (const auto& one : all) {
    if (one->look_at_flags()) continue;
    const std::scoped_lock lock(flags_mutex_);
    std::erase(flagged_, one); // closed, for good
  }
  return !all.empty();
}

} // namespace Atoll
