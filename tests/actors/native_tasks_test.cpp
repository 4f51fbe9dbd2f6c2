// Coroutines of native interpreters in a whole runtime, on threads.
#include <doctest/doctest.h>

#include <atomic>

#include <atoll/native.hpp>

#include "tests/actors/outside.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::code_of;
using test::soon;

namespace {

/// What the interpreters of one test tell it.
struct seen {
  std::atomic<int> waiting{0}; // calls that are about to wait for ever
  std::atomic<int> ended{0};   // frames of theirs that are gone
  std::atomic<int> put{0};
  std::atomic<double> most{0}; // messages in the inbox, as a receiver saw it
  std::atomic<int> handlers{0};
};

struct guard {
  explicit guard(seen& s) : all(s) { ++all.waiting; }
  guard(const guard&) = delete;
  ~guard() { ++all.ended; }
  seen& all;
};

struct account {
  native_task<int> deposit_later(native_context& c, std::string_view why, int amount) {
    co_await c.sleep(1ms);
    co_return balance += why.empty() ? 0 : amount;
  }
  native_task<int> never(native_context& c) {
    co_await c.sleep(1h);
    co_return 0;
  }
  int balance = 0;
};

native_interface offered(seen& all) {
  native_interface f;
  f.add(native_class<account>("account").constructor<>().method("deposit_later", &account::deposit_later));
  f.function("echo", [](int x) { return x; });
  // Each asks the next one back: it is answered only because who waits takes messages.
  f.function("bounce", [](native_context& c, interpreter_id other, int times) -> native_task<int> {
    if (times == 0) co_return 0;
    const result<int> r = co_await c.call<int>(other, "bounce", c.id(), times - 1);
    co_return r.value() + 1;
  });
  f.function("ask", [](native_context& c, interpreter_id other, int times) -> native_task<int> {
    int sum = 0;
    for (int i = 0; i < times; ++i) sum += (co_await c.call<int>(other, "echo", i)).value();
    co_return sum;
  });
  f.function("open", [](native_context& c) { return c.make<account>(); });
  f.function("deposit", [](native_context& c, interpreter_id bank) -> native_task<int> {
    const foreign_ref a = (co_await c.call<foreign_ref>(bank, "open")).value();
    (co_await c.call<int>(a, "deposit_later", "wages", 10)).value();
    co_return (co_await c.call<int>(a, "deposit_later", "gift", 5)).value();
  });
  f.function("wait", [&all](native_context& c) -> native_task<result<void>> {
    const guard g(all);
    co_return co_await c.sleep(1h);
  });
  f.function("ask_waiter", [](native_context& c, interpreter_id other, bool bounded) -> native_task<result<void>> {
    auto asked = c.call<void>(other, "wait");
    if (bounded) asked.within(5ms);
    co_return co_await asked;
  });
  f.function("put", [&all](native_context& c) {
    if (++all.put % 100 != 0) return;
    for (const auto& [name, figure] : c.outside().stats())
      if (name == "inbox" && figure > all.most) all.most = figure;
    std::this_thread::sleep_for(100us);
  });
  f.function("pour", [](native_context& c, interpreter_id into, int n) -> native_task<> {
    for (int i = 0; i < n; ++i)
      if (!co_await c.send_paced(into, "put")) co_return;
    (co_await c.call<int>(into, "echo", 1)).value();
  });
  f.function("say_goodbye", [&all](native_context& c, interpreter_id to) {
    (void)c.at_exit([&all, to](native_context& in) -> native_task<> {
      if (co_await in.call<int>(to, "echo", 1)) ++all.handlers;
    });
  });
  return f;
}

struct world {
  seen all;
  Atoll::system runtime{config()};
  interpreter_handle a = runtime.spawn<Atoll::native>({.name = "a"}).value();
  interpreter_handle b = runtime.spawn<Atoll::native>({.name = "b"}).value();

  system_config config() {
    system_config c;
    c.workers = 2;
    c.high_water = 100;
    c.languages["native"] = Atoll::native(offered(all));
    return c;
  }
  /// A call of a's that waits for ever.
  future<void> waiting() {
    const int before = all.waiting;
    auto f = a.call<void>("wait");
    REQUIRE(soon([&] { return all.waiting > before; }));
    return f;
  }
};

} // namespace

TEST_CASE("native tasks: two interpreters call each other while both wait") {
  world w;
  CHECK(w.a.call<int>("bounce", w.b.id(), 100).get().value() == 100);
  CHECK(w.a.call<int>("bounce", w.a.id(), 10).get().value() == 10);
  auto first = w.a.call<int>("ask", w.b.id(), 1000);
  auto second = w.b.call<int>("ask", w.a.id(), 1000);
  CHECK(first.get().value() == 499500);
  CHECK(second.get().value() == 499500);
  CHECK(w.a.call<int>("deposit", w.b.id()).get().value() == 15);
  CHECK(w.runtime.finalize().verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("native tasks: who waits for one that is killed hears of it, whose frames are destroyed") {
  world w;
  auto asked = w.b.call<void>("ask_waiter", w.a.id(), false);
  REQUIRE(soon([&] { return w.all.waiting == 1; }));
  CHECK(w.a.kill());
  CHECK(code_of(asked.get()) == errc::interpreter_gone);
  CHECK(soon([&] { return w.all.ended == 1; }));
}

TEST_CASE("native tasks: an interrupt ends what waits with an error, and the interpreter lives on") {
  world w;
  auto f = w.waiting();
  CHECK(w.a.interrupt());
  CHECK(code_of(f.get()) == errc::interrupted);
  CHECK(w.a.call<int>("echo", 1).get().value() == 1);
}

TEST_CASE("native tasks: a deadline by the real clock") {
  world w;
  CHECK(code_of(w.b.call<void>("ask_waiter", w.a.id(), true).get()) == errc::timeout);
  CHECK(w.a.interrupt()); // its late answer finds nobody
  CHECK(w.b.call<int>("echo", 1).get().value() == 1);
}

TEST_CASE("native tasks: the finalization fails what waits, and exit handlers may call their peers") {
  world w;
  auto f = w.waiting();
  CHECK(w.a.call<void>("say_goodbye", w.b.id()).get());
  CHECK(w.b.call<void>("say_goodbye", w.a.id()).get());
  CHECK(w.runtime.finalize().verdict == finalization_report::verdict_kind::clean);
  CHECK(code_of(f.get()) == errc::runtime_finalizing);
  CHECK(w.all.ended == 1);
  CHECK(w.all.handlers == 2);
}

TEST_CASE("native tasks: a paced sender fills no mailbox, and loses nothing") {
  world w;
  CHECK(w.a.call<void>("pour", w.b.id(), 20000).get());
  CHECK(w.all.put == 20000);
  CHECK(w.all.most < 5000); // the mark, and an envelope
}

TEST_CASE("native tasks: a typed reference's method may wait, and is answered whatever becomes of it") {
  world w;
  ref<account> r = w.a.make<account>().get().value();
  CHECK(r.call(&account::deposit_later, "wages", 7).get().value() == 7);
  auto never = r.call(&account::never);
  r = {};
  CHECK(w.a.call<int>("echo", 1).get().value() == 1);
  SUBCASE("interrupted") {
    CHECK(w.a.interrupt());
    CHECK(never.get().value() == 0);
  }
  SUBCASE("killed") {
    CHECK(w.a.kill());
    CHECK(code_of(never.get()) == errc::interpreter_gone);
  }
}
