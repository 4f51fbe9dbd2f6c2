// A native interpreter without a shell: a host that keeps what is sent in vectors, and a peer that calls it.
// The peer is another interpreter with tables of its own, so references really cross: credit given, received, returned.
// Threads: none.
#pragma once

#include <doctest/doctest.h>

#include <limits>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "channels/buffer_space.hpp"
#include "channels/channel_desk.hpp"
#include "channels/channel_value.hpp"
#include "channels/directory.hpp"
#include "guests/native/factory.hpp"
#include "guests/native/native_guest.hpp"
#include "runtime/references.hpp"
#include "tests/runtime/wire_buffer.hpp"

namespace Atoll::testing {

/// The tests give the turns.
struct no_waker final : waker {
  void schedule() noexcept override {}
};

class native_host final : public host {
public:
  struct sent_message {
    interpreter_id to;
    record_kind kind;
    std::string body;
  };

  explicit native_host(std::size_t memory = 0) : heap_(memory) { box_->set_waker(waker_); }
  ~native_host() { channel_desk::drop_ready(*box_); } // as the shell when it has closed its inbox

  const std::shared_ptr<buffer_space> space = std::make_shared<buffer_space>(std::make_shared<gate>());
  // What happened.
  std::vector<sent_message> sent;
  std::map<request_id, result<std::string>> replies;
  std::vector<std::string> logged;
  std::vector<std::pair<interpreter_id, object_id>> loans_returned;
  std::vector<std::uint64_t> closed_connections;
  std::vector<std::string> finalizer_failures;
  int finalizers = 0;
  std::map<call_id, guest_word> calls;                                    // open ones, and who waits for their answers
  std::vector<std::pair<interpreter_id, guest_word>> rooms;               // who waits for room at whom
  std::multimap<time_point, std::pair<std::uint64_t, guest_word>> timers; // by when: number, who waits
  std::size_t given_back = 0;                                             // answers
  bool has_exited = false;
  // What is to happen.
  controls wanted;
  send_status next_status = send_status::sent; // of the next message
  time_point clock{};
  std::size_t message_limit = std::numeric_limits<std::size_t>::max();

  interpreter_id id() const noexcept override { return interpreter_id{5}; }
  const std::string& name() const noexcept override { return name_; }
  heap& memory() noexcept override { return heap_; }
  export_table& exports() noexcept override { return exports_; }
  import_table& imports() noexcept override { return imports_; }
  channel_desk& channels() noexcept override { return desk_; }
  buffer_account& buffers() noexcept override { return buffers_; }

  wire_writer& open_message(interpreter_id to, record_kind kind) override {
    open_ = {to, kind, {}};
    request_ = no_request;
    return *(writer_ = std::make_unique<wire_buffer>(message_limit));
  }
  wire_writer& open_reply(request_id request) override {
    open_message({}, record_kind::reply);
    request_ = request;
    return *writer_;
  }
  send_status commit() override {
    if (writer_->failed()) return send_status::no_memory;
    const send_status status = std::exchange(next_status, send_status::sent);
    if (status > send_status::crowded) return status;
    open_.body = writer_->bytes();
    if (request_ != no_request)
      replies.emplace(request_, open_.body);
    else
      sent.push_back(open_);
    return status;
  }
  void rollback() override {
    struct restore final : wire_visitor {
      explicit restore(native_host& h) : self(h) {}
      void on_reference(const wire_ref& r) override {
        if (r.id.owner == self.id())
          self.exports_.take_back(r.id, r.credit);
        else
          self.imports_.put_back(r);
      }
      void on_buffer(const wire_slice& s) override { self.space->give_back(s); }
      void on_channel(channel_number c) override { self.desk_.space().drop_held(c); }
      native_host& self;
    } visitor(*this);
    wire_reader in = writer_->reader();
    if (open_.kind == record_kind::call) calls.erase(in.get_u64());
    if (open_.kind == record_kind::invoke) {
      calls.erase(in.get_u64());
      in.get_u8();
      const wire_ref target = in.get_reference();
      if (!in.failed()) visitor.on_reference(target);
    }
    if (open_.kind != record_kind::reply) in.get_text();
    walk_values(in, visitor);
  }
  void reply_error(request_id request, const error& why) override {
    replies.emplace(request, tl::unexpected<error>(why));
  }

  std::optional<received> receive_reference(const wire_ref& ref) override {
    if (ref.id.owner != id()) return received{false, 0, imports_.receive(ref)};
    const auto object = exports_.find(ref.id);
    if (ref.credit > 0)
      exports_.take_back(ref.id, ref.credit);
    else
      loans_returned.emplace_back(ref.lender, ref.id);
    if (!object) return std::nullopt;
    return received{true, *object, import_table::none};
  }
  type_id type_named(std::string_view type) noexcept override { return where_.types()->id_of(type); }
  std::string_view type_name(type_id type) const noexcept override { return where_.types()->name_of(type); }
  void close_connection(std::uint64_t connection) override { closed_connections.push_back(connection); }
  void exited() override { has_exited = true; }
  void log(log_level, std::string_view text) override { logged.emplace_back(text); }
  void count_finalizer(const error* failure) override {
    ++finalizers;
    if (failure != nullptr) finalizer_failures.push_back(failure->message);
  }

  call_id open_call(guest_word token) override {
    calls.emplace(++last_call_, token);
    return last_call_;
  }
  void forget_call(call_id call) override { calls.erase(call); }
  void await_room(interpreter_id receiver, guest_word token) override { rooms.emplace_back(receiver, token); }
  void put_back(wire_reader values) override {
    wire_reader in = values;
    struct putter final : wire_visitor {
      explicit putter(native_host& h) : self(h) {}
      void on_reference(const wire_ref& r) override {
        if (r.id.owner == self.id())
          self.exports_.take_back(r.id, r.credit);
        else
          self.imports_.put_back(r);
      }
      void on_channel(channel_number c) override { self.desk_.space().drop_held(c); }
      native_host& self;
    } visitor(*this);
    walk_values(in, visitor);
  }
  void give_back(wire_reader values) override {
    struct putter final : wire_visitor {
      explicit putter(native_host& h) : self(h) {}
      void on_reference(const wire_ref& r) override {
        if (const auto got = self.receive_reference(r); got && !got->own) self.imports_.drop_use(got->import);
      }
      void on_channel(channel_number c) override { self.desk_.space().drop_held(c); }
      native_host& self;
    } visitor(*this);
    walk_values(values, visitor);
    ++given_back;
  }
  time_point now() const noexcept override { return clock; }
  std::uint64_t set_timer(time_point when, guest_word token) override {
    timers.emplace(when, std::pair(++last_timer_, token));
    return last_timer_;
  }
  void cancel_timer(std::uint64_t timer) override {
    std::erase_if(timers, [&](const auto& t) { return t.second.first == timer; });
  }

  // What native guests do not use.
  result<interpreter_id> spawn(const spawn_options&, const source&, const std::function<bool(wire_writer&)>&,
                               guest_word) override {
    return fail(errc::invalid_argument, "no spawn here");
  }
  void monitor(interpreter_id, guest_word) override {}
  void demonitor(interpreter_id, guest_word) override {}
  result<void> interrupt(interpreter_id) override { return {}; }
  result<void> kill(interpreter_id) override { return {}; }
  std::optional<interpreter_info> look_up(interpreter_id) const override { return {}; }
  std::optional<interpreter_info> find(std::string_view) const override { return {}; }
  std::vector<interpreter_info> list() const override { return {}; }
  result<listening> listen(const std::string&, guest_word) override {
    return fail(errc::invalid_argument, "no TCP here");
  }
  void close_listener(std::uint64_t) override {}
  void connect(const std::string&, guest_word) override {}
  void adopt_connection(std::uint64_t, guest_word) override {}
  void consumed(std::uint64_t, std::size_t) override {}
  bool write(std::uint64_t, std::string_view) override { return true; }
  controls pending_controls() const noexcept override { return wanted; }
  void request_exit(int) override {}
  figures stats() const override { return {}; }
  figures system_stats() const override { return {}; }
  void survey_references(call_id) override {}

private:
  std::string name_ = "accounts";
  directory where_;
  inbox_ptr box_{new inbox(interpreter_id{5}, 65536)};
  no_waker waker_;
  channel_desk desk_{interpreter_id{5}, box_, where_.channels()};
  heap heap_;
  credit_policy policy_{.grant = 4, .low = 1, .cap = 16};
  export_table exports_{interpreter_id{5}, policy_};
  import_table imports_{interpreter_id{5}, policy_};
  buffer_account buffers_{space, interpreter_id{5}, "native", &heap_, nullptr};
  sent_message open_{};
  std::unique_ptr<wire_buffer> writer_;
  request_id request_ = no_request;
  call_id last_call_ = 0;
  std::uint64_t last_timer_ = 0;
};

/// The only result, of an answer that is one.
inline value one(const native_results& r) {
  REQUIRE(r);
  REQUIRE(r->size() == 1);
  return r->front();
}

inline error failure(const native_results& r) {
  REQUIRE(!r);
  return r.error();
}

/// The native interpreter and the one that calls it.
class native_pair {
public:
  explicit native_pair(native_interface offered, std::size_t memory = 0)
      : host(memory), guest_(make_native_guest(std::move(offered))(host)) {}

  native_host host;

  native_guest& guest() { return static_cast<native_guest&>(*guest_); }
  object_space& objects() { return guest().context().objects(); }

  template <class... Args>
  native_results start(Args&&... args) {
    return reply(begin_start(std::forward<Args>(args)...));
  }
  template <class... Args>
  request_id begin_start(Args&&... args) {
    const std::string bytes = encode(std::vector<value>{to_value(std::forward<Args>(args))...});
    guest_->start(++requests_, {}, wire_reader(bytes));
    return requests_;
  }
  template <class... Args>
  native_results call(std::string_view function, Args&&... args) {
    return deliver(record_kind::call, {}, {}, function, std::vector<value>{to_value(std::forward<Args>(args))...});
  }
  template <class... Args>
  native_results invoke(invoke_op op, const value& target, std::string_view method, Args&&... args) {
    return deliver(record_kind::invoke, op, target, method, std::vector<value>{to_value(std::forward<Args>(args))...});
  }
  template <class... Args>
  native_results method(const value& target, std::string_view name, Args&&... args) {
    return invoke(invoke_op::method, target, name, std::forward<Args>(args)...);
  }
  void send(std::string_view function, std::vector<value> args) {
    const std::string bytes = encode(args);
    incoming m;
    m.kind = record_kind::send;
    m.name = function;
    m.args = wire_reader(bytes);
    guest_->deliver(m);
    settle();
  }
  native_results deliver(record_kind kind, invoke_op op, const value& target, std::string_view name,
                         const std::vector<value>& args) {
    const std::string bytes = encode(args);
    return deliver_bytes(kind, op, target, name, bytes);
  }
  /// Calls a function that does not answer at once; finish() or reply() tells how that went.
  template <class... Args>
  request_id begin(std::string_view function, Args&&... args) {
    return deliver_request(record_kind::call, {}, {}, function, {to_value(std::forward<Args>(args))...});
  }
  template <class... Args>
  request_id begin_method(const value& target, std::string_view name, Args&&... args) {
    return deliver_request(record_kind::invoke, invoke_op::method, target, name,
                           {to_value(std::forward<Args>(args))...});
  }
  bool answered(request_id request) const { return host.replies.contains(request); }
  native_results reply(request_id request) {
    const auto at = host.replies.find(request);
    if (at == host.replies.end()) throw std::logic_error("a request was not answered");
    const result<std::string> reply = at->second;
    if (!reply) return tl::unexpected<error>(reply.error());
    peer_codec codec(*this);
    return decode_values(wire_reader(*reply), codec);
  }

  /// Answers the call that has waited longest, as the shell does.
  template <class... Args>
  void answer_call(Args&&... results) {
    const std::string bytes = encode(std::vector<value>{to_value(std::forward<Args>(results))...});
    resume(take_call(), {.what = outcome::kind::values, .values = wire_reader(bytes)});
  }
  void fail_call(const error& why) { resume(take_call(), {.what = outcome::kind::failed, .failure = &why}); }
  guest_word take_call() {
    if (host.calls.empty()) throw std::logic_error("no call is open");
    const guest_word token = host.calls.begin()->second;
    host.calls.erase(host.calls.begin());
    return token;
  }
  void resume(guest_word token, const outcome& what) {
    guest_->resume(token, what);
    run();
  }
  /// The rest of the turn.
  void run() {
    while (guest_->run_ready()) {
    }
    settle();
  }
  /// The peer sends, receives and ends, all at once.
  channel_status peer_send(const any_channel& to, const value& v) {
    channel_item item;
    peer_codec codec(*this);
    if (!encode_values(item.bytes, codec, {&v, 1})) throw std::logic_error("the test's item cannot be sent");
    item.info = {interpreter_id{9}, handle_of(to)->options().orphans, false};
    aftermath after;
    const channel_status how = handle_of(to)->send(item, after);
    host.channels().space().settle(after);
    return how;
  }
  result<value> peer_receive(const any_channel& from) {
    channel_item item;
    if (!item.bytes.reserve(item_ring::inline_max)) throw std::bad_alloc();
    aftermath after;
    const channel_status how = handle_of(from)->receive(interpreter_id{9}, item, after);
    host.channels().space().settle(after);
    if (how != channel_status::done) return tl::unexpected<error>(channel_error(*handle_of(from), how));
    peer_codec codec(*this);
    return decode_values(item.bytes.reader(), codec)->front();
  }
  /// Waits on channels that were decided go on, as in the shell's turn.
  void resume_channels() {
    host.channels().take_ready([] { return true; },
                               [this](guest_word token) { guest_->resume(token, {.what = outcome::kind::channel}); });
    run();
  }
  void make_room() {
    for (const auto& [receiver, token] : std::exchange(host.rooms, {})) resume(token, {.what = outcome::kind::room});
  }
  /// Time passes, and timers go off.
  void pass(clock_type::duration how_long) {
    host.clock += how_long;
    while (!host.timers.empty() && host.timers.begin()->first <= host.clock) {
      const guest_word token = host.timers.begin()->second.second;
      host.timers.erase(host.timers.begin());
      resume(token, {.what = outcome::kind::timer});
    }
  }
  /// What the shell does at the end of the drain.
  void fail_waiting() {
    const error why{errc::runtime_finalizing, "the runtime is being finalized", {}, {}, {}, {}};
    const outcome failed{.what = outcome::kind::failed, .failure = &why};
    for (const auto& [call, token] : std::exchange(host.calls, {})) guest_->resume(token, failed);
    for (const auto& [when, timer] : std::exchange(host.timers, {})) guest_->resume(timer.second, failed);
    for (const guest_word token : host.channels().withdraw_all()) guest_->resume(token, failed);
    run();
  }

  native_results deliver_bytes(record_kind kind, invoke_op op, const value& target, std::string_view name,
                               std::string_view bytes) {
    const request_id request = request_bytes(kind, op, target, name, bytes);
    native_results r = reply(request);
    settle();
    return r;
  }
  request_id deliver_request(record_kind kind, invoke_op op, const value& target, std::string_view name,
                             const std::vector<value>& args) {
    const std::string bytes = encode(args);
    const request_id request = request_bytes(kind, op, target, name, bytes);
    run();
    return request;
  }
  request_id request_bytes(record_kind kind, invoke_op op, const value& target, std::string_view name,
                           std::string_view bytes) {
    incoming m;
    m.kind = kind;
    m.from = interpreter_id{9};
    m.request = ++requests_;
    m.op = op;
    m.name = name;
    m.args = wire_reader(bytes);
    if (kind == record_kind::invoke) {
      const auto i = target.if_reference()->as<peer_holder>()->import();
      m.target = host.receive_reference(imports_.give_target(i))->object;
    }
    guest_->deliver(m);
    return m.request;
  }

  /// An object of the peer's own, as it would pass it.
  value own_object(guest_word word) {
    return reference(std::make_shared<exported_holder>(exports_.add(word, host.type_named("gadget"))));
  }
  /// The peer's objects that others hold, and the objects of others that the peer holds.
  std::size_t held_by_native() const { return exports_.live(); }
  std::size_t held_by_peer() const { return imports_.size(); }

  /// Carries protocol words between the two until there are none, and drops what came home.
  void settle() {
    bool more = true;
    while (more) {
      more = carry(imports_, host.exports(), host.imports());
      more = carry(host.imports(), exports_, imports_) || more;
      for (const auto& [lender, id] : std::exchange(host.loans_returned, {})) imports_.on_loan_return(id, 1);
      while (const auto word = host.exports().take_due()) guest_->drop(*word);
      while (exports_.take_due()) {
      }
    }
  }

  /// What the peer does with the target of an invoke that was sent to it.
  void return_target(std::string_view invoke) {
    wire_reader in(invoke);
    in.get_u64();
    in.get_u8();
    const wire_ref target = in.get_reference();
    exports_.take_back(target.id, target.credit);
    if (target.credit == 0) host.imports().on_loan_return(target.id, 1);
  }
  /// settle() once the guest is closed: its shell sends its releases and calls it no more.
  void settle_after_close() { carry(host.imports(), exports_, imports_); }

private:
  struct peer_holder final : reference_holder {
    peer_holder(import_table& t, import_table::index i) : table(t), index(i) {}
    ~peer_holder() override { table.drop_use(index); }
    import_table::index import() const { return index; }
    bool same_object(const reference_holder& other) const noexcept override {
      const auto* o = dynamic_cast<const peer_holder*>(&other);
      return o != nullptr && o->index == index;
    }
    std::string describe() const override { return "peer's import"; }
    import_table& table;
    import_table::index index;
  };
  struct exported_holder final : reference_holder {
    explicit exported_holder(export_table::slot_index s) : slot(s) {}
    bool same_object(const reference_holder& other) const noexcept override { return this == &other; }
    std::string describe() const override { return "peer's object"; }
    export_table::slot_index slot;
  };
  struct peer_codec final : reference_codec {
    explicit peer_codec(native_pair& p) : self(p) {}
    bool put(wire_writer& out, const reference& r) override {
      if (const auto* own = r.as<exported_holder>()) {
        put_exported(out, self.exports_, own->slot);
        return true;
      }
      const auto* held = r.as<peer_holder>();
      if (held != nullptr) put_imported(out, self.imports_, held->index);
      return held != nullptr;
    }
    reference get(const wire_ref& r) override {
      if (r.id.owner == interpreter_id{9}) {
        const auto word = self.exports_.find(r.id);
        self.exports_.take_back(r.id, r.credit);
        return word ? reference(std::make_shared<exported_holder>(r.id.slot)) : reference();
      }
      return reference(std::make_shared<peer_holder>(self.imports_, self.imports_.receive(r)));
    }
    bool put_channel(wire_writer& out, const any_channel& c) override {
      return Atoll::put_channel(out, self.host.channels().space(), c);
    }
    any_channel get_channel(channel_number number) override {
      return Atoll::get_channel(self.host.channels().space(), number);
    }
    native_pair& self;
  };

  bool carry(import_table& from, export_table& owner, import_table& lender) {
    const std::vector<protocol_message> queue = from.take_words();
    for (const protocol_message& m : queue) {
      switch (m.what) {
      case protocol_message::kind::decref: owner.take_back(m.id, m.count); break;
      case protocol_message::kind::credit_request: from.on_grant(m.id, owner.grant(m.id)); break;
      case protocol_message::kind::loan_return: lender.on_loan_return(m.id, m.count); break;
      }
    }
    return !queue.empty();
  }

  std::string encode(const std::vector<value>& args) {
    wire_buffer b;
    peer_codec codec(*this);
    if (!encode_values(b, codec, args)) throw std::logic_error("the test's arguments cannot be sent");
    return std::string(b.bytes());
  }

  export_table exports_{interpreter_id{9}, {.grant = 4, .low = 1, .cap = 16}};
  import_table imports_{interpreter_id{9}, {.grant = 4, .low = 1, .cap = 16}};
  request_id requests_ = 0;
  std::unique_ptr<Atoll::guest> guest_;
};

} // namespace Atoll::testing
