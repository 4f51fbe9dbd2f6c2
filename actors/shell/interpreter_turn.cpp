// The turn of an interpreter: taking envelopes, handling records, sending what waits. Steps: actors/shell/interpreter.hpp.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "actors/shell/interpreter.hpp"
#include "channels/disposal.hpp"
#include "channels/protocol.hpp"
#include "runtime/turn_clock.hpp"

namespace Atoll {

namespace {

constexpr std::uint8_t yield_bit = 1;
constexpr std::uint8_t interrupt_bit = 2;
constexpr std::uint8_t kill_bit = 4;
constexpr std::uint8_t abandoned_bit = 8;
constexpr std::uint8_t where_bit = 16;

} // namespace

void interpreter::set_controls(controls c) noexcept {
  const int bits = (c.yield ? yield_bit : 0) | (c.interrupt ? interrupt_bit : 0) | (c.kill ? kill_bit : 0)
                   | (c.abandoned ? abandoned_bit : 0) | (c.where ? where_bit : 0);
  controls_.fetch_or(static_cast<std::uint8_t>(bits), std::memory_order_relaxed);
}

controls interpreter::pending_controls() const noexcept {
  const std::uint8_t bits = controls_.load(std::memory_order_relaxed);
  return {(bits & yield_bit) != 0, (bits & interrupt_bit) != 0, (bits & kill_bit) != 0, (bits & where_bit) != 0,
          (bits & abandoned_bit) != 0};
}

void interpreter::came_back(std::string_view where) {
  controls_.fetch_and(static_cast<std::uint8_t>(~where_bit), std::memory_order_relaxed);
  log(log_level::info, fmt::format("what could not be preempted has returned, to {}", where));
}

interpreter::turn_result interpreter::turn() {
  if (finished_ || is_abandoned()) return turn_result::done;
  const heap_turn mine(id_);
  box_->turn().begin();
  std::uint64_t start = turn_ticks();
  turns_.store(turns_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (const controls c = pending_controls(); c.yield || c.where)
    controls_.fetch_and(static_cast<std::uint8_t>(~(yield_bit | where_bit)), std::memory_order_relaxed);
  env_.turn_begins(*this);
  try {
    for (;;) {
      const bool more = work();
      if (ending_ && !is_abandoned()) finish();
      const std::uint64_t stop = turn_ticks();
      turn_ticks_ += stop - std::exchange(start, stop);
      share_figures();
      env_.turn_ends();
      if (finished_ || is_abandoned()) return turn_result::done;
      if (more) return turn_result::again;
      if (box_->turn().end()) return turn_result::idle; // from here on another worker may run the next turn
      if (pending_controls().yield) return turn_result::again;
      env_.turn_begins(*this);
    }
  } catch (const std::bad_alloc&) {
    end_for_memory();
    if (!is_abandoned()) finish();
    env_.turn_ends();
    return turn_result::done;
  }
}

void interpreter::end_for_memory() noexcept {
  error why;
  why.code = errc::out_of_memory;
  try {
    why = make_error(errc::out_of_memory, fmt::format("interpreter {}: no memory for its messages", id_text()));
  } catch (const std::bad_alloc&) {
    // Then the code says it alone.
  }
  end(end_kind::failed, std::move(why));
  // The exception may have come through the guest's own frames: nothing of it runs any more.
  set_controls({.kill = true});
}

bool interpreter::work() {
  look_at_controls();
  const bool noted = note_calls();
  take_envelopes();
  if (noted) calls_behind_ = last_;
  if (buffers_ && buffers_->has_news()) buffers_->settle();
  bool more = !ending_ && handle_envelopes();
  if (pending_controls().abandoned) return false; // its thread came back too late: nothing here is to be touched
  if (!ending_ && desk_ && desk_->has_ready()) more = resume_ready() || more;
  if (!ending_ && wake_set_ != time_point{}) more = fire_timers() || more;
  if (!ending_ && guest_ != nullptr && !pending_controls().kill) {
    running_guest_.store(guest_.get(), std::memory_order_relaxed);
    more = guest_->run_ready() || more;
  }
  if (pending_controls().abandoned) return false;
  drop_due();
  env_.turn_flushes();
  flush();
  running_guest_.store(nullptr, std::memory_order_relaxed);
  if (id_ == main_interpreter && state_ == run_state::running && !ending_ && !guest_->waiting())
    tell_main_done(nullptr);
  return more && !ending_;
}

void interpreter::look_at_controls() {
  const controls c = pending_controls();
  if (c.kill) {
    end(end_kind::killed, make_error(errc::killed, "it was killed"));
  } else if (c.interrupt) {
    controls_.fetch_and(static_cast<std::uint8_t>(~interrupt_bit), std::memory_order_relaxed);
    if (guest_ != nullptr) guest_->interrupt(errc::interrupted);
  }
}

void interpreter::take_envelopes() {
  while (envelope_ptr taken = box_->take()) {
    envelope* e = taken.release();
    e->next = nullptr;
    if (last_ != nullptr) {
      last_->next = e;
    } else {
      first_ = e;
    }
    last_ = e;
  }
}

// Before the envelopes are taken: what was sent before one of these calls was accepted is then among them.
bool interpreter::note_calls() noexcept {
  if (calls_due_ > 0) return false;
  calls_due_ = pending_->waiting();
  return calls_due_ > 0;
}

bool interpreter::handle_envelopes() {
  std::size_t budget = config_->turn_messages;
  if (calls_behind_ == nullptr && run_calls()) return true;
  while (first_ != nullptr && !ending_) {
    if (!half_handled_) current_ = first_->reader();
    half_handled_ = true;
    const interpreter_id from = first_->from();
    while (!current_.at_end()) {
      // A kill that came in the middle of guest code which nothing stops: what is left is not delivered any more.
      if (const controls c = pending_controls(); budget == 0 || c.yield || c.kill) return true;
      --budget;
      record r = next_record(current_);
      handle(r, from);
      drop_due();
      if (ending_) return false;
    }
    envelope_ptr done(first_);
    first_ = first_->next;
    if (first_ == nullptr) last_ = nullptr;
    half_handled_ = false;
    for (interpreter_id waiting : box_->handled(done->count())) send_word(waiting, record_kind::room, {}, 0);
    if (done.get() == calls_behind_) {
      calls_behind_ = nullptr;
      if (run_calls()) return true;
    }
  }
  return false;
}

// Those that are due. True: the turn shall end before the last of them.
bool interpreter::run_calls() {
  while (calls_due_ > 0 && !ending_) {
    if (const controls c = pending_controls(); c.yield || c.kill) return true;
    --calls_due_;
    if (!run_call()) calls_due_ = 0;
    drop_due();
  }
  return false;
}

bool interpreter::run_call() {
  std::optional<pending_function> call = pending_->next();
  if (!call) return false;
  try {
    (*call)(*this);
  } catch (const std::exception& e) {
    pending_->failed();
    log(log_level::error, fmt::format("a pending call failed: {}", e.what()));
  } catch (...) {
    pending_->failed();
    log(log_level::error, "a pending call failed with an exception that is no std::exception");
  }
  take_back_open();
  return true;
}

// Code of others that throws between open_message() and commit() leaves a record half written: the next one would be
// written into it.
void interpreter::take_back_open() {
  replying_ = no_request;
  if (outbox_.is_open()) rollback();
}

void interpreter::handle(record& r, interpreter_id from) {
  wire_reader& in = r.body;
  switch (r.kind) {
  case record_kind::send:
  case record_kind::call:
  case record_kind::eval:
  case record_kind::invoke:
    if (state_ == run_state::starting && guest_ == nullptr && !imports_dropped_) return put_off(r, from);
    if (r.kind == record_kind::invoke) return handle_invoke(in, from);
    handle_guest_message(r, from);
    break;
  case record_kind::reply:
  case record_kind::reply_error: handle_reply(r); break;
  case record_kind::start: handle_start(in, from); break;
  case record_kind::decref: handle_decref(in); break;
  case record_kind::credit_request: grant(in.get_object_id(), from); break;
  case record_kind::credit_grant: {
    const object_id id = in.get_object_id();
    imports().on_grant(id, in.get_u32());
    break;
  }
  case record_kind::loan_return: {
    const object_id id = in.get_object_id();
    imports().on_loan_return(id, in.get_u32());
    break;
  }
  case record_kind::stop: handle_stop(in, from); break;
  case record_kind::stats: handle_stats(in, from); break;
  case record_kind::monitor: watchers_.push_back({from, in.get_u64()}); break;
  case record_kind::demonitor: {
    const std::uint64_t token = in.get_u64();
    std::erase_if(watchers_, [&](const watcher& w) { return w.who == from && w.token == token; });
    break;
  }
  case record_kind::down: handle_down(in); break;
  case record_kind::link: links().asked(from, in.get_u64()); break;
  case record_kind::unlink: handle_unlink(in, from); break;
  case record_kind::link_down: handle_link_down(in); break;
  case record_kind::room: room(from); break;
  case record_kind::job: run_job(in); break;
  case record_kind::net_accepted:
  case record_kind::net_data:
  case record_kind::net_closed:
  case record_kind::net_drained: handle_net(r); break;
  default: log(log_level::error, fmt::format("a message of an unknown kind from interpreter {}", number(from))); break;
  }
}

void interpreter::put_off(record& r, interpreter_id from) {
  envelope_writer w(from);
  const std::size_t start = open_record(w, r.kind);
  w.put_bytes(r.body.get_bytes(r.body.left()));
  if (w.failed()) throw std::bad_alloc();
  close_record(w, start);
  early_.push_back(w.take()); // count 0: the inbox counts the message as handled with the envelope it came in
}

void interpreter::take_early() {
  // Behind the envelope that brought the start, ahead of what came later from the same senders.
  envelope* at = first_;
  for (envelope_ptr& e : early_) {
    envelope* const early = e.release();
    early->next = at->next;
    at->next = early;
    if (last_ == at) last_ = early;
    if (calls_behind_ == at) calls_behind_ = early;
    at = early;
  }
  early_.clear();
}

void interpreter::handle_start(wire_reader& in, interpreter_id from) {
  start_request_ = requests_.open(from, in.get_u64());
  source where;
  where.kind = static_cast<source_kind>(in.get_u8());
  where.text = in.get_text();
  where.chunk = in.get_text();
  guest_ = make_guest_(*this);
  if (guest_ == nullptr) {
    give_back(in);
    return reply_error(start_request_,
                       make_error(errc::out_of_memory, fmt::format("no memory to start interpreter {} (limit {} bytes)",
                                                                   id_text(), heap_->limit())));
  }
  running_guest_.store(guest_.get(), std::memory_order_relaxed);
  guest_->start(start_request_, where, in);
  take_early();
}

void interpreter::handle_guest_message(record& r, interpreter_id from) {
  if (guest_ == nullptr || imports_dropped_) return refuse(r, from, gone_error());
  ++messages_in_;
  incoming m;
  m.kind = r.kind;
  m.from = from;
  if (r.kind != record_kind::send) {
    const call_id call = r.body.get_u64();
    m.request = requests_.open(from, call);
    m.depth = depth_of(call);
  }
  m.name = r.body.get_text();
  m.args = r.body;
  running_guest_.store(guest_.get(), std::memory_order_relaxed);
  guest_->deliver(m);
}

void interpreter::handle_invoke(wire_reader& in, interpreter_id from) {
  record whole{record_kind::invoke, in};
  if (guest_ == nullptr || imports_dropped_) return refuse(whole, from, gone_error());
  ++messages_in_;
  incoming m;
  m.kind = record_kind::invoke;
  m.from = from;
  const call_id call = in.get_u64();
  m.op = static_cast<invoke_op>(in.get_u8());
  const wire_ref target = in.get_reference();
  m.name = in.get_text();
  m.args = in;
  if (call != 0) m.request = requests_.open(from, call);
  m.depth = depth_of(call);
  // The credit comes home before the call; the object stays until drop_due(), and the guest holds it by then.
  const auto object = receive_reference(target);
  if (!object || !object->own) {
    give_back(m.args);
    return reply_error(m.request, make_error(errc::reference_released,
                                             fmt::format("interpreter {} has no such object any more", id_text())));
  }
  m.target = object->object;
  running_guest_.store(guest_.get(), std::memory_order_relaxed);
  guest_->deliver(m);
}

/// What a message carries that must not be lost.
struct interpreter::cargo final : record_visitor {
  void on_reference(const wire_ref& ref) override { references.push_back(ref); }
  void on_connection(std::uint64_t connection) override { connections.push_back(connection); }
  void on_channel(channel_number channel) override { channels.push_back(channel); }
  void on_buffer(const wire_slice& s) override { buffers.push_back(s); }
  void on_call(call_id c) override { call = c; }
  std::vector<wire_ref> references;
  std::vector<std::uint64_t> connections;
  std::vector<channel_number> channels;
  std::vector<wire_slice> buffers;
  call_id call = 0;
};

void interpreter::refuse(record& r, interpreter_id from, const error& why) {
  cargo carried;
  walk_record(r, carried);
  put_down(carried);
  env_.where().count_dead_letter();
  if (carried.call != 0) answer({from, carried.call}, why);
}

void interpreter::give_back(wire_reader values) {
  cargo carried;
  walk_values(values, carried);
  put_down(carried);
}

void interpreter::put_down(const cargo& carried) {
  for (const wire_ref& ref : carried.references)
    if (const auto got = receive_reference(ref); got && !got->own) imports_->drop_use(got->import);
  for (const std::uint64_t c : carried.connections) close_connection(c);
  for (const channel_number c : carried.channels) env_.where().channels()->drop_held(c);
  for (const wire_slice& s : carried.buffers) env_.where().buffers()->give_back(s);
}

void interpreter::handle_reply(record& r) {
  const auto token = calls_.close(r.body.get_u64());
  if (token == child_token) return child_stopped();
  if (!token || guest_ == nullptr) {
    if (r.kind == record_kind::reply) give_back(r.body); // nobody waits any more
    return;
  }
  outcome o;
  error failure;
  if (r.kind == record_kind::reply && imports_dropped_) {
    give_back(r.body); // what it brings could not be let go of any more
    failure =
        make_error(errc::runtime_finalizing, fmt::format("interpreter {}: the runtime is being finalized", id_text()));
    o.what = outcome::kind::failed;
    o.failure = &failure;
  } else if (r.kind == record_kind::reply) {
    o.what = outcome::kind::values;
    o.values = r.body;
  } else {
    failure = r.body.get_error();
    o.what = outcome::kind::failed;
    o.failure = &failure;
  }
  running_guest_.store(guest_.get(), std::memory_order_relaxed);
  guest_->resume(*token, o);
}

void interpreter::grant(const object_id& id, interpreter_id holder) {
  const std::uint32_t credit = exports_.grant(id);
  wire_writer& w = outbox_.open(holder, record_kind::credit_grant);
  put_object_id(w, id);
  w.put_u32(credit);
  if (!commit_word()) exports_.take_back(id, credit); // the holder is gone: nobody else would send it home
}

void interpreter::handle_decref(wire_reader& in) {
  releases_in_ += exports_.take_back(in, [this] { drop_due(); });
}

namespace {

/// What put_end() wrote.
outcome get_end(wire_reader& in, error& failure) {
  outcome o;
  o.what = outcome::kind::down;
  o.down_id = interpreter_id{in.get_u64()};
  o.name = in.get_text();
  o.reason = in.get_text();
  failure = in.get_error();
  o.failure = &failure;
  return o;
}

} // namespace

void interpreter::handle_down(wire_reader& in) {
  const guest_word token = in.get_u64();
  error failure;
  const outcome o = get_end(in, failure);
  if (monitors_ && monitors_->erase(token) > 0 && guest_ != nullptr) guest_->resume(token, o);
}

void interpreter::handle_unlink(wire_reader& in, interpreter_id from) {
  const interpreter_id by{in.get_u64()};
  const auto was = links().was_cut(from, {by, in.get_u64()});
  if (!was || was->token == 0 || guest_ == nullptr) return;
  const error none;
  guest_->resume(was->token, {.what = outcome::kind::down, .failure = &none, .down_id = from, .reason = "unlinked"});
}

void interpreter::handle_link_down(wire_reader& in) {
  error failure;
  const outcome o = get_end(in, failure);
  const auto was = links().ended(o.down_id);
  if (!was) return;
  if (was->token != 0) {
    if (guest_ == nullptr) return;
    running_guest_.store(guest_.get(), std::memory_order_relaxed);
    return guest_->resume(was->token, o);
  }
  if (!ended_in_order(o.reason)) fail_with_partner(o, was->own);
}

void interpreter::room(interpreter_id from) {
  if (!rooms_ || guest_ == nullptr) return;
  const auto it = rooms_->find(from);
  if (it == rooms_->end()) return;
  const std::vector<guest_word> tokens = std::move(it->second);
  rooms_->erase(it);
  for (const guest_word token : tokens) guest_->resume(token, {.what = outcome::kind::room});
}

void interpreter::run_job(wire_reader& in) {
  const std::unique_ptr<job> work(reinterpret_cast<job*>(in.get_u64()));
  try {
    work->run(*this);
  } catch (const std::exception& e) {
    log(log_level::error, fmt::format("a job failed: {}", e.what()));
  } catch (...) {
    log(log_level::error, "a job failed with an exception that is no std::exception");
  }
  take_back_open();
}

// What waited on channels. A turn that was asked to end leaves the rest to the next.
bool interpreter::resume_ready() {
  return desk_->take_ready([this] { return !ending_ && !pending_controls().yield && !pending_controls().kill; },
                           [this](guest_word token) {
                             if (guest_ == nullptr) return;
                             running_guest_.store(guest_.get(), std::memory_order_relaxed);
                             guest_->resume(token, {.what = outcome::kind::channel});
                             drop_due();
                           });
}

bool interpreter::fire_timers() {
  const time_point now = env_.now();
  if (wake_set_ <= now) wake_set_ = {};
  if (stop_deadline_.load(std::memory_order_relaxed) <= now) set_controls({.kill = true});
  // A timer set meanwhile that is due already waits for another turn.
  for (std::size_t left = timers_ ? timers_->size() : 0; left > 0 && !ending_ && !pending_controls().kill; --left) {
    const auto token = timers_->take_due(now);
    if (!token) break;
    set_unset_wake(timers_->empty() ? time_point::max() : timers_->earliest());
    if (guest_ == nullptr) continue;
    if (*token == expiry_token) {
      expire_calls();
      continue;
    }
    running_guest_.store(guest_.get(), std::memory_order_relaxed);
    guest_->resume(*token, {.what = outcome::kind::timer});
    drop_due();
  }
  return pending_controls().kill;
}

// All calls have the same limit, so the oldest is the first whose time is up.
void interpreter::expire_later(call_id call) {
  const time_point when = env_.now() + bounds().call_time;
  expiry_queue& q = expiries_.need();
  while (!q.calls.empty() && !calls_.is_open(q.calls.front().call)) q.calls.pop_front(); // its timer stays
  if (q.calls.empty() && !q.timer) set_timer(when, expiry_token);
  q.timer = true;
  q.calls.push_back({when, call});
}

void interpreter::expire_calls() {
  const error why =
      make_error(errc::timeout, fmt::format("no answer within {} s, which is the limit for calls of "
                                            "interpreter {}",
                                            std::chrono::duration<double>(bounds().call_time).count(), id_text()));
  std::deque<expiry>& calls = expiries_->calls;
  while (!calls.empty() && calls.front().when <= env_.now() && !ending_) {
    const auto token = calls_.close(calls.front().call);
    calls.pop_front();
    if (!token) continue; // answered
    running_guest_.store(guest_.get(), std::memory_order_relaxed);
    guest_->resume(*token, {.what = outcome::kind::failed, .failure = &why});
    drop_due();
  }
  renew_expiry_timer();
}

void interpreter::renew_expiry_timer() {
  expiry_queue& q = *expiries_;
  q.timer = !q.calls.empty();
  if (q.timer) set_timer(q.calls.front().when, expiry_token);
}

void interpreter::schedule_wake() {
  if (ending_) return; // finish() is next; the clock would keep what is left of the interpreter until then
  set_unset_wake(time_point::max()); // the clock gives a turn for what there is by now
  time_point next = stop_deadline_.load(std::memory_order_relaxed);
  if (timers_ && !timers_->empty()) next = std::min(next, timers_->earliest());
  if (next == time_point::max()) return;
  if (wake_set_ != time_point{} && wake_set_ <= next) return;
  wake_set_ = next;
  env_.wake_at(*this, next);
}

void interpreter::drop_due() {
  while (const auto object = exports_.take_due())
    if (guest_ != nullptr) guest_->drop(*object);
  if (imports_ && imports_->queued() >= config_->protocol_words) flush_protocol();
}

void interpreter::flush() {
  if (words_wait()) flush_protocol();
  schedule_wake();
  if (!outbox_.empty()) {
    outbox_.flush();
    if (std::exchange(start_answered_, false)) outbox_.forget();
  }
  if (desk_ && desk_->has_woken()) desk_->flush();
}

void interpreter::send_word(interpreter_id to, record_kind kind, const object_id& id, std::uint32_t count) {
  wire_writer& w = outbox_.open(to, kind);
  if (kind != record_kind::room) put_object_id(w, id);
  if (kind != record_kind::room && kind != record_kind::credit_request) w.put_u32(count);
  commit_word();
}

bool interpreter::commit_word() { return Atoll::commit_word(outbox_); }

void interpreter::flush_protocol() {
  if (imports_) send_protocol(*imports_, outbox_, env_.where());
}

// In the middle of guest code: a turn that lets go of a million objects keeps their owner busy meanwhile.
void interpreter::flush_early() noexcept {
  if (outbox_.is_open()) return; // a finalizer, while a message is written
  try {
    flush_protocol();
    outbox_.flush();
  } catch (const std::bad_alloc&) {
    end_for_memory();
  }
}

} // namespace Atoll
