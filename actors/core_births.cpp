// Births and ends in the runtime's books: who lives, who counts among whom, and what is reported of the dead.
#include <fmt/format.h>

#include <algorithm>

#include "actors/core.hpp"

namespace Atoll {

namespace {

constexpr std::chrono::milliseconds shortest_slice{1};

/// For one birth more: its report has room from then on, as ended() and abandon() must not fail. For as many as are ever
/// listed, but for those abandoned beyond that.
void make_room(std::vector<interpreter_report>& listed, std::size_t living, std::size_t reported_ends) {
  const std::size_t most = 2 * reported_ends + 1;
  const std::size_t needed = std::min(listed.size() + living + 1, most);
  if (listed.capacity() < needed) listed.reserve(std::min(needed * 2, most));
}

tl::unexpected<error> too_late() {
  return fail(errc::runtime_finalizing, "the runtime is being finalized: no new interpreters");
}

} // namespace

std::shared_ptr<const interpreter_config> core::usual_config() const {
  auto c = std::make_shared<interpreter_config>();
  c->credit = config_.credit;
  c->turn_messages = config_.turn_messages;
  c->pending_calls = config_.pending_calls;
  c->bounds = {.memory = config_.memory,
               .message_cpu = config_.message_cpu,
               .call_time = config_.call_time,
               .time_slice = std::max(shortest_slice, config_.time_slice),
               .high_water = std::max<std::size_t>(1, config_.high_water),
               .call_depth = std::min(config_.call_depth, deepest_call)};
  c->children = everybody_;
  return c;
}

result<interpreter_id> core::create_as(interpreter_id id, const spawn_options& options, interpreter_id parent) {
  if (finalizing()) return too_late();
  const auto language = config_.languages.find(options.language);
  if (language == config_.languages.end())
    return fail(errc::invalid_argument, fmt::format("there is no guest for the language '{}'", options.language));
  const auto above = enter_population(parent);
  if (!above) return tl::unexpected(above.error());
  bool listed = false;
  const auto take_back = [&] {
    const std::scoped_lock lock(mutex_);
    if (!listed || living_.erase(id) > 0) (*above)->leave(); // whoever took it off the list has done the same
  };
  try {
    if (auto born = bear(id, options, parent, language->second, *above, listed); !born) {
      take_back();
      return tl::unexpected(std::move(born.error()));
    }
    return id;
  } catch (const std::bad_alloc&) {
    take_back();
    throw;
  }
}

result<void> core::bear(interpreter_id id, const spawn_options& options, interpreter_id parent,
                        const guest_factory& make_guest, const std::shared_ptr<population>& above, bool& listed) {
  caf::actor_config cfg;
  const caf::actor made = caf::make_actor<interpreter_actor, caf::actor>(
      caf_->next_actor_id(), caf_->node(), caf_.get(), cfg, *this, config_of(id, options, above), id, parent,
      options.name, make_guest);
  const actor_ptr self(static_cast<interpreter_actor*>(caf::actor_cast<caf::abstract_actor*>(made)));
  {
    // Before others can find it: who kills or stops it then finds it here.
    const std::scoped_lock lock(mutex_);
    if (finalizing()) return too_late();
    make_room(ends_.interpreters, living_.size(), config_.reported_ends);
    living_.emplace(id, self);
    listed = true;
  }
  if (directory_.enter(id, options.name, parent, self->shell().shared_box())) return {};
  return fail(errc::name_taken, fmt::format("an interpreter named '{}' is running already", options.name));
}

std::shared_ptr<const interpreter_config> core::config_of(interpreter_id id, const spawn_options& options,
                                                          const std::shared_ptr<population>& above) const {
  const bool as_usual = options.memory == 0 && !options.message_cpu && !options.call_time && !options.time_slice
                        && !options.high_water && !options.interpreters && !options.call_depth;
  if (as_usual && above == everybody_) return usual_;
  auto c = std::make_shared<interpreter_config>(*usual_);
  limits& own = c->bounds;
  if (options.memory > 0) own.memory = options.memory;
  own.message_cpu = options.message_cpu.value_or(own.message_cpu);
  own.call_time = options.call_time.value_or(own.call_time);
  own.high_water = std::max<std::size_t>(1, options.high_water.value_or(own.high_water));
  own.call_depth = std::min(options.call_depth.value_or(own.call_depth), deepest_call);
  own.time_slice = std::max(shortest_slice, options.time_slice.value_or(own.time_slice));
  if (own.time_slice < usual_->bounds.time_slice) ticker_->look_every(own.time_slice / 2);
  const std::size_t room = options.interpreters.value_or(0);
  c->children = room > 0 ? std::make_shared<population>(id, options.name, room, above) : above;
  return c;
}

/// Counts a child of `parent` before it is born. limit_reached.
result<std::shared_ptr<population>> core::enter_population(interpreter_id parent) {
  const std::scoped_lock lock(mutex_);
  const auto it = living_.find(parent);
  std::shared_ptr<population> home = it != living_.end() ? it->second->shell().children() : everybody_;
  const population* const full = home->enter();
  if (full == nullptr) return home;
  const std::string whose =
      full->owner() == host_interpreter ? "the runtime" : "interpreter " + number_and_name(full->owner(), full->name());
  return fail(errc::limit_reached, fmt::format("no further interpreter: {} may have {} at a time, which live already",
                                               whose, full->limit()));
}

/// With mutex_ held, once for each that was born.
void core::leave_population(const interpreter& who) {
  population& own = *who.children();
  (own.owner() == who.id() ? *own.above() : own).leave();
}

void core::ended(const interpreter& who, interpreter_report report) {
  actor_ptr last; // let go of outside the lock
  {
    const std::scoped_lock lock(mutex_);
    const auto it = living_.find(who.id());
    if (it == living_.end()) return; // abandoned, and come back: its outcome has been told
    ends_.add(std::move(report), config_.reported_ends);
    last = std::move(it->second);
    leave_population(last->shell());
    living_.erase(it);
    if (who.id() == main_interpreter) {
      main_over_ = true;
      changed_.notify_all();
    }
    if (living_.size() > tell_at_ || !finalizing()) return; // before the end nobody counts the living
  }
  tell_supervisor();
}

void core::tell_of_ends_at(std::size_t alive) {
  const std::scoped_lock lock(mutex_);
  tell_at_ = alive;
}

ends core::take_ends() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(ends_, {});
}

void core::abandon(interpreter_id who) {
  actor_ptr stuck;
  {
    const std::scoped_lock lock(mutex_);
    const auto it = living_.find(who);
    if (it == living_.end()) return;
    abandoned_any_ = true;
    if (who == main_interpreter) {
      main_over_ = true;
      changed_.notify_all();
    }
    stuck = std::move(it->second);
    leave_population(stuck->shell());
    living_.erase(it);
  }
  // No turn of it begins from here on, and one under way does not go into the guest again.
  stuck->shell().set_controls({.kill = true, .abandoned = true});
  stuck->intrusive_ptr_add_ref_impl(); // never given back: the state stays as it is
  const interpreter_info info = stuck->shell().describe();
  interpreter_report r;
  r.id = info.id;
  r.name = info.name;
  r.outcome = end_kind::abandoned;
  r.failure = {errc::killed, "it did not come to an end: its guest never returned", {}, info.id, info.name, {}};
  // Should its thread ever come back, it finds none of them.
  pending_calls& calls = *stuck->shell().pending();
  calls.close();
  if (const std::size_t rest = calls.refuse_rest(); rest > 0)
    log(log_level::error, info, fmt::format("{} did not run: {}", pending_calls::text(rest), r.failure.message));
  const pending_calls::figures counted = calls.count();
  r.pending_calls_run = counted.started;
  r.pending_calls_failed = counted.failed;
  r.pending_calls_refused = counted.refused;
  const std::scoped_lock lock(mutex_);
  ends_.add(std::move(r), config_.reported_ends);
}

} // namespace Atoll
