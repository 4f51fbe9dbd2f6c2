// References that host threads hold: their ends first.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "actors/core.hpp"
#include "tests/actors/outside.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::code_of;

namespace {

struct account {
  explicit account(std::string name, std::atomic<int>* alive = nullptr) : owner(std::move(name)), count(alive) {
    if (owner.empty()) throw std::invalid_argument("an account has an owner");
    if (count != nullptr) ++*count;
  }
  account(const account&) = delete;
  ~account() {
    if (count != nullptr) --*count;
  }
  int deposit(int amount) { return balance += amount; }
  std::string greet(std::string_view who) const { return owner + " greets " + std::string(who); }
  result<int> withdraw(int amount) {
    if (amount > balance) return fail(errc::invalid_argument, "not enough money");
    return balance -= amount;
  }
  handle<account> open_child(native_context& c, const std::string& name) { return c.make<account>(name); }
  void sleep(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

  std::string owner;
  int balance = 0;
  std::atomic<int>* count;
};

native_interface bank() {
  native_interface f;
  f.add(native_class<account>("account")
            .constructor<std::string>()
            .method("deposit", &account::deposit)
            .property("balance", &account::balance));
  f.function("balance", [](const handle<account>& a) { return a->balance; });
  f.function("keep",
             [](native_context& c, foreign_ref r) { c.state<std::vector<foreign_ref>>().push_back(std::move(r)); });
  f.function("kept", [](native_context& c) { return c.state<std::vector<foreign_ref>>(); });
  f.function("forget", [](native_context& c) { c.state<std::vector<foreign_ref>>().clear(); });
  f.function("fresh", [](native_context& c, int n) {
    std::vector<handle<account>> all;
    for (int i = 0; i < n; ++i) all.push_back(c.make<account>("x"));
    return all;
  });
  return f;
}

system_config two_workers() {
  system_config config;
  config.workers = 2;
  config.log = [](std::string_view) {};
  config.languages["native"] = native(bank());
  return config;
}

struct runtime_under_test {
  explicit runtime_under_test(const system_config& config = two_workers()) : runtime(config) {
    owner = runtime.spawn<native>({.name = "accounts"}).value();
  }
  ref<account> make(std::string name = "alice", std::atomic<int>* alive = nullptr) {
    return owner.make<account>(std::move(name), alive).get().value();
  }
  Atoll::system runtime;
  interpreter_handle owner;
};

constexpr auto clean = finalization_report::verdict_kind::clean;

} // namespace

TEST_CASE("a reference released after its owner died does no harm") {
  runtime_under_test t;
  ref<account> a = t.make();
  ref<account> copy = a;
  CHECK(t.owner.kill());
  while (t.owner.state() != run_state::gone) std::this_thread::sleep_for(1ms);
  CHECK(code_of(a.call(&account::deposit, 1).get_for(5s)) == errc::interpreter_gone);
  CHECK(code_of(a.call("deposit", 1).get_for(5s)) == errc::interpreter_gone);
  CHECK(code_of(a.send("deposit", 1)) == errc::interpreter_gone);
  a = {};
  CHECK(t.runtime.finalize().verdict == clean);
  copy = {};
}

TEST_CASE("the runtime lists who holds what: type, owner, credit and holders, until it is over") {
  runtime_under_test t;
  ref<account> a = t.make("alice", nullptr);
  const auto all = t.runtime.references();
  REQUIRE(all.has_value());
  REQUIRE(all->size() == 1);
  CHECK((*all)[0].id.owner == t.owner.id());
  CHECK((*all)[0].type == "account");
  CHECK((*all)[0].credit > 0);
  CHECK((*all)[0].holders == std::vector<interpreter_id>{host_interpreter});
  a = {};
  for (int i = 0; i < 1000 && !t.runtime.references()->empty(); ++i) std::this_thread::sleep_for(1ms);
  CHECK(t.runtime.references()->empty());
  t.runtime.finalize();
  CHECK(code_of(t.runtime.references()) == errc::runtime_finalized);
}

TEST_CASE("a reference held through the finalization is a leak of the host program, and its later end does no harm") {
  ref<account> a;
  std::atomic<int> alive{0};
  {
    runtime_under_test t;
    a = t.make("alice", &alive);
    const auto r = t.runtime.finalize();
    CHECK(r.verdict == finalization_report::verdict_kind::leaked);
    REQUIRE(r.leaked.size() == 1);
    CHECK(r.leaked[0].id.owner == t.owner.id());
    CHECK(r.leaked[0].type == "account");
    CHECK(r.leaked[0].holders == std::vector<interpreter_id>{host_interpreter});
    CHECK(to_text(r).find("held by the host program") != std::string::npos);
    CHECK(alive == 0);
    CHECK(code_of(a.call(&account::deposit, 1).get()) == errc::runtime_finalized);
  }
  const ref<account> copy = a;
  a = {};
  CHECK(code_of(copy.call("deposit", 1).get()) == errc::runtime_finalized);
  CHECK(code_of(copy.send("deposit", 1)) == errc::runtime_finalized);
}

TEST_CASE("a reference that was let go just before the finalization is released, not leaked") {
  for (int i = 0; i < 20; ++i) {
    runtime_under_test t;
    ref<account> a = t.make();
    a = {};
    const auto r = t.runtime.finalize();
    CHECK(r.verdict == clean);
    CHECK(r.exported == 1);
    CHECK(r.released == 1);
  }
}

TEST_CASE("typed calls in flight when the owner is killed fail, and nothing is left behind") {
  runtime_under_test t;
  ref<account> a = t.make();
  const auto sleeping = a.call(&account::sleep, 60);
  std::vector<future<int>> waiting;
  for (int i = 0; i < 10; ++i) waiting.push_back(a.call(&account::deposit, 1));
  std::this_thread::sleep_for(20ms);
  CHECK(t.owner.kill());
  for (const auto& f : waiting) CHECK(code_of(f.get_for(5s)) == errc::interpreter_gone);
  CHECK(code_of(a.call(&account::deposit, 1).get_for(5s)) == errc::interpreter_gone);
  a = {};
  CHECK(t.runtime.finalize().verdict == clean);
}

TEST_CASE("the last copy's end, on whichever thread, destroys the object in its owner") {
  std::atomic<int> alive{0};
  runtime_under_test t;
  {
    const ref<account> a = t.make("alice", &alive);
    std::vector<std::thread> threads;
    for (int n = 0; n < 4; ++n) {
      threads.emplace_back([a] {
        for (int i = 0; i < 1000; ++i) {
          ref<account> copy = a;
          const ref<> untyped = copy;
          copy = {};
          (void)untyped;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(alive == 1);
  }
  for (int i = 0; i < 5000 && alive > 0; ++i) std::this_thread::sleep_for(1ms);
  CHECK(alive == 0);
  CHECK(t.runtime.finalize().verdict == clean);
}

TEST_CASE("four threads call, copy and drop while the runtime is finalized: it ends in time, each call has an answer") {
  for (int round = 0; round < 5; ++round) {
    auto t = std::make_unique<runtime_under_test>();
    std::vector<ref<account>> refs;
    for (int i = 0; i < 4; ++i) refs.push_back(t->make());
    std::atomic<bool> stop{false};
    std::atomic<int> odd{0};
    std::vector<std::thread> threads;
    for (int n = 0; n < 4; ++n) {
      threads.emplace_back([&, mine = refs[static_cast<std::size_t>(n)], owner = t->owner]() mutable {
        std::vector<future<ref<account>>> abandoned;
        while (!stop) {
          ref<account> copy = mine;
          const auto r = copy.call(&account::deposit, 1).get();
          if (!r && r.error().code != errc::runtime_finalizing && r.error().code != errc::runtime_finalized
              && r.error().code != errc::interpreter_gone)
            ++odd;
          abandoned.push_back(owner.make<account>("late"));
          if (abandoned.size() > 8) abandoned.clear();
        }
        mine = {};
      });
    }
    refs.clear();
    std::this_thread::sleep_for(20ms);
    const auto begin = std::chrono::steady_clock::now();
    t->runtime.finalize();
    CHECK(std::chrono::steady_clock::now() - begin < 4s);
    std::this_thread::sleep_for(5ms);
    stop = true;
    t.reset();
    for (std::thread& thread : threads) thread.join();
    CHECK(odd == 0);
  }
}

TEST_CASE("a future that nobody keeps gives the references in its answer back") {
  runtime_under_test t;
  for (int i = 0; i < 20; ++i) (void)t.owner.call("fresh", 50);
  (void)t.owner.call<std::vector<ref<>>>("fresh", 50).get_for(0ms);
  const auto r = t.runtime.finalize();
  CHECK(r.verdict == clean);
  CHECK(r.exported == r.released);
}

TEST_CASE("typed calls convert their arguments, bring results and errors, and reach the context") {
  runtime_under_test t;
  const ref<account> a = t.make();
  CHECK(a.owner() == t.owner.id());
  CHECK(a.call(&account::deposit, 10).get() == 10);
  CHECK(a.call<int>("deposit", 5).get() == 15);
  CHECK(a.send("deposit", 1));
  CHECK(a.untyped().get<int>("balance").get() == 16);
  CHECK(a.call(&account::withdraw, 6).get() == 10);
  const auto refused = a.call(&account::withdraw, 1000).get();
  REQUIRE(!refused);
  CHECK(refused.error().message == "not enough money");
  CHECK(refused.error().interpreter == t.owner.id());
  std::string temporary = "bob";
  const auto greeting = a.call(&account::greet, temporary.c_str());
  temporary = "xxx";
  CHECK(greeting.get() == "alice greets bob");
  const ref<account> child = a.call(&account::open_child, "carol").get().value();
  CHECK(child.call(&account::greet, "dave").get() == "carol greets dave");
  CHECK(code_of(a.call("nothing").get()) == errc::unknown_function);
}

TEST_CASE("a constructor that throws is the error of that make") {
  runtime_under_test t;
  const auto made = t.owner.make<account>("").get();
  REQUIRE(!made);
  CHECK(made.error().code == errc::guest_error);
  CHECK(made.error().message == "an account has an owner");
}

TEST_CASE("a typed call on an object of another class, or an empty reference, is refused") {
  runtime_under_test t;
  const ref<std::string> text(ref<>(t.owner.make<std::string>("x").get().value()));
  CHECK(text.call(&std::string::size).get() == 1);
  const ref<account> claimed(text.untyped());
  CHECK(code_of(claimed.call(&account::deposit, 1).get()) == errc::invalid_argument);
  const ref<account> none;
  CHECK(code_of(none.call(&account::deposit, 1).get()) == errc::reference_released);
  CHECK(code_of(none.call("deposit", 1).get()) == errc::reference_released);
  CHECK(code_of(none.send("deposit", 1)) == errc::reference_released);
}

TEST_CASE("a reference passed on is the same object, at home and back here") {
  runtime_under_test t;
  const interpreter_handle other = t.runtime.spawn<native>({.name = "other"}).value();
  ref<account> a = t.make();
  CHECK(a.call(&account::deposit, 3).get() == 3);
  CHECK(t.owner.call<int>("balance", a).get() == 3);
  CHECK(other.call<void>("keep", a).get().has_value());
  const auto kept = other.call<std::vector<ref<account>>>("kept").get().value();
  REQUIRE(kept.size() == 1);
  CHECK(kept[0] == a);
  a = {};
  CHECK(kept[0].call(&account::deposit, 1).get() == 4);
}

TEST_CASE("a reference of a host thread tells its owner and type, during the runtime's life and after it") {
  ref<account> kept;
  {
    runtime_under_test t;
    kept = t.make();
    CHECK(kept.untyped().describe() == "reference to account 0 of interpreter 2 'accounts'");
    t.owner.kill();
    CHECK(kept.untyped().describe() == "reference to account 0 of interpreter 2 'accounts'");
  }
  CHECK(kept.untyped().describe() == "reference to account 0 of interpreter 2 'accounts'");
}

TEST_CASE("a host thread calls Lua objects: their methods, fields and functions") {
  system_config config = two_workers();
  config.languages["lua"] = lua();
  Atoll::system runtime(config);
  const auto program = runtime.spawn<lua>({.name = "counters"}, code(R"(
    local atoll = require "atoll"
    return {
      counter = function(n)
        local c = {n = n}
        function c:add(k) atoll.sleep(0.001) self.n = self.n + k return self.n end
        return atoll.ref(c)
      end,
      doubler = function() return atoll.ref(function(x) return 2 * x end) end,
    })",
                                                                     "counters"));
  REQUIRE(program.has_value());
  {
    const auto counter = program->call<ref<>>("counter", 1).get().value();
    CHECK(counter.call<int>("add", 2).get() == 3);
    CHECK(counter.get<int>("n").get() == 3);
    CHECK(counter.set("n", 10).get().has_value());
    CHECK(counter.call<int>("add", 1).get() == 11);
    CHECK(!counter.call("nothing").get().has_value());
    const auto doubler = program->call<ref<>>("doubler").get().value();
    CHECK(doubler.apply<int>(21).get() == 42);
  }
  const auto r = runtime.finalize();
  CHECK(r.verdict == clean);
  CHECK(r.exported == 2);
  CHECK(r.released == 2);
}

TEST_CASE("a reference of one runtime cannot be sent into another") {
  runtime_under_test t;
  runtime_under_test other;
  const ref<account> a = t.make();
  CHECK(code_of(other.owner.call("keep", a).get()) == errc::not_shareable);
  CHECK(code_of(other.runtime.spawn<native>({}, {}, a)) == errc::not_shareable);
  CHECK(!(a == other.make()));
}

TEST_CASE("with little credit, references are lent and refilled, and all come home") {
  system_config config = two_workers();
  config.credit = {.grant = 4, .low = 1, .cap = 16};
  runtime_under_test t(config);
  std::vector<interpreter_handle> others;
  for (int i = 0; i < 3; ++i) others.push_back(t.runtime.spawn<native>({}).value());
  {
    const ref<account> a = t.make();
    std::vector<future<value>> all;
    std::vector<future<int>> sums;
    for (int i = 0; i < 300; ++i) {
      all.push_back(others[static_cast<std::size_t>(i % 3)].call("keep", a));
      sums.push_back(a.call(&account::deposit, 1));
      if (i % 40 == 0) all.push_back(others[static_cast<std::size_t>(i % 3)].call("forget"));
      if (i % 7 == 0) all.push_back(others[static_cast<std::size_t>(i % 3)].call("kept"));
    }
    for (const auto& f : all) CHECK(code_of(f.get_for(5s)) == errc::ok);
    CHECK(sums.back().get_for(5s) == 300);
  }
  const auto r = t.runtime.finalize();
  CHECK(r.verdict == clean);
  CHECK(r.exported == r.released);
}

TEST_CASE("with little credit, a killed owner leaves no lent reference behind") {
  system_config config = two_workers();
  config.credit = {.grant = 1, .low = 1, .cap = 4};
  runtime_under_test t(config);
  const interpreter_handle other = t.runtime.spawn<native>({}).value();
  ref<account> a = t.make();
  std::vector<future<int>> waiting;
  (void)a.call(&account::sleep, 30);
  for (int i = 0; i < 20; ++i) {
    waiting.push_back(a.call(&account::deposit, 1));
    (void)other.call("keep", a);
  }
  CHECK(t.owner.kill());
  for (const auto& f : waiting) CHECK(!f.get_for(5s).has_value());
  a = {};
  CHECK(t.runtime.finalize().verdict == clean);
  CHECK(t.runtime.inside().where().tombstones() == 0);
}

TEST_CASE("an answer that comes after its call has failed gives its references back") {
  system_config config = two_workers();
  test::probe_functions functions;
  request_id asked = no_request;
  functions["later"] = [&](test::probe&, const incoming& m) { asked = m.request; };
  config.languages["probe"] = [&](host& h) {
    auto p = std::make_unique<test::probe>(h, functions);
    p->hooks["exit"] = [&, self = p.get()] {
      self->put_own(self->outside().open_reply(asked), 1);
      self->outside().commit();
    };
    return p;
  };
  Atoll::system runtime(config);
  const auto answer = runtime.spawn({.language = "probe"}, code("")).value().call("later");
  const auto r = runtime.finalize();
  CHECK(code_of(answer.get()) == errc::runtime_finalizing);
  CHECK(r.verdict == clean);
  CHECK(r.exported == 1);
  CHECK(r.released == 1);
}
