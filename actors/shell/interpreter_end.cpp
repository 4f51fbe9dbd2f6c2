// The life of an interpreter: birth, stop, end. The steps of the end stand in actors/shell/interpreter.hpp.
#include <fmt/format.h>

#include "actors/shell/interpreter.hpp"
#include "channels/disposal.hpp"

namespace Atoll {

namespace {
// What a stop takes that says nothing of it.
constexpr std::chrono::milliseconds usual_limit{5000};
} // namespace

const char* name_of(end_kind kind) noexcept {
  switch (kind) {
  case end_kind::exited: return "exited";
  case end_kind::stopped: return "stopped";
  case end_kind::failed: return "failed";
  case end_kind::interrupted: return "interrupted";
  case end_kind::killed: return "killed";
  case end_kind::abandoned: break;
  }
  return "abandoned";
}

interpreter::interpreter(environment& env, std::shared_ptr<const interpreter_config> config, interpreter_id id,
                         interpreter_id parent, std::string name, const guest_factory& make_guest)
    : env_(env),
      config_(std::move(config)),
      id_(id),
      parent_(parent),
      name_(std::move(name)),
      make_guest_(make_guest),
      box_(new inbox(id, bounds().high_water)),
      heap_(std::in_place, bounds().memory, id),
      exports_(id, config_->credit),
      outbox_(id, env.where()),
      pending_(std::make_shared<pending_calls>(box_, config_->pending_calls)) {}

interpreter::~interpreter() {
  while (first_ != nullptr) envelope_ptr(std::exchange(first_, first_->next)).reset();
}

void interpreter::set_state(run_state state) {
  state_ = state;
  env_.where().set_state(id_, state);
}

void interpreter::started() {
  start_request_ = no_request; // request numbers are used again
  start_answered_ = true;
  if (state_ == run_state::starting) set_state(run_state::running);
}

void interpreter::start_failed(const error& why) {
  if (env_.finalizing()) return; // what finalization cut short did not fail; teardown ends it
  error told = why;              // the report says how much that was
  if (why.code == errc::out_of_memory && why.interpreter == id_ && bounds().memory > 0)
    told.message += fmt::format(" (its limit is {} bytes)", bounds().memory);
  end(end_kind::failed, std::move(told));
  if (id_ == main_interpreter) tell_main_done(&why);
}

void interpreter::tell_main_done(const error* failure) {
  if (std::exchange(main_done_told_, true)) return;
  env_.main_done(failure);
}

void interpreter::post_job(std::unique_ptr<job> work) {
  outbox_.open(id_, record_kind::job).put_u64(reinterpret_cast<std::uint64_t>(work.get()));
  commit_word();
  (void)work.release(); // the record's now
}

void interpreter::handle_stop(wire_reader& in, interpreter_id from) {
  const call_id call = in.get_u64();
  std::uint64_t milliseconds = in.get_u64();
  if (id_ == main_interpreter && from != host_interpreter && from != id_) {
    if (call != 0) answer({from, call}, not_by_others());
    return;
  }
  if (milliseconds == usual_stop_limit)
    milliseconds = guest_ != nullptr && guest_->stops_children() ? 0 : usual_limit.count();
  if (call != 0) stop_requests_.push_back(requests_.open(from, call));
  if (milliseconds > 0) {
    const time_point until =
        std::min(stop_deadline_.load(std::memory_order_relaxed), env_.now() + std::chrono::milliseconds(milliseconds));
    stop_deadline_.store(until, std::memory_order_relaxed);
    // Whatever else is scheduled: this turn may be one that never ends. But one that has nothing to run ends in it, and the
    // clock would keep its number until then: of a million that come and go, a hundred bytes each.
    if (acts_at_exit() || acts_at_close() || (guest_ != nullptr && guest_->tasks() > 0)) env_.wake_at(*this, until);
  }
  if (state_ != run_state::stopping) begin_stopping();
}

void interpreter::begin_stopping() {
  set_state(run_state::stopping);
  const bool by_guest = guest_ != nullptr && guest_->stops_children();
  for (const interpreter_id child : by_guest ? std::vector<interpreter_id>() : children_) {
    if (!env_.where().look_up(child)) continue;
    wire_writer& w = outbox_.open(child, record_kind::stop);
    w.put_u64(calls_.open(child_token));
    w.put_u64(0);
    if (outbox_.commit() <= send_status::crowded) {
      ++children_stopping_;
    } else {
      rollback();
    }
  }
  ++children_stopping_; // this interpreter itself, so that the last child or this line goes on, once
  child_stopped();
}

void interpreter::child_stopped() {
  if (--children_stopping_ > 0) return;
  run_exit_handlers([this] { end(end_kind::stopped); });
}

void interpreter::run_exit_handlers(std::function<void()> done) {
  if (guest_ == nullptr || exit_handlers_ran_) return done();
  const bool running = static_cast<bool>(on_exited_);
  on_exited_ = [first = std::move(on_exited_), then = std::move(done)] {
    if (first) first();
    then();
  };
  if (running) return;
  running_guest_.store(guest_.get(), std::memory_order_relaxed);
  guest_->run_exit_handlers();
}

result<void> interpreter::end_other(interpreter_id target, controls what) {
  if (target == main_interpreter && id_ != main_interpreter) return tl::unexpected<error>(not_by_others());
  env_.control(target, what);
  return {};
}

// Main is the program: its end is the end of all.
error interpreter::not_by_others() const {
  return make_error(errc::invalid_argument,
                    "main is not ended by other interpreters: exit() ends the program, in order");
}

void interpreter::fail_self(const error& why) {
  if (ending_) return;
  if (env_.finalizing()) return log(log_level::error, "it failed while the runtime ends: " + why.message);
  error own = why;
  if (own.interpreter == interpreter_id{}) {
    own.interpreter = id_;
    own.interpreter_name = name_;
  }
  if (id_ == main_interpreter) { // the program ends in order, and main with it: end() makes that a failure
    tell_main_done(&own);
    failure_ = std::move(own);
    return;
  }
  if (start_request_ != no_request) return reply_error(start_request_, own); // whoever started it is told
  log(log_level::error, "it failed: " + own.message + (own.traceback.empty() ? "" : "\n" + own.traceback));
  end(end_kind::failed, std::move(own));
}

// Its partner did not end in order.
void interpreter::fail_with_partner(const outcome& its_end, bool asked_for) {
  if (env_.finalizing()) return; // everybody ends, in an order of its own
  error why = *its_end.failure;
  const bool told_why = its_end.reason != name_of(end_kind::killed) && !why.message.empty();
  why.code = errc::interpreter_gone;
  why.message = fmt::format(
      "interpreter {}, linked to {}, {}{}", number_and_name(its_end.down_id, its_end.name), number_and_name(id_, name_),
      its_end.reason == name_of(end_kind::killed) ? "was killed" : its_end.reason, told_why ? ": " + why.message : "");
  if (id_ != main_interpreter || asked_for) return fail_self(why);
  log(log_level::error, why.message + "; main goes on, as it did not ask for the link");
}

void interpreter::exited() {
  exit_handlers_ran_ = true;
  if (const auto then = std::exchange(on_exited_, nullptr)) then();
}

void interpreter::fail_waiting(errc code) {
  if (guest_ == nullptr) return;
  running_guest_.store(guest_.get(), std::memory_order_relaxed);
  const error why = make_error(code, fmt::format("interpreter {}: the runtime is being finalized", id_text()));
  const outcome o{.what = outcome::kind::failed, .failure = &why};
  for (const guest_word token : calls_.close_all_but(child_token)) guest_->resume(token, o);
  for (const guest_word token : timers_ ? timers_->take_all() : std::vector<guest_word>())
    if (token != expiry_token) guest_->resume(token, o);
  if (expiries_) renew_expiry_timer(); // for calls that were made meanwhile
  for (const guest_word token : desk_ ? desk_->withdraw_all() : std::vector<guest_word>()) guest_->resume(token, o);
  // Connections last: a task whose call failed may still tell its client. Who waits for more to read has reached the end.
  std::vector<std::pair<std::uint64_t, guest_word>> open;
  if (connections_)
    for (const auto& [connection, state] : *connections_) open.emplace_back(connection, state.token);
  for (const auto& [connection, token] : open) {
    close_connection(connection);
    guest_->resume(token, {.what = outcome::kind::closed, .connection = connection});
  }
}

void interpreter::drop_imports() {
  if (std::exchange(imports_dropped_, true)) return;
  if (guest_ != nullptr) guest_->drop_imports();
  if (imports_) imports_->drop_all_uses();
}

std::vector<exported_object> interpreter::exported() {
  std::vector<exported_object> all;
  exports_.for_each([&](const object_id& id, guest_word object, std::uint64_t out) {
    all.push_back({id, name_, guest_ != nullptr ? guest_->describe(object) : "object", out, {}});
  });
  return all;
}

void interpreter::end(end_kind outcome, error failure) {
  if (ending_) return;
  ending_ = true;
  const bool failed_before = outcome == end_kind::exited && !failure_.message.empty();
  outcome_ = failed_before ? end_kind::failed : outcome;
  if (!failed_before) failure_ = std::move(failure);
}

namespace {

/// One step of an end. Where there is no memory for it, it is tried again, and then left out: those behind it are done all
/// the same. So a step does no harm when it is begun twice.
template <class Step>
bool attempt(Step&& step) noexcept {
  for (int tries = 0; tries < 8; ++tries) {
    try {
      step();
      return true;
    } catch (const std::bad_alloc&) {
      // What the step threw away while it unwound is memory for the next try.
    }
  }
  return false;
}

} // namespace

void interpreter::finish() noexcept {
  if (std::exchange(finished_, true)) return;
  attempt([&] { take_back_open(); }); // memory may have run out in the middle of a record
  attempt([&] { set_state(run_state::stopping); });
  attempt([&] { run_last_calls(); }); // 0
  attempt([&] { note_late_kill(); });
  close_guest();              // 1, 2
  if (is_abandoned()) return; // it took too long: its thread comes back to a runtime that has ended
  attempt([&] { note_late_kill(); });
  if (buffers_) buffers_->end();
  heap_.reset();
  // Whoever waits for the exit handlers waits no more.
  attempt([&] {
    if (on_exited_) on_exited_();
    on_exited_ = nullptr;
  });
  answer_all(); // 3
  // 4
  if (desk_) attempt([&] { desk_->close(); });
  if (imports_) attempt([&] { imports_->drop_all_uses(); });
  attempt([&] { flush_protocol(); });
  let_go_of_others(); // 5
  // 6, 7: tombstones stand before the inbox closes, so that a loan return always finds one or the other.
  if (!imports_ || !attempt([&] { env_.where().leave(id_, imports_->take_pinned()); })) env_.where().leave(id_, {});
  flush_all();
  epitaph last_words;
  attempt([&] { last_words = {name_, name_of(outcome_), failure_}; });
  box_->close(std::move(last_words));
  dispose_of_rest();
  flush_all();
  hand_in_report(); // 8
}

// The guest, then its memory.
void interpreter::close_guest() noexcept {
  if (guest_ == nullptr) return;
  running_guest_.store(guest_.get(), std::memory_order_relaxed);
  try {
    if (outcome_ == end_kind::killed || pending_controls().kill)
      guest_->interrupt(errc::killed); // nothing of it runs any more, in close() neither
    guest_->close();
  } catch (const std::bad_alloc&) {
    // What it had left to do is left out: the exception may have come through the guest's own frames.
    if (!is_abandoned()) attempt([&] { guest_->interrupt(errc::killed); });
  }
  running_guest_.store(nullptr, std::memory_order_relaxed);
  if (is_abandoned()) return; // as it stands: its destructor would go on with the guest's
  guest_.reset();
}

void interpreter::answer_all() noexcept {
  for (const request_id request : std::exchange(stop_requests_, {})) {
    const auto to = requests_.find(request);
    if (!to) continue;
    attempt([&] {
      outbox_.open(to->from, record_kind::reply).put_u64(to->call);
      commit_word();
    });
    attempt([&] { (void)requests_.close(request); });
  }
  error why;
  why.code = errc::interpreter_gone;
  attempt([&] { why = gone_error(); });
  while (const auto open = requests_.take_open()) attempt([&] { answer(*open, why); });
}

void interpreter::let_go_of_others() noexcept {
  if (connections_)
    for (const auto& one : *connections_) attempt([&] { env_.where().close_connection(one.first); });
  for (std::size_t left = listeners_ ? listeners_->size() : 0; left > 0; --left)
    if (!attempt([&] { close_listener(listeners_->begin()->first); })) listeners_->erase(listeners_->begin());
  for (const interpreter_id child : children_) attempt([&] { env_.control(child, {.kill = true}); });
  for (const watcher& w : watchers_)
    attempt([&] {
      wire_writer& out = outbox_.open(w.who, record_kind::down);
      out.put_u64(w.token);
      put_end(out);
      commit_word();
    });
  std::vector<interpreter_id> partners;
  if (links_) attempt([&] { partners = links_->take_all(); });
  for (const interpreter_id partner : partners)
    attempt([&] {
      put_end(outbox_.open(partner, record_kind::link_down));
      commit_word();
    });
}

// An envelope for which a receiver's inbox has no memory is disposed of; the others go out.
void interpreter::flush_all() noexcept {
  while (!outbox_.empty()) attempt([&] { outbox_.flush(); });
}

// What came too late.
void interpreter::dispose_of_rest() noexcept {
  channel_desk::drop_ready(*box_);
  attempt([&] {
    for (const interpreter_id waiting : box_->take_crowd()) send_word(waiting, record_kind::room, {}, 0);
  });
  const auto once = [](auto&& step) noexcept {
    try {
      step();
    } catch (const std::bad_alloc&) {
      // The envelope is gone; what it carried, and nobody got, stays away.
    }
  };
  for (envelope_ptr& e : early_) once([&] { dispose(std::move(e), id_, env_.where(), box_->last_words()); });
  if (half_handled_ && first_ != nullptr) {
    const envelope_ptr rest(std::exchange(first_, first_->next));
    once([&] { dispose_rest(current_, rest->from(), id_, env_.where(), box_->last_words()); });
  }
  while (first_ != nullptr)
    once([&] { dispose(envelope_ptr(std::exchange(first_, first_->next)), id_, env_.where(), box_->last_words()); });
  last_ = nullptr;
  for (bool all = false; !all;)
    once([&] {
      dispose_leftovers(*box_, env_.where());
      all = true;
    });
}

void interpreter::hand_in_report() noexcept {
  const pending_calls::figures calls = pending_->count();
  interpreter_report r;
  r.id = id_;
  r.outcome = outcome_;
  r.failure.code = failure_.code;
  attempt([&] { r.name = name_; });
  attempt([&] { r.failure = failure_; });
  r.exported = exports_.added();
  r.released = exports_.released();
  r.messages = messages_in_;
  r.finalizers_run = finalizers_run_;
  r.finalizers_failed = finalizers_failed_;
  r.pending_calls_run = calls.started;
  r.pending_calls_failed = calls.failed;
  r.pending_calls_refused = calls.refused;
  env_.ended(*this, std::move(r));
}

void interpreter::put_end(wire_writer& out) const {
  out.put_u64(number(id_));
  out.put_text(name_);
  out.put_text(name_of(outcome_));
  out.put_error(failure_);
}

// What was to end well, and had to be killed while it did, was killed.
void interpreter::note_late_kill() {
  if (!pending_controls().kill || (outcome_ != end_kind::exited && outcome_ != end_kind::stopped)) return;
  outcome_ = end_kind::killed;
  failure_ = make_error(errc::killed, "it was killed while it closed");
}

void interpreter::run_last_calls() {
  pending_->close();
  try {
    if (outcome_ != end_kind::killed)
      while (!pending_controls().kill && run_call()) drop_due();
  } catch (const std::bad_alloc&) {
    // What is left is refused, as after a kill.
  }
  const std::size_t rest = pending_->refuse_rest();
  if (rest == 0) return;
  log(log_level::error, fmt::format("{} did not run: {}", pending_calls::text(rest), gone_error().message));
}

error interpreter::gone_error() const {
  std::string text = fmt::format("interpreter {} is gone", id_text());
  if (!failure_.message.empty()) text += ": " + failure_.message;
  return make_error(errc::interpreter_gone, std::move(text));
}

void interpreter::handle_stats(wire_reader& in, interpreter_id from) {
  const call_id call = in.get_u64();
  const figures all = stats();
  wire_writer& w = outbox_.open(from, record_kind::reply);
  w.put_u64(call);
  put_figures(w, all);
  commit_word();
}

} // namespace Atoll
