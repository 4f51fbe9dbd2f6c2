// Channels in coroutines of native interpreters: their ends first. The peer is interpreter 9; nothing has a thread.
#include <doctest/doctest.h>

#include <stdexcept>

#include "tests/guests/native_host.hpp"

namespace {

struct thing {};

/// Its form as a value may refuse to be one.
struct moody {
  int mood = 0;
};

} // namespace

template <>
struct Atoll::value_traits<moody> {
  static std::string name() { return "mood"; }
  static result<moody> from(const value& v) {
    const auto n = value_cast<int>(v);
    if (n && *n < 0) throw std::runtime_error("a bad mood");
    return n.map([](int x) { return moody{x}; });
  }
  static value to(moody m) { return m.mood; }
};

using namespace Atoll;
using namespace std::chrono_literals;
using Atoll::testing::failure;
using Atoll::testing::native_pair;
using Atoll::testing::one;

namespace {

using micros = std::optional<int>;
using any_items = channel<value>;

/// What became of it: "ok", or the error's code.
template <class T>
std::string told(const result<T>& r) {
  return name_of(r ? errc::ok : r.error().code);
}

template <class Operation>
awaited<Operation>& limited(awaited<Operation>& op, micros limit) {
  if (limit) op.within(std::chrono::microseconds(*limit));
  return op;
}

native_interface functions() {
  native_interface f;
  f.add(native_class<thing>("thing").constructor<>());
  f.function("send", [](native_context& c, any_items to, value v, micros limit) -> native_task<std::string> {
    auto sending = c.send(to, v);
    v = {};
    co_return told(co_await limited(sending, limit));
  });
  f.function("recv", [](native_context& c, any_items from, micros limit) -> native_task<result<value>> {
    auto receiving = c.recv(from);
    co_return co_await limited(receiving, limit);
  });
  f.function("recv_int",
             [](native_context& c, channel<int> from) -> native_task<result<int>> { co_return co_await c.recv(from); });
  f.function("recv_moody", [](native_context& c, channel<moody> from, micros limit) -> native_task<result<moody>> {
    auto receiving = c.recv(from);
    co_return co_await limited(receiving, limit);
  });
  f.function("try_send", [](native_context& c, const any_items& to, const value& v) { return c.try_send(to, v); });
  f.function("try_recv", [](native_context& c, const any_items& from) { return c.try_recv(from); });
  f.function("block", [](const any_items& c) { return c.recv(); });
  f.function("forget", [](native_context& c, any_items from, any_items to, value v) -> native_task<> {
    const auto receiving = c.recv(from);
    const auto sending = c.send(to, v);
    co_return;
  });
  f.function("own", [](native_context& c, channel<handle<thing>> through) -> native_task<bool> {
    const handle<thing> mine = c.make<thing>();
    if (!co_await c.send(through, mine)) co_return false;
    co_return (co_await c.recv(through)).value() == mine;
  });
  // "CASE TOLD ITEM"
  f.function("select",
             [](native_context& c, std::optional<any_items> from, std::optional<any_items> to, value v,
                micros limit) -> native_task<std::tuple<std::optional<std::size_t>, std::string, value>> {
               selection s;
               s.receive(from.value_or(any_items()));
               s.send(to.value_or(any_items()), v);
               v = {};
               auto selecting = c.select(s);
               const result<std::size_t> which = co_await limited(selecting, limit);
               co_return std::tuple(s.chosen(), told(which), s.received<value>().value());
             });
  f.function("make", [](native_context& c) { return c.make_channel<int>({.capacity = 3}); });
  f.function("send_to_be_removed", [](native_context& c, any_items to, value v) -> native_task<std::string> {
    co_return told(co_await c.send(to, v, orphan_policy::remove));
  });
  f.function("release", [](native_context& c, const any_items& used) { c.release(used); });
  f.function("close", [](const any_items& c) { return c.close(); });
  f.function("destroy", [](const any_items& c) { return c.destroy(); });
  f.function("is_there", [](std::optional<any_items> c) { return c.has_value(); });
  f.function("same", [](const any_items& a, const any_items& b) { return a == b; });
  return f;
}

/// The pair, and the channels of its test.
struct stage {
  native_pair p{functions()};

  any_items make(channel_options options = {}) {
    return any_items(value_of(p.host.channels().space().make(std::move(options)).value()));
  }
  any_items make(std::size_t capacity, full_policy full = full_policy::block) {
    channel_options options;
    options.capacity = capacity;
    options.full = full;
    return make(std::move(options));
  }
  channel_status peer_sends(const any_items& c, const value& v) { return p.peer_send(c.untyped(), v); }
  result<value> peer_receives(const any_items& c) { return p.peer_receive(c.untyped()); }
  std::size_t waits() { return p.host.channels().waits(); }
  /// Nothing of a wait is left, anywhere.
  bool idle(const any_items& c) {
    return waits() == 0 && p.host.timers.empty() && c.figures().senders_waiting == 0
           && c.figures().receivers_waiting == 0;
  }
  /// Nobody holds anything of the other's.
  bool even() {
    p.settle();
    return p.host.imports().size() == 0 && p.held_by_peer() == 0 && p.held_by_native() == 0;
  }
};

using chosen = std::vector<value>;

} // namespace

// -- the end of the interpreter, and of the wait -----------------------------------------------------------------------

TEST_CASE("native channels: the end of the interpreter takes its waits out of their channels, and gives items back") {
  for (const bool killed : {false, true}) {
    stage s;
    const any_items empty = s.make(), full = s.make(1), other = s.make(0);
    s.peer_sends(full, 1);
    const request_id all[] = {
        s.p.begin("recv", empty), s.p.begin("recv", empty, 500), s.p.begin("send", full, s.p.own_object(1)),
        s.p.begin("send", other, s.p.own_object(2), 500), s.p.begin("select", empty, full, s.p.own_object(3))};
    for (const request_id r : all) CHECK_FALSE(s.p.answered(r));
    CHECK(s.waits() == 5);
    CHECK(empty.figures().receivers_waiting == 3);
    CHECK(full.figures().senders_waiting == 2);
    if (killed) s.p.guest().interrupt(errc::killed);
    s.p.guest().close();
    CHECK(s.idle(empty));
    CHECK(s.idle(full));
    CHECK(s.idle(other));
    s.p.settle_after_close();
    CHECK(s.p.host.imports().size() == 0);
    CHECK(s.p.held_by_native() == 0);
    CHECK(s.p.host.memory().bytes_in_use() == 0);
    CHECK(s.peer_receives(full) == value(1));
    CHECK(told(s.peer_receives(full)) == "timeout");
    CHECK(s.peer_sends(empty, 2) == channel_status::done);
    CHECK(empty.size() == 1);
  }
}

TEST_CASE("native channels: what was received for one who ended before it saw it goes to the heir") {
  stage s;
  const any_items heir = s.make();
  channel_options options;
  options.undelivered = handle_of(heir.untyped());
  const any_items c = s.make(std::move(options));
  s.p.begin("recv", c);
  s.peer_sends(c, 7);
  CHECK(c.size() == 0);
  s.p.guest().close();
  CHECK(s.peer_receives(heir) == value(7));
  CHECK(s.idle(c));
}

TEST_CASE("native channels: an operation that nobody awaits is taken back") {
  stage s;
  const any_items empty = s.make(), full = s.make(1);
  s.peer_sends(full, 1);
  CHECK(s.p.call("forget", empty, full, s.p.own_object(1)).has_value());
  CHECK(s.idle(empty));
  CHECK(s.idle(full));
  CHECK(s.even());
  s.peer_sends(empty, 5);
  CHECK(empty.size() == 1);
}

TEST_CASE("native channels: an interrupt ends a wait, and what is sent to the channel later stays there") {
  stage s;
  const any_items empty = s.make(), full = s.make(1);
  s.peer_sends(full, 1);
  const request_id receives = s.p.begin("recv", empty, 500);
  const request_id sends = s.p.begin("send", full, s.p.own_object(1));
  s.p.guest().interrupt(errc::interrupted);
  s.p.run();
  const error why = failure(s.p.reply(receives));
  CHECK(why.code == errc::interrupted);
  CHECK(why.message.find("channel " + std::to_string(empty.number())) != std::string::npos);
  CHECK(one(s.p.reply(sends)) == value("interrupted"));
  CHECK(s.idle(empty));
  CHECK(s.idle(full));
  s.peer_sends(empty, 2);
  CHECK(empty.size() == 1);
  CHECK(full.size() == 1);
  CHECK(s.even());
}

TEST_CASE(
    "native channels: an interrupt behind the decision: what was received is undelivered, its references go home") {
  stage s;
  const any_items c = s.make();
  const request_id r = s.p.begin("recv", c);
  s.peer_sends(c, s.p.own_object(1));
  CHECK(s.p.held_by_native() == 1);
  s.p.guest().interrupt(errc::interrupted);
  s.p.run();
  s.p.resume_channels(); // finds nobody
  CHECK(failure(s.p.reply(r)).code == errc::interrupted);
  CHECK(s.idle(c));
  CHECK(c.size() == 0);
}

TEST_CASE("native channels: the finalization fails what waits, once each, but what was decided counts") {
  stage s;
  const any_items empty = s.make(), full = s.make(1), decided = s.make();
  s.peer_sends(full, 1);
  const request_id receives = s.p.begin("recv", empty);
  const request_id bounded = s.p.begin("recv", empty, 500);
  const request_id sends = s.p.begin("send", full, s.p.own_object(1));
  const request_id has = s.p.begin("recv", decided, 500);
  const request_id selects = s.p.begin("select", empty, full, 5);
  s.peer_sends(decided, 3);
  s.p.fail_waiting();
  s.p.resume_channels();
  CHECK(failure(s.p.reply(receives)).code == errc::runtime_finalizing);
  CHECK(failure(s.p.reply(bounded)).code == errc::runtime_finalizing);
  CHECK(one(s.p.reply(sends)) == value("runtime_finalizing"));
  CHECK(one(s.p.reply(has)) == value(3));
  CHECK(*s.p.reply(selects) == chosen{{}, "runtime_finalizing", {}});
  CHECK(s.idle(empty));
  CHECK(s.idle(full));
  CHECK(s.even());
  CHECK(s.p.guest().tasks() == 0);
}

// -- deadlines ---------------------------------------------------------------------------------------------------------

TEST_CASE("native channels: past its deadline a receive fails with timeout, and takes nothing any more") {
  stage s;
  const any_items c = s.make();
  const request_id r = s.p.begin("recv", c, 500);
  s.p.pass(499us);
  CHECK_FALSE(s.p.answered(r));
  s.p.pass(1us);
  CHECK(failure(s.p.reply(r)).code == errc::timeout);
  CHECK(s.idle(c));
  s.peer_sends(c, 1);
  CHECK(c.size() == 1);
}

TEST_CASE("native channels: past its deadline a send withdraws its item, with what it carries") {
  stage s;
  const any_items c = s.make(1);
  s.peer_sends(c, 1);
  const request_id r = s.p.begin("send", c, s.p.own_object(1), 500);
  s.p.pass(500us);
  CHECK(one(s.p.reply(r)) == value("timeout"));
  CHECK(s.idle(c));
  CHECK(s.peer_receives(c) == value(1));
  CHECK(told(s.peer_receives(c)) == "timeout");
  CHECK(s.even());
}

TEST_CASE("native channels: a deadline at the moment of the decision: the decision counts, whoever comes first") {
  for (const bool timer_first : {true, false}) {
    stage s;
    const any_items items = s.make(), full = s.make(1);
    s.peer_sends(full, 1);
    const request_id receives = s.p.begin("recv", items, 500);
    const request_id sends = s.p.begin("send", full, 2, 500);
    const request_id selects = s.p.begin("select", items, full, 3, 500);
    s.peer_sends(items, 10); // for receives
    s.peer_sends(items, 11); // for selects
    CHECK(s.peer_receives(full) == value(1));
    if (timer_first) s.p.pass(500us);
    s.p.host.clock += timer_first ? 0us : 500us;
    s.p.resume_channels();
    CHECK(one(s.p.reply(receives)) == value(10));
    CHECK(one(s.p.reply(sends)) == value("ok"));
    CHECK(*s.p.reply(selects) == chosen{0, "ok", 11});
    CHECK(s.peer_receives(full) == value(2));
    CHECK(full.size() == 0);
    CHECK(s.idle(items));
    CHECK(s.idle(full));
  }
}

// -- closing -----------------------------------------------------------------------------------------------------------

TEST_CASE("native channels: closing wakes who waits to receive and who waits to send, whose item comes back") {
  for (const char* how : {"close", "destroy"}) {
    stage s;
    const any_items empty = s.make(), full = s.make(1);
    s.peer_sends(full, s.p.own_object(1));
    const request_id receives = s.p.begin("recv", empty);
    const request_id sends = s.p.begin("send", full, s.p.own_object(2));
    CHECK(s.p.call(how, empty).has_value());
    CHECK(s.p.call(how, full).has_value());
    s.p.resume_channels();
    const error why = failure(s.p.reply(receives));
    CHECK(why.code == errc::channel_closed);
    CHECK(why.message == "channel " + std::to_string(empty.number()) + ": it is closed");
    CHECK(one(s.p.reply(sends)) == value("channel_closed"));
    CHECK(failure(s.p.call(how, full)).code == errc::channel_closed); // the second time
    CHECK(failure(s.p.call("close", full)).code == errc::channel_closed);
    if (how == std::string("close")) {
      CHECK(s.p.call("recv", full).has_value()); // what is there can be received
      CHECK(failure(s.p.call("recv", full)).code == errc::channel_closed);
    }
    CHECK(one(s.p.call("send", full, 1)) == value("channel_closed"));
    CHECK(s.p.host.imports().size() == 0);
  }
}

// -- what cannot be ----------------------------------------------------------------------------------------------------

TEST_CASE("native channels: an item of another type is an error of the one who receives it, and gone") {
  stage s;
  const any_items c = s.make();
  s.peer_sends(c, "text");
  const error why = failure(s.p.call("recv_int", c));
  CHECK(why.code == errc::invalid_argument);
  CHECK(why.message.find("an item of the channel: wanted integer") != std::string::npos);
  CHECK(c.size() == 0);
  const request_id waits = s.p.begin("recv_int", c);
  s.peer_sends(c, "text");
  s.p.resume_channels();
  CHECK(failure(s.p.reply(waits)).code == errc::invalid_argument);
}

TEST_CASE("native channels: a conversion that throws is an error, also at the deadline") {
  stage s;
  const any_items c = s.make();
  s.peer_sends(c, -1);
  CHECK(failure(s.p.call("recv_moody", c)).message == "a bad mood");
  const request_id r = s.p.begin("recv_moody", c, 500);
  s.peer_sends(c, -1);
  s.p.pass(500us);
  CHECK(failure(s.p.reply(r)).message == "a bad mood");
}

TEST_CASE("native channels: what cannot cross is refused by its path, and what was written before it goes back") {
  struct strange final : reference_holder {
    bool same_object(const reference_holder&) const noexcept override { return false; }
    std::string describe() const override { return "something else"; }
  };
  native_interface f = functions();
  f.function("send_strange",
             [](native_context& c, any_items to, value v, bool tries, bool selects) -> native_task<result<void>> {
               table t;
               t.append(v);
               t.append(to.untyped());
               t.append(reference(std::make_shared<strange>()));
               if (tries) co_return c.try_send(to, t);
               if (!selects) co_return co_await c.send(to, t);
               selection s;
               s.send(to, v);
               s.send(to, t);
               const result<std::size_t> which = co_await c.select(s);
               if (!which) co_return tl::unexpected<error>(which.error());
               co_return result<void>();
             });
  native_pair p(std::move(f));
  {
    const any_items c(value_of(p.host.channels().space().make({}).value()));
    for (const auto& [tries, selects] : {std::pair(false, false), {true, false}, {false, true}}) {
      const error why = failure(p.call("send_strange", c, p.own_object(1), tries, selects));
      CHECK(why.code == errc::not_shareable);
      CHECK(why.message.find("[3]") != std::string::npos);
      CHECK(c.size() == 0);
      p.settle();
      CHECK(p.host.imports().size() == 0);
      CHECK(p.held_by_native() == 0);
    }
  }
  CHECK(p.host.channels().space().size() == 0); // the handle in the item was let go of
}

TEST_CASE("native channels: an empty handle and a channel of another runtime are refused") {
  stage other;
  const any_items foreign = other.make();
  native_interface f;
  const any_items none;
  result<void> sent, tried;
  result<value> got;
  result<std::size_t> selected;
  const any_items* which = nullptr;
  f.function("all", [&](native_context& c, any_items own) -> native_task<> {
    sent = co_await c.send(*which, 1);
    tried = c.try_send(*which, 1);
    got = co_await c.recv(*which);
    selection s;
    s.send(own, 5);
    s.receive(*which);
    selected = co_await c.select(s);
  });
  native_pair p(std::move(f));
  const any_items own(value_of(p.host.channels().space().make({}).value()));
  which = &none;
  REQUIRE(p.call("all", own).has_value());
  CHECK(told(sent) == "invalid_argument");
  CHECK(told(tried) == "invalid_argument");
  CHECK(told(got) == "invalid_argument");
  CHECK(selected == 0); // a disabled case
  CHECK(own.size() == 1);
  which = &foreign;
  REQUIRE(p.call("all", own).has_value());
  CHECK(told(sent) == "not_shareable");
  CHECK(sent.error().message == "channel " + std::to_string(foreign.number()) + " is another runtime's");
  CHECK(told(tried) == "not_shareable");
  CHECK(told(got) == "not_shareable");
  CHECK(told(selected) == "not_shareable");
  CHECK(own.size() == 1);
  CHECK(foreign.size() == 0);
  CHECK(foreign.ends().senders.empty());
  CHECK(foreign.number() == own.number());
  CHECK_FALSE(foreign == own); // numbers are a runtime's own
  CHECK_FALSE(value(foreign.untyped()) == value(own.untyped()));
}

TEST_CASE("native channels: a turn does not block") {
  stage s;
  const any_items c = s.make();
  const error why = failure(s.p.call("block", c));
  CHECK(why.code == errc::invalid_argument);
  CHECK(why.message.find("co_await") != std::string::npos);
}

// -- full, and orphans -------------------------------------------------------------------------------------------------

TEST_CASE("native channels: without room each policy has its answer, and what was not sent comes back") {
  const std::pair<full_policy, const char*> all[] = {{full_policy::fail, "channel_full"},
                                                     {full_policy::drop_newest, "channel_full"},
                                                     {full_policy::drop_oldest, "ok"}};
  for (const auto& [policy, answer] : all) {
    stage s;
    const any_items c = s.make(1, policy);
    s.peer_sends(c, 1);
    CHECK(one(s.p.call("send", c, s.p.own_object(1))) == value(answer));
    CHECK(s.idle(c));
    if (policy != full_policy::drop_oldest) {
      CHECK(s.peer_receives(c) == value(1));
      CHECK(s.even());
    } else {
      CHECK(s.peer_receives(c)->if_reference() != nullptr);
      CHECK(c.figures().dropped == 1);
    }
  }
}

TEST_CASE("native channels: an orphan that is an error says whose it was, once, and takes its references home") {
  stage s;
  channel_options options;
  options.orphans = orphan_policy::error;
  options.stay_open = true;
  const any_items c = s.make(std::move(options));
  for (const char* how : {"recv", "try_recv", "select"}) {
    s.peer_sends(c, s.p.own_object(1));
    aftermath after;
    handle_of(c.untyped())->leave(interpreter_id{9}, after);
    s.p.host.channels().space().settle(after);
    s.peer_sends(c, 2);
    if (how == std::string("select")) {
      CHECK(*s.p.call(how, c, any_items(), 5) == chosen{0, "interpreter_gone", {}});
    } else {
      const error why = failure(s.p.call(how, c));
      CHECK(why.code == errc::interpreter_gone);
      CHECK(why.message.find("interpreter 9 is gone") != std::string::npos);
    }
    CHECK(one(s.p.call("recv", c)) == value(2));
    CHECK(s.even());
  }
}

TEST_CASE("native channels: an item may have an orphan policy of its own, sent at once or after a wait") {
  stage s;
  channel_options options;
  options.capacity = 2;
  options.stay_open = true;
  const any_items c = s.make(std::move(options));
  CHECK(one(s.p.call("send", c, 1)) == value("ok"));
  CHECK(one(s.p.call("send_to_be_removed", c, 2)) == value("ok"));
  aftermath after;
  handle_of(c.untyped())->leave(s.p.host.id(), after);
  s.p.host.channels().space().settle(after);
  CHECK(c.size() == 1);
  CHECK(c.figures().orphaned == 1);
  CHECK(s.peer_receives(c) == value(1));
}

TEST_CASE("native channels: who releases a channel is no end of it until it uses it again") {
  stage s;
  channel_options options;
  options.stay_open = true;
  const any_items c = s.make(std::move(options));
  CHECK(one(s.p.call("send", c, 1)) == value("ok"));
  CHECK(one(s.p.call("recv", c)) == value(1));
  CHECK(c.ends().senders == std::vector{s.p.host.id()});
  CHECK(c.ends().receivers == std::vector{s.p.host.id()});
  CHECK(s.p.call("release", c));
  CHECK(c.ends().senders.empty());
  CHECK(c.ends().receivers.empty());
  CHECK(one(s.p.call("send", c, 2)) == value("ok"));
  CHECK(c.ends().senders == std::vector{s.p.host.id()});
}

// -- sending and receiving ---------------------------------------------------------------------------------------------

TEST_CASE("native channels: what can be done at once is, without a wait") {
  stage s;
  const any_items c = s.make();
  CHECK(one(s.p.call("send", c, 1)) == value("ok"));
  CHECK(one(s.p.call("send", c, "two", 500)) == value("ok"));
  CHECK(s.p.call("try_send", c, 3).has_value());
  CHECK(s.peer_receives(c) == value(1));
  CHECK(one(s.p.call("recv", c)) == value("two"));
  CHECK(one(s.p.call("try_recv", c)) == value(3));
  CHECK(failure(s.p.call("try_recv", c)).code == errc::timeout);
  CHECK(s.idle(c));
  CHECK(c.ends().senders == std::vector{interpreter_id{5}});
  CHECK(c.ends().receivers == std::vector{interpreter_id{5}, interpreter_id{9}});
}

TEST_CASE("native channels: an attempt without room fails at once, and its item comes back") {
  stage s;
  const any_items c = s.make(1);
  s.peer_sends(c, 1);
  CHECK(failure(s.p.call("try_send", c, s.p.own_object(1))).code == errc::timeout);
  CHECK(s.even());
  CHECK(c.size() == 1);
}

TEST_CASE("native channels: who waits goes on with the item that comes, others wait on") {
  stage s;
  const any_items c = s.make();
  const request_id first = s.p.begin("recv", c), second = s.p.begin("recv", c);
  s.peer_sends(c, 1);
  CHECK_FALSE(s.p.answered(first)); // only in its turn
  s.p.resume_channels();
  CHECK(one(s.p.reply(first)) == value(1));
  CHECK_FALSE(s.p.answered(second));
  CHECK(one(s.p.call("send", c, 2)) == value("ok"));
  s.p.host.channels().flush(); // the end of the turn
  s.p.resume_channels();
  CHECK(one(s.p.reply(second)) == value(2));
  CHECK(s.idle(c));
}

TEST_CASE("native channels: who waits for room goes on when there is some, in order") {
  stage s;
  const any_items c = s.make(1);
  s.peer_sends(c, 1);
  const request_id second = s.p.begin("send", c, 2), third = s.p.begin("send", c, 3);
  CHECK(s.peer_receives(c) == value(1));
  s.p.resume_channels();
  CHECK(one(s.p.reply(second)) == value("ok"));
  CHECK_FALSE(s.p.answered(third));
  CHECK(s.peer_receives(c) == value(2));
  CHECK(s.peer_receives(c) == value(3));
  s.p.resume_channels();
  CHECK(one(s.p.reply(third)) == value("ok"));
}

TEST_CASE("native channels: a rendezvous waits for the other side, whichever comes first") {
  stage s;
  const any_items c = s.make(0);
  const request_id sends = s.p.begin("send", c, 1);
  CHECK_FALSE(s.p.answered(sends));
  CHECK(s.peer_receives(c) == value(1));
  s.p.resume_channels();
  CHECK(one(s.p.reply(sends)) == value("ok"));
  const request_id receives = s.p.begin("recv", c);
  CHECK(s.peer_sends(c, 2) == channel_status::done);
  s.p.resume_channels();
  CHECK(one(s.p.reply(receives)) == value(2));
  CHECK(s.peer_sends(c, 3) == channel_status::full);
}

TEST_CASE("native channels: references cross both ways, are held while they are in the channel, and let go of after") {
  stage s;
  const any_items c = s.make();
  s.peer_sends(c, s.p.own_object(1));
  CHECK(s.p.held_by_native() == 1);
  {
    const value back = one(s.p.call("recv", c)); // the peer's own, home again
    CHECK(back.if_reference() != nullptr);
  }
  CHECK(s.even());
  CHECK(one(s.p.call("own", c)) == value(true));
  CHECK(s.p.objects().live() == 0);
  {
    const value object = one(s.p.call("thing"));
    CHECK(one(s.p.call("send", c, object)) == value("ok"));
  }
  s.p.settle();
  CHECK(s.p.objects().live() == 1); // the item holds it
  CHECK(s.p.call("destroy", c).has_value());
}

TEST_CASE("native channels: a channel is a value: in items, arguments and results, and ends with its last handle") {
  stage s;
  channel_space& space = s.p.host.channels().space();
  {
    const any_items outer = s.make(), inner = s.make();
    CHECK(one(s.p.call("send", outer, inner)) == value("ok"));
    const result<value> got = s.peer_receives(outer);
    REQUIRE(got.has_value());
    CHECK(value_cast<any_items>(*got).value() == inner);
    CHECK_FALSE(value_cast<any_items>(*got).value() == outer);
    CHECK(one(s.p.call("same", inner, inner)) == value(true));
    CHECK(one(s.p.call("same", inner, outer)) == value(false));
    CHECK(one(s.p.call("is_there", any_items())) == value(false));
    const auto made = value_cast<channel<int>>(one(s.p.call("make")));
    REQUIRE(made.has_value());
    CHECK(made->number() > inner.number());
    CHECK(handle_of(made->untyped())->options().capacity == 3);
    CHECK(told(value_cast<channel<int>>(value(1))) == "invalid_argument");
    CHECK(std::hash<any_items>()(inner) == std::hash<any_items>()(value_cast<any_items>(*got).value()));
  }
  CHECK(space.size() == 0);
}

TEST_CASE("native channels: who waits for a channel that loses its last handle is told that it is closed") {
  native_interface f = functions();
  f.function("recv_last", [](native_context& c) -> native_task<std::string> {
    std::optional<any_items> mine = c.make_channel().value();
    auto receiving = c.recv(*mine);
    mine.reset();
    co_return told(co_await receiving);
  });
  native_pair p(std::move(f));
  const request_id r = p.begin("recv_last");
  p.resume_channels();
  CHECK(one(p.reply(r)) == value("channel_closed"));
}

// -- the first of several ----------------------------------------------------------------------------------------------

TEST_CASE("native channels: of several that are possible one happens, each as often, and no other") {
  stage s;
  const any_items a = s.make(), b = s.make(1);
  int received = 0;
  for (int i = 0; i < 400; ++i) {
    s.peer_sends(a, i);
    const auto r = s.p.call("select", a, b, s.p.own_object(1));
    REQUIRE(r.has_value());
    const bool first = r->front() == value(0);
    received += first ? 1 : 0;
    CHECK(a.size() == (first ? 0 : 1));
    CHECK(b.size() == (first ? 0 : 1));
    CHECK(r->at(2) == (first ? value(i) : value()));
    (void)s.peer_receives(first ? b : a);
    (void)s.peer_receives(b);
    CHECK(s.waits() == 0);
  }
  CHECK(received > 120);
  CHECK(received < 280);
  CHECK(s.even());
}

TEST_CASE("native channels: the first that becomes possible ends a selection, the others are left as they were") {
  stage s;
  const any_items a = s.make(), b = s.make(0);
  const request_id first = s.p.begin("select", a, b, s.p.own_object(1));
  const request_id second = s.p.begin("select", a, b, 6);
  s.peer_sends(a, 1);
  s.p.resume_channels();
  CHECK(*s.p.reply(first) == chosen{0, "ok", 1});
  CHECK_FALSE(s.p.answered(second));
  CHECK(s.even());
  CHECK(s.peer_receives(b) == value(6));
  s.p.resume_channels();
  CHECK(*s.p.reply(second) == chosen{1, "ok", {}});
  CHECK(s.idle(a));
  CHECK(s.idle(b));
}

TEST_CASE("native channels: a selection ends by its deadline, an interrupt, or the closing of one of its channels") {
  stage s;
  const any_items a = s.make(), b = s.make(0);
  const request_id late = s.p.begin("select", a, b, s.p.own_object(1), 500);
  s.p.pass(500us);
  CHECK(*s.p.reply(late) == chosen{{}, "timeout", {}});
  const request_id broken = s.p.begin("select", a, b, s.p.own_object(1));
  s.p.guest().interrupt(errc::interrupted);
  s.p.run();
  CHECK(*s.p.reply(broken) == chosen{{}, "interrupted", {}});
  CHECK(s.idle(a));
  CHECK(s.idle(b));
  const request_id closed = s.p.begin("select", a, b, s.p.own_object(1));
  CHECK(b.close().has_value());
  s.p.resume_channels();
  CHECK(*s.p.reply(closed) == chosen{1, "channel_closed", {}});
  CHECK(*s.p.call("select", a, b, s.p.own_object(1)) == chosen{1, "channel_closed", {}});
  CHECK(s.idle(a));
  CHECK(s.even());
}

TEST_CASE("native channels: disabled cases are passed over, a selection of nothing else is a mistake") {
  stage s;
  const any_items a = s.make(), none;
  CHECK(*s.p.call("select", none, a, 5) == chosen{1, "ok", {}});
  CHECK(*s.p.call("select", a, none, 5) == chosen{0, "ok", 5});
  CHECK(*s.p.call("select", none, none, 5) == chosen{{}, "invalid_argument", {}});
}

TEST_CASE("native channels: both ends of one channel in a selection") {
  stage s;
  const any_items c = s.make(0);
  const request_id r = s.p.begin("select", c, c, 5); // does not meet itself
  CHECK_FALSE(s.p.answered(r));
  const request_id other = s.p.begin("recv", c);
  s.p.host.channels().flush();
  s.p.resume_channels();
  CHECK(*s.p.reply(r) == chosen{1, "ok", {}});
  CHECK(one(s.p.reply(other)) == value(5));
  CHECK(s.idle(c));
}
