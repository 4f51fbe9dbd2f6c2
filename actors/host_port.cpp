#include "actors/host_port.hpp"

#include <fmt/format.h>

#include "actors/hosted_channel.hpp"
#include "actors/interpreter_actor.hpp"
#include "channels/disposal.hpp"
#include "channels/protocol.hpp"
#include "channels/thread_wait.hpp"
#include "runtime/references.hpp"

namespace Atoll {

error finalized() { return {errc::runtime_finalized, "the runtime has been finalized", {}, {}, {}, {}}; }

namespace {

error gone(interpreter_id who) {
  return {errc::interpreter_gone, fmt::format("interpreter {} is gone", number(who)), {}, who, {}, {}};
}

std::shared_ptr<answer> given(call_results results) {
  auto a = std::make_shared<answer>();
  a->give(std::move(results));
  return a;
}

} // namespace

// -- references --------------------------------------------------------------------------------------------------------

imported::~imported() { port_->drop(at_); }

bool imported::same_object(const reference_holder& other) const noexcept {
  const auto* o = dynamic_cast<const imported*>(&other);
  return o != nullptr && o->port_ == port_ && o->id_ == id_;
}

std::string imported::describe() const { return fmt::format("reference to {} {} of {}", type_, id_.slot, *owner_); }

void call_job::abandon(const error& why) noexcept {
  if (port_) port_->give_up(call_, target_, why);
}

/// References of this port alone cross from here. With mutex_ held.
class host_port::codec final : public reference_codec {
public:
  explicit codec(host_port& port) noexcept : port_(port) {}

  bool put(wire_writer& out, const reference& r) override {
    const auto* held = r.as<imported>();
    if (held == nullptr || held->port().get() != &port_) return false;
    put_imported(out, port_.imports_, held->at());
    return true;
  }
  reference get(const wire_ref& r) override {
    if (r.id.owner == host_interpreter) return {};
    const auto& owner = text_of(r.id.owner);
    return reference(std::make_shared<imported>(port_.shared_from_this(), port_.imports_.receive(r), r.id,
                                                port_.types_->name_of(r.type), owner));
  }
  bool put_channel(wire_writer& out, const any_channel& c) override {
    return Atoll::put_channel(out, *port_.env_->where().channels(), c);
  }
  any_channel get_channel(channel_number number) override {
    channel_handle channel = port_.env_->where().channels()->take(number);
    if (!channel) return {};
    return any_channel(std::make_shared<hosted_channel>(port_.shared_from_this(), std::move(channel)));
  }
  result<void> put_buffer(wire_writer& out, const buffer_holder& b) override { return put_held(out, b); }
  result<value> get_buffer(const wire_slice& s) override { return port_.buffers_.receive(s).map(to_value<buffer>); }
  void refuse_connection(std::uint64_t connection) override { port_.env_->where().close_connection(connection); }

private:
  /// "interpreter 2 'bank'"; references of one owner share it.
  const std::shared_ptr<const std::string>& text_of(interpreter_id owner) {
    if (text_ != nullptr && owner == owner_) return text_;
    const auto info = port_.env_->where().look_up(owner);
    text_ = std::make_shared<const std::string>("interpreter " + number_and_name(owner, info ? info->name : ""));
    owner_ = owner;
    return text_;
  }

  host_port& port_;
  interpreter_id owner_{};
  std::shared_ptr<const std::string> text_;
};

host_port::host_port(environment& env, const credit_policy& credit, std::size_t high_water)
    : inside_(env.where().inside()),
      box_(new inbox(host_interpreter, high_water)),
      env_(&env),
      types_(env.where().types()),
      codec_(std::make_unique<codec>(*this)),
      imports_(host_interpreter, credit),
      outbox_(std::make_unique<outbox>(host_interpreter, env.where())),
      buffers_(env.where().buffers(), host_interpreter, {}, nullptr, box_) {}

host_port::~host_port() = default;

void host_port::open(waker& w) {
  box_->set_waker(w);
  env_->where().enter(host_interpreter, {}, host_interpreter, box_);
}

// -- messages out ------------------------------------------------------------------------------------------------------

std::optional<error> host_port::refusal() const {
  if (env_ == nullptr) return finalized();
  if (!refusing_) return std::nullopt;
  return error{errc::runtime_finalizing, "the runtime is being finalized: it takes no more calls", {}, {}, {}, {}};
}

/// Returns to the table what was taken from it.
class host_port::putter final : public record_visitor {
public:
  explicit putter(host_port& p) : self_(p) {}
  void on_reference(const wire_ref& ref) override { self_.put_back(ref); }
  void on_channel(channel_number channel) override { self_.env_->where().channels()->drop_held(channel); }
  void on_buffer(const wire_slice& s) override { self_.env_->where().buffers()->give_back(s); }

private:
  host_port& self_;
};

result<send_status> host_port::put_message(interpreter_id to, record_kind kind, const body_function& body) {
  putter put_back_all(*this);

  wire_writer& w = outbox_->open(to, kind);
  result<void> written;
  try {
    written = body(w);
  } catch (const std::bad_alloc&) {
    written = fail(errc::out_of_memory, "no memory for the message");
  }
  const send_status sent = written ? outbox_->commit() : send_status::gone;
  if (sent > send_status::crowded) outbox_->rollback(put_back_all);
  flush();
  if (!written) return tl::unexpected<error>(written.error());
  if (sent == send_status::gone) return tl::unexpected<error>(gone(to));
  if (sent == send_status::no_memory) return fail(errc::out_of_memory, "no memory for the message");
  return sent;
}

void host_port::flush() {
  try {
    if (imports_.queued() > 0) send_protocol(imports_, *outbox_, env_->where());
    outbox_->flush();
  } catch (const std::bad_alloc&) {
    // What was not delivered has been disposed of (channels/disposal.hpp): its callers get an answer from there.
  }
}

host_port::answer_ptr host_port::ask(interpreter_id to, record_kind kind, const body_function& body) {
  if (forked()) return given(tl::unexpected<error>(forked_error()));
  lock_type lock(*this);
  if (auto no = refusal()) return given(tl::unexpected<error>(std::move(*no)));
  const call_id call = ++last_number_;
  auto a = std::make_shared<answer>();
  calls_.emplace(call, a);
  const auto sent = put_message(to, kind, [&](wire_writer& w) {
    w.put_u64(call);
    return body(w);
  });
  if (sent) return a;
  calls_.erase(call);
  a->give(tl::unexpected<error>(sent.error()));
  return a;
}

host_port::answer_ptr host_port::call(interpreter_id to, std::string_view function, const std::vector<value>& args) {
  return ask(to, record_kind::call, [&](wire_writer& w) {
    w.put_text(function);
    return encode_values(w, *codec_, args);
  });
}

host_port::answer_ptr host_port::invoke(const imported& target, invoke_op op, std::string_view method,
                                        const std::vector<value>& args) {
  return ask(target.id().owner, record_kind::invoke, [&](wire_writer& w) {
    w.put_u8(static_cast<std::uint8_t>(op));
    put_imported_target(w, imports_, target.at());
    w.put_text(method);
    return encode_values(w, *codec_, args);
  });
}

host_port::answer_ptr host_port::start(interpreter_id who, const source& from, const body_function& write_args) {
  return ask(who, record_kind::start, [&](wire_writer& w) -> result<void> {
    w.put_u8(static_cast<std::uint8_t>(from.kind));
    w.put_text(from.text);
    w.put_text(from.chunk);
    return write_args ? write_args(w) : result<void>();
  });
}

host_port::body_function host_port::writer_of(const std::vector<value>& args) {
  return [this, &args](wire_writer& w) { return encode_values(w, *codec_, args); };
}

result<buffer> host_port::make_buffer(std::size_t bytes) {
  if (forked()) return tl::unexpected<error>(forked_error());
  const lock_type lock(*this);
  if (auto no = refusal()) return tl::unexpected<error>(std::move(*no));
  return buffers_.make(bytes);
}

host_port::answer_ptr host_port::stop(interpreter_id who, std::chrono::milliseconds timeout) {
  return ask(who, record_kind::stop, [&](wire_writer& w) -> result<void> {
    w.put_u64(static_cast<std::uint64_t>(std::max<std::int64_t>(timeout.count(), 0)));
    return {};
  });
}

host_port::answer_ptr host_port::ask_stats(interpreter_id who) {
  return ask(who, record_kind::stats, [](wire_writer&) -> result<void> { return {}; });
}

namespace {
host_port::body_function job_record(job& work) {
  return [&work](wire_writer& w) -> result<void> {
    w.put_u64(reinterpret_cast<std::uint64_t>(&work));
    return {};
  };
}
} // namespace

host_port::answer_ptr host_port::run(interpreter_id to, std::unique_ptr<call_job> work) {
  return run(to, std::move(work), nullptr);
}

host_port::answer_ptr host_port::run(const imported& target, std::unique_ptr<call_job> work) {
  return run(target.id().owner, std::move(work), &target);
}

host_port::answer_ptr host_port::run(interpreter_id to, std::unique_ptr<call_job> work, const imported* target) {
  auto a = std::make_shared<answer>();
  error why;
  if (forked()) {
    why = forked_error();
    a->give(tl::unexpected<error>(why));
  } else {
    const lock_type lock(*this);
    if (auto no = refusal()) {
      why = std::move(*no);
      a->give(tl::unexpected<error>(why));
    } else {
      work->port_ = shared_from_this();
      work->call_ = ++last_number_;
      calls_.emplace(work->call_, a);
      if (target != nullptr) work->target_ = imports_.give_target(target->at());
      const auto sent = put_message(to, record_kind::job, job_record(*work));
      if (sent) {
        (void)work.release(); // the record's, and maybe over already
        return a;
      }
      why = sent.error();
    }
  }
  work->abandon(why); // outside the lock: the job's destructor is the user's
  return a;
}

void host_port::post(interpreter_id to, std::unique_ptr<job> work) {
  error why = forked_error();
  if (!forked()) {
    const lock_type lock(*this);
    why = finalized();
    if (env_ != nullptr) {
      const auto sent = put_message(to, record_kind::job, job_record(*work));
      if (sent) return (void)work.release();
      why = sent.error();
    }
  }
  work->abandon(why);
}

result<void> host_port::send(interpreter_id to, record_kind kind, const body_function& body) {
  if (forked()) return tl::unexpected<error>(forked_error());
  answer_ptr has_room;
  {
    const lock_type lock(*this);
    if (auto no = refusal()) return tl::unexpected<error>(std::move(*no));
    const auto sent = put_message(to, kind, body);
    if (!sent) return tl::unexpected<error>(sent.error());
    if (*sent == send_status::crowded && !on_worker_thread()) {
      answer_ptr& waiting = rooms_[to];
      const inbox_ptr receiver = outbox_->receiver(to);
      if (waiting == nullptr && receiver != nullptr && !receiver->await_room(host_interpreter))
        waiting = std::make_shared<answer>();
      has_room = waiting;
      if (waiting == nullptr) rooms_.erase(to);
    }
  }
  error why;
  if (has_room) has_room->await(std::nullopt, why);
  return {};
}

result<void> host_port::send(interpreter_id to, std::string_view function, const std::vector<value>& args) {
  return send(to, record_kind::send, [&](wire_writer& w) {
    w.put_text(function);
    return encode_values(w, *codec_, args);
  });
}

result<void> host_port::send(const imported& target, std::string_view method, const std::vector<value>& args) {
  return send(target.id().owner, record_kind::invoke, [&](wire_writer& w) {
    w.put_u64(0);
    w.put_u8(static_cast<std::uint8_t>(invoke_op::method));
    put_imported_target(w, imports_, target.at());
    w.put_text(method);
    return encode_values(w, *codec_, args);
  });
}

// -- interpreters ------------------------------------------------------------------------------------------------------

result<void> host_port::control(interpreter_id who, controls what) {
  if (forked()) return tl::unexpected<error>(forked_error());
  const lock_type lock(*this);
  if (env_ == nullptr) return tl::unexpected<error>(finalized());
  if (!env_->where().look_up(who)) return tl::unexpected<error>(gone(who));
  env_->control(who, what);
  return {};
}

run_state host_port::state_of(interpreter_id who) const {
  if (forked()) return run_state::gone;
  const lock_type lock(*this);
  const auto info = env_ != nullptr ? env_->where().look_up(who) : std::nullopt;
  return info ? info->state : run_state::gone;
}

result<void> host_port::monitor(interpreter_id who, down_callback told) {
  if (forked()) return tl::unexpected<error>(forked_error());
  const lock_type lock(*this);
  if (auto no = refusal()) return tl::unexpected<error>(std::move(*no));
  const std::uint64_t token = ++last_number_;
  watches_.emplace(token, watch{who, std::move(told)});
  const auto sent = put_message(who, record_kind::monitor, [&](wire_writer& w) -> result<void> {
    w.put_u64(token);
    return {};
  });
  if (sent) return {};
  // Gone already: said by a message to oneself, so that the callback runs on a runtime thread as any other.
  const auto own = put_message(host_interpreter, record_kind::down, [&](wire_writer& w) -> result<void> {
    w.put_u64(token);
    w.put_u64(number(who));
    w.put_text("");
    w.put_text("gone");
    w.put_error(gone(who));
    return {};
  });
  if (own) return {};
  watches_.erase(token);
  return tl::unexpected<error>(own.error());
}

// -- from anywhere -----------------------------------------------------------------------------------------------------

void host_port::add_late(late what) noexcept {
  if (forked()) return;
  const std::scoped_lock lock(late_mutex_);
  if (late_closed_) return;
  try {
    late_.push_back(std::move(what));
  } catch (const std::bad_alloc&) {
    return; // the object stays until the runtime ends, which fails the call as well
  }
  // Under the lock: close() takes it too, so the waker is still there.
  box_->wake();
}

void host_port::drop(import_table::index at) noexcept {
  late l;
  l.dropped = at;
  add_late(std::move(l));
}

void host_port::give_up(call_id call, const std::optional<wire_ref>& target, const error& why) noexcept {
  late l;
  l.given_up = call;
  l.target = target;
  l.why.code = why.code;
  try {
    l.why = why;
  } catch (const std::bad_alloc&) {
    // The code alone.
  }
  add_late(std::move(l));
}

// -- the turn ----------------------------------------------------------------------------------------------------------

bool host_port::turn() {
  turns_.fetch_add(1, std::memory_order_relaxed);
  box_->turn().begin();
  news out;
  bool open = true;
  try {
    const lock_type lock(*this);
    open = env_ != nullptr;
    if (open) work(out);
  } catch (const std::bad_alloc&) {
    box_->wake(); // what is left is for another turn
  }
  tell(out);
  return open;
}

void host_port::work(news& out) {
  take_late(out);
  if (buffers_.has_news()) buffers_.settle();
  while (envelope_ptr e = box_->take()) {
    wire_reader records = e->reader();
    while (!records.at_end()) {
      try {
        handle(records, e->from(), out);
      } catch (const std::bad_alloc&) {
        // That record is lost, but for whoever waits for it (handle_reply).
      }
    }
    for (const interpreter_id waiting : box_->handled(e->count())) {
      outbox_->open(waiting, record_kind::room);
      commit_word(*outbox_);
    }
  }
  flush();
}

void host_port::handle(wire_reader& records, interpreter_id from, news& out) {
  const std::uint8_t* start = records.position();
  record r = next_record(records);
  wire_reader& in = r.body;
  switch (r.kind) {
  case record_kind::reply:
  case record_kind::reply_error: return handle_reply(r, out);
  case record_kind::credit_grant: {
    const object_id id = in.get_object_id();
    return imports_.on_grant(id, in.get_u32());
  }
  case record_kind::loan_return: {
    const object_id id = in.get_object_id();
    return imports_.on_loan_return(id, in.get_u32());
  }
  case record_kind::down: return handle_down(in, out);
  case record_kind::room: return room(from, out);
  default:
    // The host program has no functions and no objects: answered as if it were gone.
    dispose_rest(wire_reader(start, records.position()), from, host_interpreter, env_->where());
  }
}

void host_port::handle_reply(record& r, news& out) {
  const call_id call = r.body.get_u64();
  if (r.kind == record_kind::reply_error) {
    error why{errc::out_of_memory, {}, {}, {}, {}, {}};
    try {
      why = r.body.get_error();
    } catch (const std::bad_alloc&) {
      // The caller learns that much.
    }
    return finish_call(call, tl::unexpected<error>(std::move(why)), out);
  }
  if (!calls_.contains(call)) return give_back(r.body);
  call_results results = fail(errc::out_of_memory, {});
  try {
    results = decode_values(r.body, *codec_);
  } catch (const std::bad_alloc&) {
    // The caller is told so; what was not read yet is lost.
  }
  finish_call(call, std::move(results), out);
}

void host_port::finish_call(call_id call, call_results results, news& out) {
  auto open = calls_.extract(call);
  if (open.empty()) return;
  try {
    out.answers.emplace_back(open.mapped(), call_results());
    out.answers.back().second = std::move(results);
  } catch (const std::bad_alloc&) {
    open.mapped()->give(std::move(results));
  }
}

void host_port::handle_down(wire_reader& in, news& out) {
  auto open = watches_.extract(in.get_u64());
  down d;
  d.id = interpreter_id{in.get_u64()};
  d.name = in.get_text();
  d.reason = in.get_text();
  d.failure = in.get_error();
  if (!open.empty()) out.downs.emplace_back(std::move(open.mapped().told), std::move(d));
}

void host_port::room(interpreter_id receiver, news& out) {
  auto waiting = rooms_.extract(receiver);
  if (!waiting.empty()) out.answers.emplace_back(std::move(waiting.mapped()), std::vector<value>{});
}

void host_port::take_late(news& out) {
  std::vector<late> taken;
  {
    const std::scoped_lock lock(late_mutex_);
    taken.swap(late_);
  }
  for (late& l : taken) {
    try {
      if (l.dropped != import_table::none) imports_.drop_use(l.dropped);
      if (l.target) put_back(*l.target);
    } catch (const std::bad_alloc&) {
      // Its credit stays here until the runtime ends.
    }
    if (l.given_up != 0) finish_call(l.given_up, tl::unexpected<error>(std::move(l.why)), out);
  }
}

void host_port::put_back(wire_ref ref) { imports_.put_back(ref); }

void host_port::give_back(wire_reader values) {
  struct taker final : wire_visitor {
    explicit taker(host_port& p) : self(p) {}
    void on_reference(const wire_ref& r) override { self.imports_.drop_use(self.imports_.receive(r)); }
    void on_connection(std::uint64_t connection) override { self.env_->where().close_connection(connection); }
    void on_channel(channel_number channel) override { self.env_->where().channels()->drop_held(channel); }
    void on_buffer(const wire_slice& s) override { self.env_->where().buffers()->give_back(s); }
    host_port& self;
  } all(*this);
  walk_values(values, all);
}

// -- channels ----------------------------------------------------------------------------------------------------------

result<channel_handle> host_port::make_channel(channel_options options) {
  if (forked()) return tl::unexpected<error>(forked_error());
  const lock_type lock(*this);
  if (auto no = refusal()) return tl::unexpected<error>(std::move(*no));
  return env_->where().channels()->make(std::move(options));
}

error host_port::unless_ended(error why) const {
  if (forked()) return forked_error();
  const lock_type lock(*this);
  if (env_ == nullptr || env_->where().channels()->is_closed()) return *refusal();
  return why;
}

bool host_port::await(thread_wait& w, wait_limit until) {
  {
    const std::scoped_lock lock(late_mutex_);
    if (late_closed_) return false;
    blocked_.insert(&w);
  }
  const bool told = w.await(until);
  const std::scoped_lock lock(late_mutex_);
  blocked_.erase(&w);
  return told;
}

result<void> host_port::write_item(const value& v, item_bytes& item) {
  if (forked()) return tl::unexpected<error>(forked_error());
  const lock_type lock(*this);
  if (auto no = refusal()) return tl::unexpected<error>(std::move(*no));
  item.limit(record_bytes_max);
  result<void> written = encode_values(item, *codec_, {&v, 1});
  if (!written) {
    putter all(*this);
    wire_reader in = item.reader();
    walk_values(in, all);
    item.clear();
  }
  flush();
  return written;
}

result<value> host_port::read_item(item_bytes& item) {
  if (forked()) return tl::unexpected<error>(forked_error());
  const lock_type lock(*this);
  if (env_ == nullptr) return tl::unexpected<error>(finalized());
  result<std::vector<value>> all = decode_values(item.reader(), *codec_);
  item.clear();
  flush();
  if (!all) return tl::unexpected<error>(std::move(all.error()));
  return std::move(all->front());
}

void host_port::put_back_item(item_bytes& item) {
  if (forked()) return;
  const lock_type lock(*this);
  if (env_ == nullptr) return;
  putter all(*this);
  wire_reader in = item.reader();
  walk_values(in, all);
  flush();
  item.clear();
}

void host_port::give_back_item(item_bytes& item) {
  if (forked()) return;
  const lock_type lock(*this);
  if (env_ == nullptr) return;
  give_back(item.reader());
  flush();
  item.clear();
}

void host_port::tell(news& what) {
  for (auto& [a, results] : what.answers) a->give(std::move(results));
  if (what.downs.empty()) return;
  const gate::visit telling(callbacks_);
  for (auto& [told, d] : what.downs) {
    try {
      if (told && telling.open()) told(d);
    } catch (...) {
      // A callback has nobody to tell; the runtime goes on.
    }
  }
  what.downs.clear(); // what they hold of the user's, too, ends inside
}

// -- the end -----------------------------------------------------------------------------------------------------------

void host_port::refuse_new() {
  const lock_type lock(*this);
  refusing_ = true;
}

void host_port::fail_waiting(errc code) {
  news out;
  {
    const lock_type lock(*this);
    for (auto& [call, a] : std::exchange(calls_, {}))
      out.answers.emplace_back(a, fail(code, code == errc::runtime_finalized ? "the runtime has been finalized"
                                                                             : "the runtime is being finalized"));
    for (auto& [who, a] : std::exchange(rooms_, {})) out.answers.emplace_back(a, std::vector<value>{});
  }
  tell(out);
}

void host_port::close() {
  news out;
  {
    const lock_type lock(*this);
    if (env_ == nullptr) return;
    directory& where = env_->where();
    refusing_ = true;
    work(out);
    buffers_.end();
    for (auto& [token, w] : std::exchange(watches_, {}))
      out.downs.emplace_back(std::move(w.told), down{w.who, {}, "gone", gone(w.who)});
    // Tombstones stand before the inbox closes, as for any holder (actors/shell/interpreter.hpp, the end).
    where.leave(host_interpreter, imports_.take_pinned());
    {
      const std::scoped_lock late_lock(late_mutex_);
      late_closed_ = true;
      late_.clear();
      for (thread_wait* w : blocked_) w->give_up();
    }
    box_->close();
    for (const interpreter_id waiting : box_->take_crowd()) {
      outbox_->open(waiting, record_kind::room);
      commit_word(*outbox_);
    }
    dispose_leftovers(*box_, where);
    outbox_.reset();
    env_ = nullptr;
  }
  tell(out);
  fail_waiting(errc::runtime_finalized);
}

void host_port::with_imports(const std::function<void(const import_table&)>& f) const {
  const lock_type lock(*this);
  f(imports_);
}

bool host_port::closed() const {
  if (forked()) return true;
  const lock_type lock(*this);
  return env_ == nullptr;
}

} // namespace Atoll
