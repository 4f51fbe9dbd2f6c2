// What an interpreter does for its guest: messages, references, births, figures (runtime/host.hpp).
#include <fmt/format.h>

#include "actors/shell/interpreter.hpp"
#include "channels/disposal.hpp"
#include "runtime/turn_clock.hpp"

namespace Atoll {

namespace {

/// Tells an interpreter in its next turn that a receiver has room.
class room_now final : public job {
public:
  explicit room_now(interpreter_id receiver) : receiver_(receiver) {}
  void run(host& owner) override { static_cast<interpreter&>(owner).room(receiver_); }
  void abandon(const error&) noexcept override {}

private:
  interpreter_id receiver_;
};

} // namespace

send_status interpreter::commit() {
  const request_id request = std::exchange(replying_, no_request);
  send_status sent = outbox_.commit();
  if (request == no_request || sent == send_status::no_memory) return sent;
  if (sent == send_status::gone) {
    rollback(); // nobody waits for the answer: what it carries stays here
    sent = send_status::sent;
  }
  requests_.close(request);
  if (request == start_request_) started();
  return sent;
}

/// Returns to the tables what was taken from them.
class interpreter::putter final : public record_visitor {
public:
  explicit putter(interpreter& self) : self_(self) {}
  void on_reference(const wire_ref& ref) override {
    if (ref.id.owner == self_.id_) {
      self_.exports_.take_back(ref.id, ref.credit);
    } else {
      self_.imports().put_back(ref);
    }
  }
  void on_channel(channel_number channel) override { self_.env_.where().channels()->drop_held(channel); }
  void on_buffer(const wire_slice& s) override { self_.env_.where().buffers()->give_back(s); }
  void on_call(call_id call) override { self_.calls_.close(call); }

private:
  interpreter& self_;
};

void interpreter::rollback() {
  replying_ = no_request;
  putter all(*this);
  outbox_.rollback(all);
}

void interpreter::put_back(wire_reader values) {
  putter all(*this);
  walk_values(values, all);
}

void interpreter::await_room(interpreter_id receiver, guest_word token) {
  const inbox_ptr to = outbox_.receiver(receiver);
  outbox_.flush(); // what is written counts, and the receiver must get it to make room
  rooms_.need()[receiver].push_back(token);
  if (to == nullptr || to->await_room(id_)) {
    // Room already: tell the guest from the next turn, as if the receiver had.
    post_job(std::make_unique<room_now>(receiver));
  }
}

wire_writer& interpreter::open_reply(request_id request) {
  const auto to = requests_.find(request);
  replying_ = request;
  wire_writer& w = outbox_.open(to ? to->from : host_interpreter, record_kind::reply);
  w.put_u64(to ? to->call : 0);
  return w;
}

void interpreter::reply_error(request_id request, const error& why) {
  replying_ = no_request;
  if (request == start_request_ && request != no_request) start_failed(why);
  if (const auto to = requests_.close(request)) answer(*to, why);
}

void interpreter::answer(const request_table::request& to, const error& why) {
  wire_writer& w = outbox_.open(to.from, record_kind::reply_error);
  w.put_u64(to.call);
  w.put_error(why);
  commit_word();
}

std::optional<host::received> interpreter::receive_reference(const wire_ref& ref) {
  if (ref.id.owner != id_) return received{false, 0, imports().receive(ref)};
  const auto object = exports_.find(ref.id);
  if (ref.credit > 0) {
    exports_.take_back(ref.id, ref.credit);
  } else {
    return_loan(ref.lender, ref.id, 1, outbox_, env_.where());
  }
  if (!object) return std::nullopt;
  return received{true, *object, import_table::none};
}

result<interpreter_id> interpreter::spawn(const spawn_options& options, const source& from,
                                          const std::function<bool(wire_writer&)>& write_args, guest_word token) {
  if (state_ == run_state::stopping)
    return fail(errc::runtime_finalizing, fmt::format("interpreter {} is stopping: it cannot spawn", id_text()));
  auto child = env_.create(options, id_);
  if (!child) return child;
  wire_writer& w = outbox_.open(*child, record_kind::start);
  w.put_u64(calls_.open(token));
  w.put_u8(static_cast<std::uint8_t>(from.kind));
  w.put_text(from.text);
  w.put_text(from.chunk);
  const bool written = !write_args || write_args(w);
  const send_status sent = written ? outbox_.commit() : send_status::gone;
  if (sent > send_status::crowded) {
    rollback();
    env_.control(*child, {.kill = true});
    if (!written) return fail(errc::not_shareable, "an argument of spawn cannot cross");
    return fail(errc::out_of_memory, "no memory for the arguments of spawn");
  }
  if (children_.size() >= children_kept_) forget_dead_children();
  children_.push_back(*child);
  return child;
}

void interpreter::forget_dead_children() {
  std::erase_if(children_, [this](interpreter_id child) { return env_.where().find(child) == nullptr; });
  children_kept_ = std::max(children_kept_min, children_.size() * 2);
}

result<guest_word> interpreter::link(interpreter_id target, guest_word token) {
  if (target == id_) return fail(errc::invalid_argument, "an interpreter is not linked to itself");
  if (target == host_interpreter || target == net_interpreter)
    return fail(errc::invalid_argument, "only interpreters can be linked");
  guest_word before = 0;
  const auto number = links().ask(target, token, before);
  if (!number) return before;
  outbox_.open(target, record_kind::link).put_u64(*number);
  const send_status sent = outbox_.commit();
  if (sent <= send_status::crowded) return before;
  rollback();
  (void)links().cut(target);
  if (sent == send_status::no_memory) return fail(errc::out_of_memory, "no memory for the link");
  return fail(errc::interpreter_gone, fmt::format("interpreter {} is gone", Atoll::number(target)));
}

std::optional<guest_word> interpreter::unlink(interpreter_id target) {
  const auto was = links().cut(target);
  if (!was) return std::nullopt;
  for (const link_table::asking& a : was->askings) {
    wire_writer& w = outbox_.open(target, record_kind::unlink);
    w.put_u64(Atoll::number(a.by));
    w.put_u64(a.number);
    commit_word();
  }
  return was->token;
}

void interpreter::monitor(interpreter_id target, guest_word token) {
  monitors_.need().emplace(token, target);
  wire_writer& w = outbox_.open(target, record_kind::monitor);
  w.put_u64(token);
  if (outbox_.commit() <= send_status::crowded) return;
  rollback();
  wire_writer& own = outbox_.open(id_, record_kind::down);
  own.put_u64(token);
  own.put_u64(number(target));
  own.put_text("");
  own.put_text("gone");
  own.put_error(make_error(errc::interpreter_gone, fmt::format("interpreter {} is gone", number(target))));
  commit_word();
}

void interpreter::demonitor(interpreter_id target, guest_word token) {
  if (!monitors_ || monitors_->erase(token) == 0) return;
  outbox_.open(target, record_kind::demonitor).put_u64(token);
  commit_word();
}

import_table& interpreter::imports() {
  if (!imports_)
    imports_.need(id_, config_->credit)
        .send_early_at(
            config_->protocol_words, [](void* self) { static_cast<interpreter*>(self)->flush_early(); }, this);
  return *imports_;
}

buffer_account& interpreter::buffers() {
  if (buffers_) return *buffers_;
  return buffers_.need(env_.where().buffers(), id_, name_, &*heap_, box_);
}

channel_desk& interpreter::channels() {
  if (desk_) return *desk_;
  return desk_.need(id_, box_, env_.where().channels());
}

interpreter_info interpreter::describe() const { return {id_, name_, parent_, state_}; }

void interpreter::count_finalizer(const error* failure) {
  ++finalizers_run_;
  if (failure != nullptr) ++finalizers_failed_;
}

namespace {

constexpr std::array figure_names = {"heap_bytes",   "heap_limit",  "exports", "imports", "inbox",      "messages_in",
                                     "messages_out", "releases_in", "tasks",   "turns",   "cpu_seconds"};

template <class Values>
host::figures named(const Values& values) {
  host::figures all;
  for (std::size_t i = 0; i < figure_names.size(); ++i)
    all.emplace_back(figure_names[i], static_cast<double>(values[i]));
  all.back().second *= seconds_per_tick(); // the last one is counted in ticks
  return all;
}

} // namespace

std::array<std::uint64_t, interpreter::figure_count> interpreter::count() const {
  return {heap_ ? heap_->bytes_in_use() : 0,
          heap_ ? heap_->limit() : 0,
          exports_.live(),
          imports_ ? imports_->size() : 0,
          box_->backlog(),
          messages_in_,
          outbox_.messages(),
          releases_in_,
          guest_ ? guest_->tasks() : 0,
          turns(),
          turn_ticks_};
}

void interpreter::share_figures() noexcept {
  const auto now = count();
  for (std::size_t i = 0; i < now.size(); ++i) shared_figures_[i].store(now[i], std::memory_order_relaxed);
  const bool limited = stop_deadline_.load(std::memory_order_relaxed) != time_point::max();
  waits_for_clock_.store(limited || (timers_ && !timers_->empty()), std::memory_order_relaxed);
}

host::figures interpreter::stats() const { return named(count()); }

host::figures interpreter::shared_stats() const {
  std::array<std::uint64_t, figure_count> values{};
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = shared_figures_[i].load(std::memory_order_relaxed);
  return named(values);
}

error interpreter::make_error(errc code, std::string message) const {
  return {code, std::move(message), {}, id_, name_, {}};
}

} // namespace Atoll
