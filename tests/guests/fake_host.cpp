#include "tests/guests/fake_host.hpp"

#include <algorithm>

#include "tests/seeds.hpp"

namespace Atoll::testing {

namespace {

/// Puts back what a record that never went out had taken.
struct putter final : record_visitor {
  putter(interpreter_id self, export_table& exports, import_table& imports, channel_space& channels,
         buffer_space& buffers)
      : self_(self), exports_(exports), imports_(imports), channels_(channels), buffers_(buffers) {}
  void on_channel(channel_number channel) override { channels_.drop_held(channel); }
  void on_reference(const wire_ref& ref) override {
    if (ref.id.owner == self_) {
      exports_.take_back(ref.id, ref.credit);
    } else {
      imports_.put_back(ref);
    }
  }
  void on_buffer(const wire_slice& s) override { buffers_.give_back(s); }
  interpreter_id self_;
  export_table& exports_;
  import_table& imports_;
  channel_space& channels_;
  buffer_space& buffers_;
};

} // namespace

fake_interpreter::fake_interpreter(fake_world& world, interpreter_id id, std::string name, std::size_t memory)
    : world_(world),
      id_(id),
      name_(std::move(name)),
      heap_(memory),
      exports_(id),
      imports_(id),
      box_(new inbox(id, 65536)),
      desk_(id, box_, world.where_.channels()),
      buffers_(world.where_.buffers(), id, name_, &heap_, nullptr) {
  box_->set_waker(*this);
  world.where_.enter(id, {}, {}, box_);
}

fake_interpreter::~fake_interpreter() {
  if (program) program->close();
  program.reset();
  desk_.close();
  box_->close();
  channel_desk::drop_ready(*box_);
}

wire_writer& fake_interpreter::open_message(interpreter_id to, record_kind kind) {
  to_ = to;
  writer_.reset();
  open_record(writer_, kind, world_.record_limit);
  return writer_;
}

send_status fake_interpreter::commit() {
  const auto request = requests_.find(replying_);
  if (replying_ != no_request && request == requests_.end()) std::abort();
  if (writer_.failed()) return send_status::no_memory;
  close_record(writer_, 0);
  fake_interpreter* to = world_.at(to_);
  if (to == nullptr || to->state == "gone") {
    if (replying_ == no_request) return send_status::gone;
  } else {
    to->inbox_.emplace_back(id_, writer_.take());
  }
  if (replying_ != no_request) requests_.erase(request);
  replying_ = no_request;
  return to != nullptr && to->crowded ? send_status::crowded : send_status::sent;
}

void fake_interpreter::rollback() {
  replying_ = no_request;
  const std::string bytes = writer_.take();
  close_record(writer_, 0);
  wire_reader in(bytes);
  record r{static_cast<record_kind>(in.get_u8()), {}};
  in.get_u32();
  r.body = in;
  putter back(id_, exports_, imports_, desk_.space(), *world_.where_.buffers());
  walk_record(r, back);
}

void fake_interpreter::put_back(wire_reader values) {
  putter back(id_, exports_, imports_, desk_.space(), *world_.where_.buffers());
  walk_values(values, back);
}

call_id fake_interpreter::open_call(guest_word token) {
  calls_[next_call_] = token;
  return next_call_++;
}

void fake_interpreter::await_room(interpreter_id, guest_word token) { rooms_.push_back(token); }

wire_writer& fake_interpreter::open_reply(request_id request) {
  replying_ = request;
  const auto& r = requests_.at(request);
  open_message(r.from, record_kind::reply);
  writer_.put_u64(r.call);
  return writer_;
}

void fake_interpreter::reply_error(request_id request, const error& why) {
  replying_ = no_request;
  const auto r = requests_.at(request);
  requests_.erase(request);
  if (r.call == 0) logged.push_back("not started: " + why.message);
  open_message(r.from, record_kind::reply_error);
  writer_.put_u64(r.call);
  writer_.put_error(why);
  commit();
}

std::optional<host::received> fake_interpreter::receive_reference(const wire_ref& told) {
  wire_ref ref = told;
  if (forged_slots != 0) ref.id.slot %= forged_slots;
  if (ref.id.owner != id_) return received{false, 0, imports_.receive(ref)};
  const auto object = exports_.find(ref.id);
  exports_.take_back(ref.id, ref.credit);
  if (!object) return std::nullopt;
  return received{true, *object, import_table::none};
}

void fake_interpreter::give_back(wire_reader values) {
  struct taker final : wire_visitor {
    explicit taker(fake_interpreter& self) : self_(self) {}
    void on_reference(const wire_ref& ref) override {
      const auto got = self_.receive_reference(ref);
      if (got && !got->own) self_.imports_.drop_use(got->import);
    }
    void on_connection(std::uint64_t) override { ++self_.connections_closed; }
    void on_channel(channel_number channel) override { self_.desk_.space().drop_held(channel); }
    void on_buffer(const wire_slice& s) override { self_.world_.where_.buffers()->give_back(s); }
    fake_interpreter& self_;
  } take(*this);
  walk_values(values, take);
}

type_id fake_interpreter::type_named(std::string_view type) noexcept { return world_.where_.types()->id_of(type); }

std::string_view fake_interpreter::type_name(type_id type) const noexcept {
  return world_.where_.types()->name_of(type);
}

std::optional<std::uint64_t> fake_interpreter::seed() const noexcept { return from_environment("ATOLL_SEED", 1); }

time_point fake_interpreter::now() const noexcept { return world_.now_; }

std::uint64_t fake_interpreter::set_timer(time_point when, guest_word token) {
  timers_[next_timer_] = {when, token};
  return next_timer_++;
}

result<interpreter_id> fake_interpreter::spawn(const spawn_options& options, const source& from,
                                               const std::function<bool(wire_writer&)>& write_args, guest_word token) {
  fake_interpreter& child = world_.add(options.name, options.memory);
  open_message(child.id_, record_kind::start);
  writer_.put_u64(open_call(token));
  writer_.put_u8(static_cast<std::uint8_t>(from.kind));
  writer_.put_text(from.text);
  writer_.put_text(from.chunk);
  if (!write_args(writer_)) {
    rollback();
    child.state = "gone";
    return fail(errc::not_shareable, "an argument");
  }
  commit();
  return child.id_;
}

void fake_interpreter::monitor(interpreter_id target, guest_word token) {
  if (fake_interpreter* t = world_.at(target)) t->watchers_.emplace_back(id_, token);
}

void fake_interpreter::demonitor(interpreter_id target, guest_word token) {
  if (fake_interpreter* t = world_.at(target)) std::erase(t->watchers_, std::pair{id_, token});
}

result<void> fake_interpreter::interrupt(interpreter_id target) {
  if (fake_interpreter* t = world_.at(target)) t->program->interrupt(errc::interrupted);
  return {};
}

result<void> fake_interpreter::kill(interpreter_id target) {
  if (fake_interpreter* t = world_.at(target)) world_.kill(*t);
  return {};
}

std::optional<interpreter_info> fake_interpreter::look_up(interpreter_id target) const {
  const fake_interpreter* t = world_.at(target);
  if (t == nullptr || t->state == "gone") return std::nullopt;
  return interpreter_info{t->id_, t->name_, {}, run_state::running};
}

std::optional<interpreter_info> fake_interpreter::find(std::string_view name) const {
  for (const auto& i : world_.all_)
    if (i->name_ == name && i->state != "gone") return look_up(i->id_);
  return std::nullopt;
}

std::vector<interpreter_info> fake_interpreter::list() const {
  std::vector<interpreter_info> all;
  for (const auto& i : world_.all_)
    if (i->state != "gone") all.push_back(*look_up(i->id_));
  return all;
}

result<host::listening> fake_interpreter::listen(const std::string& address, guest_word token) {
  if (address == "bad") return fail(errc::address_unavailable, "cannot listen on bad");
  listener_token = token;
  return listening{1, address};
}

bool fake_interpreter::write(std::uint64_t, std::string_view bytes) {
  written += bytes;
  return write_room;
}

void fake_interpreter::count_finalizer(const error* failure) {
  ++finalizers;
  if (failure != nullptr) finalizer_errors.push_back(failure->message);
}

void fake_interpreter::handle(interpreter_id from, const std::string& bytes) {
  wire_reader envelope(bytes);
  record r = next_record(envelope);
  wire_reader& in = r.body;
  switch (r.kind) {
  case record_kind::start: {
    requests_[next_request_] = {from, in.get_u64()};
    source s;
    s.kind = static_cast<source_kind>(in.get_u8());
    s.text = in.get_text();
    s.chunk = in.get_text();
    state = "running";
    program = world_.make_(*this);
    program->start(next_request_++, s, in);
    break;
  }
  case record_kind::reply:
  case record_kind::reply_error: {
    const auto call = calls_.find(in.get_u64());
    if (call == calls_.end()) {
      if (r.kind == record_kind::reply) give_back(in);
      break;
    }
    const guest_word token = call->second;
    calls_.erase(call);
    error why;
    outcome o;
    if (r.kind == record_kind::reply) {
      o.what = outcome::kind::values;
      o.values = in;
    } else {
      why = in.get_error();
      o.what = outcome::kind::failed;
      o.failure = &why;
    }
    if (program) program->resume(token, o);
    break;
  }
  case record_kind::decref: {
    const object_id id = in.get_object_id();
    exports_.take_back(id, in.get_u32());
    break;
  }
  default: deliver(r.kind, from, in); break;
  }
  drop_due();
  flush_protocol();
}

void fake_interpreter::deliver(record_kind kind, interpreter_id from, wire_reader in) {
  incoming m;
  m.kind = kind;
  m.from = from;
  const call_id call = kind == record_kind::send ? 0 : in.get_u64();
  if (call != 0) {
    requests_[next_request_] = {from, call};
    m.request = next_request_++;
  }
  if (kind == record_kind::invoke) {
    m.op = static_cast<invoke_op>(in.get_u8());
    const auto got = receive_reference(in.get_reference());
    m.target = got->object;
  }
  m.name = in.get_text();
  m.args = in;
  program->deliver(m);
}

void fake_interpreter::drop_due() {
  while (const auto object = exports_.take_due())
    if (program) program->drop(*object);
}

void fake_interpreter::flush_protocol() {
  for (const protocol_message& w : imports_.take_words()) {
    if (w.what != protocol_message::kind::decref) continue; // credit never runs low here
    open_message(w.to, record_kind::decref);
    put_object_id(writer_, w.id);
    writer_.put_u32(w.count);
    commit();
  }
}

// -- the world ------------------------------------------------------------------------------------------------------

fake_world::~fake_world() {
  while (!all_.empty()) all_.pop_back();
}

fake_interpreter& fake_world::add(const std::string& name, std::size_t memory) {
  all_.push_back(std::make_unique<fake_interpreter>(*this, interpreter_id{all_.size() + 1}, name, memory));
  return *all_.back();
}

fake_interpreter* fake_world::at(interpreter_id id) const {
  const std::uint64_t n = number(id);
  return n >= 1 && n <= all_.size() ? all_[n - 1].get() : nullptr;
}

fake_interpreter& fake_world::run(const std::string& code, std::size_t memory) {
  fake_interpreter& first = add("main", memory);
  first.program = make_(first);
  first.state = "running";
  first.requests_[first.next_request_] = {host_interpreter, 0};
  first.program->start(first.next_request_++, {source_kind::code, code, "=main"}, {});
  first.drop_due();
  first.flush_protocol();
  settle();
  return first;
}

/// What came by way of the real inbox: decrefs of what was disposed of, and channels that are ready.
bool fake_interpreter::take_box() {
  desk_.flush();
  bool any = false;
  while (const envelope_ptr e = box_->take()) {
    wire_reader in = e->reader();
    while (!in.at_end()) {
      record r = next_record(in);
      if (r.kind == record_kind::decref) exports_.take_back(r.body, [this] { drop_due(); });
    }
    any = true;
  }
  if (desk_.has_ready()) {
    any = true;
    desk_.take_ready([] { return true; },
                     [this](guest_word token) {
                       if (program) program->resume(token, {.what = outcome::kind::channel});
                     });
  }
  desk_.flush();
  if (any) drop_due();
  return any;
}

bool fake_world::step() {
  for (const auto& one : all_) one->desk_.flush();
  for (std::size_t i = 0; i < all_.size(); ++i) {
    fake_interpreter& it = *all_[i];
    if (it.state == "gone") continue;
    if (it.take_box()) return true;
    if (!it.inbox_.empty()) {
      const auto [from, bytes] = std::move(it.inbox_.front());
      it.inbox_.pop_front();
      it.handle(from, bytes);
      return true;
    }
    if (it.rooms_.size() > 0) {
      std::vector<guest_word> tokens;
      tokens.swap(it.rooms_);
      for (const guest_word t : tokens) it.program->resume(t, {.what = outcome::kind::room});
      return true;
    }
    if (it.program && it.program->run_ready()) return true;
    it.buffers_.settle();
    it.flush_protocol();
    if (!it.inbox_.empty()) return true;
  }
  return false;
}

bool fake_world::advance() {
  fake_interpreter* who = nullptr;
  std::uint64_t first = 0;
  time_point when = time_point::max();
  for (const auto& it : all_)
    for (const auto& [number, t] : it->timers_)
      if (it->state != "gone" && t.when < when) {
        who = it.get();
        first = number;
        when = t.when;
      }
  if (who == nullptr) return false;
  now_ = std::max(now_, when);
  const guest_word token = who->timers_[first].token;
  who->timers_.erase(first);
  who->program->resume(token, {.what = outcome::kind::timer});
  who->drop_due();
  who->flush_protocol();
  return true;
}

void fake_world::settle() {
  for (int steps = 0; steps < 1000000; ++steps)
    if (!step() && !advance()) return;
}

void fake_world::kill(fake_interpreter& who) {
  who.program->interrupt(errc::killed);
  who.program->close();
  who.desk_.close();
  end(who, "killed");
}

void fake_world::end(fake_interpreter& who, const std::string& reason, const error& why) {
  who.state = "gone";
  for (const auto& [from, token] : who.watchers_) {
    outcome o;
    o.what = outcome::kind::down;
    o.down_id = who.id();
    o.name = who.name();
    o.reason = reason;
    o.failure = &why;
    at(from)->program->resume(token, o);
  }
}

} // namespace Atoll::testing
