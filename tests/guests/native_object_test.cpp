// Objects of a native interpreter, held by another one.
#include <doctest/doctest.h>

#include <stdexcept>

#include "tests/guests/native_host.hpp"

using namespace Atoll;
using Atoll::testing::failure;
using Atoll::testing::native_pair;
using Atoll::testing::one;

namespace {

int accounts_alive = 0;

struct account {
  explicit account(std::string n) : owner(std::move(n)) { ++accounts_alive; }
  ~account() { --accounts_alive; }
  account(const account&) = delete;
  account& operator=(const account&) = delete;

  int deposit(int amount) {
    if (amount < 0) throw std::invalid_argument("a deposit is not negative");
    return balance += amount;
  }
  int current() const noexcept { return balance; }
  /// Another account of this interpreter.
  void pay(const handle<account>& to, int amount) {
    balance -= amount;
    to->balance += amount;
  }
  handle<account> open_child(native_context& c, const std::string& name) {
    child = c.make<account>(name);
    return child;
  }
  void watch(foreign_ref who) { watcher = std::move(who); }
  foreign_ref watched_by() const { return watcher; }
  result<void> notify(native_context& c) { return c.send(watcher, "changed", owner, balance); }

  std::string owner;
  int balance = 0;
  handle<account> child;
  foreign_ref watcher;
};

struct ledger {};

native_interface bank() {
  native_interface b;
  b.add(native_class<account>("account")
            .constructor<std::string>()
            .method("deposit", &account::deposit)
            .method("current", &account::current)
            .method("pay", &account::pay)
            .method("open_child", &account::open_child)
            .method("watch", &account::watch)
            .method("watched_by", &account::watched_by)
            .method("notify", &account::notify)
            .method("rename", [](account& a, std::string name) { a.owner = std::move(name); })
            .property("owner", &account::owner)
            .getter("balance", &account::current)
            .apply([](account& a, int times) { return a.balance * times; }));
  b.add(native_class<ledger>("ledger").constructor<>());
  b.function("same", [](const handle<account>& a, const handle<account>& c) { return a == c; });
  b.function("pair", [](native_context& c) {
    handle<account> a = c.make<account>("pair");
    return std::tuple<handle<account>, handle<account>>(a, a);
  });
  b.function("hidden", [](native_context& c) { return c.make<double>(1.5); });
  return b;
}

} // namespace

TEST_CASE("native: an object made for a caller lives until the caller lets go of it") {
  native_pair p(bank());
  {
    const value alice = one(p.call("account", "alice"));
    CHECK(alice.type() == value::kind::reference);
    CHECK(p.objects().live() == 1);
    CHECK(p.host.exports().live() == 1);
    CHECK(one(p.method(alice, "deposit", 10)) == value(10));
    CHECK(one(p.method(alice, "deposit", 5)) == value(15));
    CHECK(one(p.method(alice, "current")) == value(15));
  }
  CHECK(accounts_alive == 1);
  p.settle();
  CHECK(accounts_alive == 0);
  CHECK(p.host.exports().live() == 0);
  CHECK(p.host.memory().bytes_in_use() == 0);
}

TEST_CASE("native: thousands of calls on one object never exhaust its credit") {
  native_pair p(bank());
  const value a = one(p.call("account", "a"));
  for (int i = 1; i <= 3000; ++i) REQUIRE(one(p.method(a, "deposit", 1)) == value(i));
}

TEST_CASE("native: an object that comes home is the object itself") {
  native_pair p(bank());
  value a = one(p.call("account", "a"));
  value b = one(p.call("account", "b"));
  CHECK(one(p.call("same", a, a)) == value(true));
  CHECK(one(p.call("same", a, b)) == value(false));
  CHECK(p.method(a, "pay", b, 7));
  CHECK(one(p.method(b, "current")) == value(7));
  a = b = value();
  p.settle();
  CHECK(accounts_alive == 0);
}

TEST_CASE("native: one object in two results is exported once") {
  native_pair p(bank());
  {
    const native_results both = p.call("pair");
    REQUIRE(both);
    REQUIRE(both->size() == 2);
    CHECK((*both)[0] == (*both)[1]);
    CHECK(p.host.exports().live() == 1);
  }
  p.settle();
  CHECK(accounts_alive == 0);
}

TEST_CASE("native: methods may return objects, which other objects keep too") {
  native_pair p(bank());
  value parent = one(p.call("account", "parent"));
  {
    const value child = one(p.method(parent, "open_child", "child"));
    CHECK(one(p.method(child, "deposit", 3)) == value(3));
  }
  p.settle();
  CHECK(accounts_alive == 2);
  CHECK(p.host.exports().live() == 1);
  parent = value();
  p.settle();
  CHECK(accounts_alive == 0);
}

TEST_CASE("native: get, set and apply") {
  native_pair p(bank());
  const value a = one(p.call("account", "a"));
  CHECK(one(p.invoke(invoke_op::get, a, "owner", "owner")) == value("a"));
  CHECK(p.invoke(invoke_op::set, a, "owner", "owner", "b")->empty());
  CHECK(one(p.invoke(invoke_op::get, a, "", "owner")) == value("b"));
  CHECK(p.method(a, "rename", "c"));
  CHECK(one(p.invoke(invoke_op::get, a, "owner", "owner")) == value("c"));
  CHECK(p.method(a, "deposit", 4));
  CHECK(one(p.invoke(invoke_op::apply, a, "", 3)) == value(12));

  CHECK(failure(p.invoke(invoke_op::get, a, "x", "x")).message
        == "account 0 of interpreter 5 'accounts' has no property \"x\"; it has balance, owner");
  CHECK(failure(p.invoke(invoke_op::set, a, "balance", "balance", 1)).message.find("no writable property \"balance\"")
        != std::string::npos);
  CHECK(failure(p.invoke(invoke_op::get, a, "")).code == errc::unknown_function);
  CHECK(failure(p.invoke(invoke_op::set, a, "owner", "owner", 5)).code == errc::invalid_argument);
  const value l = one(p.call("ledger"));
  CHECK(failure(p.invoke(invoke_op::apply, l, "")).message == "ledger 1 of interpreter 5 'accounts' cannot be called");
}

TEST_CASE("native: unknown methods are named, wrong classes and thrown errors too") {
  native_pair p(bank());
  const value a = one(p.call("account", "a"));
  const value l = one(p.call("ledger"));
  const error unknown = failure(p.method(a, "withdraw", 1));
  CHECK(unknown.code == errc::unknown_function);
  CHECK(
      unknown.message.find("account 0 of interpreter 5 'accounts' has no method \"withdraw\"; it has current, deposit")
      == 0);
  CHECK(failure(p.method(l, "x")).message == "ledger 1 of interpreter 5 'accounts' has no method \"x\"");
  CHECK(failure(p.method(one(p.call("hidden")), "x")).message
        == "object 2 of interpreter 5 'accounts' has no method \"x\"");
  CHECK(failure(p.method(a, "pay", l, 1)).message == "pay: value 1: wanted account, got reference <ledger>");
  // What is somebody else's tells its owner and type, without asking there.
  CHECK(failure(p.method(a, "pay", p.own_object(5), 1)).message
        == "pay: value 1: wanted object of this interpreter, got reference <reference to gadget 0 of interpreter 9>");
  CHECK(failure(p.method(a, "deposit", -1)).code == errc::guest_error);
  CHECK(failure(p.method(a, "deposit", -1)).message == "a deposit is not negative");
}

TEST_CASE("native: a foreign reference is one use, kept while an object keeps it") {
  native_pair p(bank());
  value a = one(p.call("account", "a"));
  {
    const value theirs = p.own_object(77);
    CHECK(p.method(a, "watch", theirs));
    CHECK(p.held_by_native() == 1);
    CHECK(failure(p.method(a, "watch", 5)).message.find("watch: value 1: wanted reference to another") == 0);
    CHECK(failure(p.call("same", theirs, theirs)).message.find("same: value 1: wanted object of this interpreter")
          == 0);
  }
  // Sent back, it is the peer's own object again.
  CHECK(p.method(a, "watched_by")->size() == 1);
  CHECK(p.held_by_native() == 1);
  a = value();
  p.settle();
  CHECK(accounts_alive == 0);
  CHECK(p.held_by_native() == 0);
  CHECK(p.host.imports().size() == 0);
}

TEST_CASE("native: a one-way message to a foreign object carries its target's credit, refused, all is put back") {
  native_pair p(bank());
  const value a = one(p.call("account", "a"));
  CHECK(p.method(a, "watch", p.own_object(77)));
  const auto credit = [&] {
    std::uint32_t c = 0;
    p.host.imports().for_each([&](const object_id&, std::uint32_t n, std::uint32_t) { c = n; });
    return c;
  };
  const std::uint32_t before = credit();
  CHECK(p.method(a, "notify")->empty());
  REQUIRE(p.host.sent.size() == 1);
  CHECK(p.host.sent[0].kind == record_kind::invoke);
  CHECK(p.host.sent[0].to == interpreter_id{9});
  CHECK(credit() == before - 1);

  // The refused message comes first, the answer that says so after it.
  p.host.next_status = send_status::gone;
  CHECK(failure(p.method(a, "notify")).code == errc::interpreter_gone);
  CHECK(credit() == before - 1);
}

TEST_CASE("native: wherever memory for a message runs out, no credit and no object is lost") {
  for (std::size_t limit = 0; limit < 120; ++limit) {
    native_pair p(bank());
    {
      const value a = one(p.call("account", "a"));
      CHECK(p.method(a, "watch", p.own_object(77)));
      p.host.message_limit = limit;
      const native_results sent = p.method(a, "notify");
      if (!sent) CHECK(sent.error().code == errc::out_of_memory);
      const native_results answered = p.call("pair");
      if (!answered) CHECK(answered.error().code == errc::out_of_memory);
      CHECK(answered.has_value() == (limit >= 2 * 31));
      const native_results passed_on = p.method(a, "watched_by");
      CHECK(passed_on.has_value() == (limit >= 31));
      for (const auto& m : p.host.sent) p.return_target(m.body);
      p.host.message_limit = std::numeric_limits<std::size_t>::max();
    }
    p.settle();
    CHECK(accounts_alive == 0);
    CHECK(p.host.exports().live() == 0);
    CHECK(p.held_by_native() == 0);
  }
}

TEST_CASE("native: a result that cannot cross is an error, and what was exported for it comes back") {
  native_interface b;
  b.add(native_class<account>("account"));
  b.function("bad", [](native_context& c) {
    table deep;
    table t = deep;
    for (int i = 0; i < 300; ++i) {
      table inner = deep.sibling();
      t.append(inner);
      t = inner;
    }
    return std::tuple<handle<account>, value>(c.make<account>("lost"), deep);
  });
  native_pair p(std::move(b));
  const error e = failure(p.call("bad"));
  CHECK(e.code == errc::not_shareable);
  p.settle();
  CHECK(p.host.exports().live() == 0);
  CHECK(accounts_alive == 0);
}

TEST_CASE("native: after the imports are dropped a foreign reference answers reference_released") {
  native_pair p(bank());
  const value a = one(p.call("account", "a"));
  CHECK(p.method(a, "watch", p.own_object(77)));
  p.guest().drop_imports();
  p.host.imports().drop_all_uses();
  p.settle();
  CHECK(p.held_by_native() == 0);
  CHECK(failure(p.method(a, "notify")).code == errc::reference_released);
  CHECK(one(p.method(a, "watched_by")).is_nil());
}

TEST_CASE("native: close destroys every object once, also those that others hold or that hold each other") {
  native_pair p(bank());
  const value a = one(p.call("account", "a"));
  const value b = one(p.call("account", "b"));
  CHECK(p.method(a, "open_child", "c"));
  handle<account> x = p.guest().context().make<account>("x");
  x->child = x;
  x = {};
  CHECK(p.method(b, "watch", p.own_object(77)));
  CHECK(accounts_alive == 4);
  p.guest().close();
  CHECK(accounts_alive == 0);
  CHECK(p.host.memory().bytes_in_use() == 0);
  p.settle_after_close();
  CHECK(p.held_by_native() == 0);
}

TEST_CASE("native: an object that lets go of itself survives its own method") {
  struct suicidal {
    int value = 5;
  };
  native_interface b;
  b.add(native_class<suicidal>("suicidal").constructor<>().method("end", [](suicidal& s, native_context& c) {
    c.state<handle<suicidal>>() = {};
    return s.value;
  }));
  b.function("keep", [](native_context& c) {
    c.state<handle<suicidal>>() = c.make<suicidal>();
    return c.state<handle<suicidal>>();
  });
  native_pair p(std::move(b));
  value s = one(p.call("keep"));
  CHECK(one(p.method(s, "end")) == value(5));
  s = value();
  p.settle();
  CHECK(p.objects().live() == 1); // the state itself
}

TEST_CASE("native: describe names the class for reports") {
  native_pair p(bank());
  const value a = one(p.call("account", "a"));
  p.host.exports().for_each(
      [&](const object_id&, guest_word word, std::uint64_t) { CHECK(p.guest().describe(word) == "account"); });
}
