// The life of an interpreter: birth, stop, end. The steps of the end stand in actors/shell/interpreter.hpp.
#include <fmt/format.h>

#include "actors/shell/interpreter.hpp"
#include "channels/disposal.hpp"

namespace Atoll {

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

interpreter::interpreter(environment& env, const interpreter_config& config, interpreter_id id, interpreter_id parent,
                         const spawn_options& options, guest_factory make_guest)
    : env_(env),
      config_(config),
      id_(id),
      parent_(parent),
      name_(options.name),
      make_guest_(std::move(make_guest)),
      box_(new inbox(id, config.high_water)),
      heap_(std::make_unique<heap>(options.memory, id)),
      exports_(id, config.credit),
      imports_(id, config.credit),
      outbox_(id, env.where()),
      pending_(std::make_shared<pending_calls>(box_, config.pending_calls)) {
  imports_.send_early_at(
      config.protocol_words, [](void* self) { static_cast<interpreter*>(self)->flush_early(); }, this);
}

interpreter::~interpreter() {
  while (first_ != nullptr) envelope_ptr(std::exchange(first_, first_->next)).reset();
}

void interpreter::set_state(run_state state) {
  state_ = state;
  env_.where().set_state(id_, state);
}

void interpreter::started() {
  start_request_ = no_request; // request numbers are used again
  if (state_ == run_state::starting) set_state(run_state::running);
}

void interpreter::start_failed(const error& why) {
  if (env_.finalizing()) return; // what finalization cut short did not fail; teardown ends it
  end(end_kind::failed, why);
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
  const std::uint64_t milliseconds = in.get_u64();
  if (call != 0) stop_requests_.push_back(requests_.open(from, call));
  if (milliseconds > 0) {
    const time_point until =
        std::min(stop_deadline_.load(std::memory_order_relaxed), env_.now() + std::chrono::milliseconds(milliseconds));
    stop_deadline_.store(until, std::memory_order_relaxed);
    env_.wake_at(*this, until); // whatever else is scheduled: this turn may be one that never ends
  }
  if (state_ != run_state::stopping) begin_stopping();
}

void interpreter::begin_stopping() {
  set_state(run_state::stopping);
  for (const interpreter_id child : children_) {
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
  for (const guest_word token : timers_.take_all()) guest_->resume(token, o);
  // Connections last: a task whose call failed may still tell its client. Who waits for more to read has reached the end.
  std::vector<std::pair<std::uint64_t, guest_word>> open;
  for (const auto& [connection, state] : connections_) open.emplace_back(connection, state.token);
  for (const auto& [connection, token] : open) {
    close_connection(connection);
    guest_->resume(token, {.what = outcome::kind::closed, .connection = connection});
  }
}

void interpreter::drop_imports() {
  if (std::exchange(imports_dropped_, true)) return;
  if (guest_ != nullptr) guest_->drop_imports();
  imports_.drop_all_uses();
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
  outcome_ = outcome;
  failure_ = std::move(failure);
}

void interpreter::finish() {
  if (std::exchange(finished_, true)) return;
  set_state(run_state::stopping);
  run_last_calls(); // 0
  note_late_kill();
  // 1, 2: the guest, then its memory.
  if (guest_ != nullptr) {
    running_guest_.store(guest_.get(), std::memory_order_relaxed);
    if (outcome_ == end_kind::killed)
      guest_->interrupt(errc::killed); // nothing of it runs any more, in close() neither
    guest_->close();
    running_guest_.store(nullptr, std::memory_order_relaxed);
    guest_.reset();
  }
  note_late_kill();
  heap_.reset();
  if (const auto then = std::exchange(on_exited_, nullptr)) then(); // whoever waits for the exit handlers waits no more
  // 3
  for (const request_id request : stop_requests_) {
    if (const auto to = requests_.close(request)) {
      outbox_.open(to->from, record_kind::reply).put_u64(to->call);
      commit_word();
    }
  }
  for (const request_table::request& open : requests_.close_all()) answer(open, gone_error());
  // 4
  imports_.drop_all_uses();
  flush_protocol();
  // 5
  for (const auto& [connection, state] : connections_) env_.where().close_connection(connection);
  while (!listeners_.empty()) close_listener(listeners_.begin()->first);
  for (const interpreter_id child : children_) env_.control(child, {.kill = true});
  for (const watcher& w : watchers_) {
    wire_writer& out = outbox_.open(w.who, record_kind::down);
    out.put_u64(w.token);
    out.put_u64(number(id_));
    out.put_text(name_);
    out.put_text(name_of(outcome_));
    out.put_error(failure_);
    commit_word();
  }
  // 6, 7: tombstones stand before the inbox closes, so that a loan return always finds one or the other.
  env_.where().leave(id_, imports_.take_pinned());
  outbox_.flush();
  box_->close({name_, name_of(outcome_), failure_});
  for (const interpreter_id waiting : box_->take_crowd()) send_word(waiting, record_kind::room, {}, 0);
  for (envelope_ptr& e : early_) dispose(std::move(e), id_, env_.where(), box_->last_words());
  if (half_handled_ && first_ != nullptr) {
    envelope_ptr rest(std::exchange(first_, first_->next));
    dispose_rest(current_, rest->from(), id_, env_.where(), box_->last_words());
  }
  while (first_ != nullptr)
    dispose(envelope_ptr(std::exchange(first_, first_->next)), id_, env_.where(), box_->last_words());
  last_ = nullptr;
  dispose_leftovers(*box_, env_.where());
  outbox_.flush();
  // 8
  const pending_calls::figures calls = pending_->count();
  env_.ended(*this, {id_, name_, outcome_, failure_, exports_.added(), exports_.released(), messages_in_,
                     finalizers_run_, finalizers_failed_, calls.started, calls.failed, calls.refused});
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
