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

#include "channels/type_names.hpp"
#include "guests/native/factory.hpp"
#include "guests/native/native_guest.hpp"
#include "runtime/references.hpp"
#include "tests/runtime/wire_buffer.hpp"

namespace Atoll::testing {

class native_host final : public host {
public:
  struct sent_message {
    interpreter_id to;
    record_kind kind;
    std::string body;
  };

  explicit native_host(std::size_t memory = 0) : heap_(memory) {}

  // What happened.
  std::vector<sent_message> sent;
  std::map<request_id, result<std::string>> replies;
  std::vector<std::string> logged;
  std::vector<std::pair<interpreter_id, object_id>> loans_returned;
  std::vector<std::uint64_t> closed_connections;
  std::vector<std::string> finalizer_failures;
  int finalizers = 0;
  bool has_exited = false;
  // What is to happen.
  controls wanted;
  send_status next_status = send_status::sent;
  std::size_t message_limit = std::numeric_limits<std::size_t>::max();

  interpreter_id id() const noexcept override { return interpreter_id{5}; }
  const std::string& name() const noexcept override { return name_; }
  heap& memory() noexcept override { return heap_; }
  export_table& exports() noexcept override { return exports_; }
  import_table& imports() noexcept override { return imports_; }

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
    if (next_status > send_status::crowded) return std::exchange(next_status, send_status::sent);
    open_.body = writer_->bytes();
    if (request_ != no_request)
      replies.emplace(request_, open_.body);
    else
      sent.push_back(open_);
    return send_status::sent;
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
      native_host& self;
    } visitor(*this);
    wire_reader in = writer_->reader();
    if (open_.kind == record_kind::invoke) {
      in.get_u64();
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
  type_id type_named(std::string_view type) noexcept override { return types_.id_of(type); }
  std::string_view type_name(type_id type) const noexcept override { return types_.name_of(type); }
  void close_connection(std::uint64_t connection) override { closed_connections.push_back(connection); }
  void exited() override { has_exited = true; }
  void log(log_level, std::string_view text) override { logged.emplace_back(text); }
  void count_finalizer(const error* failure) override {
    ++finalizers;
    if (failure != nullptr) finalizer_failures.push_back(failure->message);
  }

  // What native guests do not use.
  call_id open_call(guest_word) override { return 1; }
  void forget_call(call_id) override {}
  void await_room(interpreter_id, guest_word) override {}
  void give_back(wire_reader) override {}
  time_point now() const noexcept override { return {}; }
  std::uint64_t set_timer(time_point, guest_word) override { return 0; }
  void cancel_timer(std::uint64_t) override {}
  result<interpreter_id> spawn(const spawn_options&, const source&, const std::function<bool(wire_writer&)>&,
                               guest_word) override {
    return fail(errc::invalid_argument, "no spawn here");
  }
  void monitor(interpreter_id, guest_word) override {}
  void demonitor(interpreter_id, guest_word) override {}
  void interrupt(interpreter_id) override {}
  void kill(interpreter_id) override {}
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
  type_names types_;
  heap heap_;
  credit_policy policy_{.grant = 4, .low = 1, .cap = 16};
  export_table exports_{interpreter_id{5}, policy_};
  import_table imports_{interpreter_id{5}, policy_};
  sent_message open_{};
  std::unique_ptr<wire_buffer> writer_;
  request_id request_ = no_request;
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
    const std::string bytes = encode(std::vector<value>{to_value(std::forward<Args>(args))...});
    guest_->start(++requests_, {}, wire_reader(bytes));
    return take_reply();
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
  native_results deliver_bytes(record_kind kind, invoke_op op, const value& target, std::string_view name,
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
    native_results r = take_reply();
    settle();
    return r;
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

  native_results take_reply() {
    const auto at = host.replies.find(requests_);
    if (at == host.replies.end()) throw std::logic_error("a request was not answered");
    const result<std::string> reply = at->second;
    if (!reply) return tl::unexpected<error>(reply.error());
    peer_codec codec(*this);
    return decode_values(wire_reader(*reply), codec);
  }

  export_table exports_{interpreter_id{9}, {.grant = 4, .low = 1, .cap = 16}};
  import_table imports_{interpreter_id{9}, {.grant = 4, .low = 1, .cap = 16}};
  request_id requests_ = 0;
  std::unique_ptr<Atoll::guest> guest_;
};

} // namespace Atoll::testing
