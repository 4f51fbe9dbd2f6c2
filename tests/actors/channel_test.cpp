// Channels in the hands of host threads: their ends first. Interpreters on the other side are Lua's and native ones.
#include <doctest/doctest.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>
#include <unordered_set>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "tests/actors/outside.hpp"
#include "tests/in_a_process.hpp"

namespace {

struct point {
  int x = 0;
  std::string label;
  friend bool operator==(const point&, const point&) = default;
};

} // namespace

template <>
struct Atoll::value_traits<point> {
  static std::string name() { return "point"; }
  static result<point> from(const value& v) {
    return value_cast<std::map<std::string, value>>(v).map([](const auto& m) {
      return point{value_cast<int>(m.at("x")).value(), value_cast<std::string>(m.at("label")).value()};
    });
  }
  static value to(const point& p) {
    table t;
    t.add_pair("x", p.x);
    t.add_pair("label", p.label);
    return t;
  }
};

using namespace Atoll;
using namespace std::chrono_literals;
using std::chrono::steady_clock;
using test::code_of;
using test::soon;

namespace {

struct account {
  explicit account(std::atomic<int>& n) : alive(n) { ++alive; }
  account(const account&) = delete;
  ~account() { --alive; }
  int deposit(int n) { return balance += n; }
  std::atomic<int>& alive;
  int balance = 0;
};

native_interface offered(std::atomic<int>& alive) {
  native_interface f;
  f.add(native_class<account>("account").method("deposit", &account::deposit));
  f.function("open", [&alive](native_context& c) { return c.make<account>(alive); });
  f.function("open_into", [&alive](native_context& c, channel<handle<account>> into) -> native_task<result<void>> {
    const handle<account> made = c.make<account>(alive);
    co_return co_await c.send(into, made);
  });
  f.function("double", [](native_context& c, channel<int> from, channel<int> to) -> native_task<> {
    while (const result<int> n = co_await c.recv(from)) (void)co_await c.send(to, *n * 2);
  });
  f.function("put", [](native_context& c, channel<int> into, int first, int n) -> native_task<> {
    for (int i = 0; i < n; ++i) (void)co_await c.send(into, first + i);
  });
  f.function("make", [](native_context& c) { return c.make_channel<int>({.capacity = 2}); });
  return f;
}

constexpr const char* lua_side = R"(
  return {
    put = function(c, v) c:send(v) end,
    take = function(c) local v, e = c:recv() return v == nil and e or v end,
    close = function(c, force) c:close{force = force} end,
    double = function(from, to) for v in from:items() do to:send(v * 2) end end,
    pass = function(from, to) to:send((from:recv())) end,
    echo = function(c) return c end,
    collect = function() collectgarbage() end,
    deposit = function(from, n) local a = from:recv() return a:deposit(n) end,
  })";

/// What a test's channels may outlive.
struct world {
  std::atomic<int> accounts{0};
  Atoll::system runtime{config()};
  interpreter_handle lua = runtime.spawn<Atoll::lua>({.name = "lua"}, code(lua_side)).value();
  interpreter_handle bank = runtime.spawn<Atoll::native>({.name = "bank"}).value();

  system_config config() {
    system_config c;
    c.workers = 2;
    c.log = [](std::string_view) {};
    c.languages["lua"] = Atoll::lua();
    c.languages["native"] = Atoll::native(offered(accounts));
    return c;
  }
  template <class T = value>
  channel<T> make(std::size_t capacity = 16, full_policy full = full_policy::block) {
    channel_options options;
    options.capacity = capacity;
    options.full = full;
    return runtime.make_channel<T>(std::move(options)).value();
  }
  ref<account> open() { return bank.call<ref<account>>("open").get().value(); }
};

/// Threads that are joined.
struct threads {
  ~threads() { join(); }
  template <class F>
  void run(F f) {
    all.emplace_back(std::move(f));
  }
  void join() {
    for (std::thread& t : all)
      if (t.joinable()) t.join();
  }
  std::list<std::thread> all;
};

template <class T>
bool receivers_wait(const channel<T>& c, std::size_t n = 1) {
  return soon([&] { return c.figures().receivers_waiting == n; });
}
template <class T>
bool senders_wait(const channel<T>& c, std::size_t n = 1) {
  return soon([&] { return c.figures().senders_waiting == n; });
}

constexpr auto clean = finalization_report::verdict_kind::clean;
constexpr auto for_ever = std::chrono::nanoseconds::max();

} // namespace

// -- the end of the runtime --------------------------------------------------------------------------------------------

TEST_CASE("host channels: the finalization ends every wait of a thread, and afterwards all of it is over") {
  channel<int> empty, full;
  {
    world w;
    empty = w.make<int>();
    full = w.make<int>(0);
    errc received{}, limited{}, sent{}, selected{};
    threads t;
    t.run([&] { received = code_of(empty.recv()); });
    t.run([&] { limited = code_of(empty.recv(for_ever)); });
    t.run([&] { sent = code_of(full.send(1)); });
    t.run([&] {
      selection s;
      s.receive(empty);
      s.send(full, 2);
      selected = code_of(s.wait());
    });
    REQUIRE(receivers_wait(empty, 3));
    REQUIRE(senders_wait(full, 2));
    const finalization_report r = w.runtime.finalize();
    t.join();
    for (const errc how : {received, limited, sent, selected}) // as it is when the thread comes to look
      CHECK((how == errc::runtime_finalizing || how == errc::runtime_finalized));
    CHECK(r.verdict == clean);
    CHECK(r.channels.empty());
    CHECK(code_of(w.runtime.make_channel()) == errc::runtime_finalized);
  }
  const channel<int> copy = empty; // handles outlive the system
  CHECK(code_of(copy.recv()) == errc::runtime_finalized);
  CHECK(code_of(copy.recv(1s)) == errc::runtime_finalized);
  CHECK(code_of(copy.try_recv()) == errc::runtime_finalized);
  CHECK(code_of(copy.send(1)) == errc::runtime_finalized);
  CHECK(code_of(copy.try_send(1)) == errc::runtime_finalized);
  CHECK(code_of(copy.close()) == errc::runtime_finalized);
  CHECK(code_of(copy.destroy()) == errc::runtime_finalized);
  selection s;
  s.receive(copy);
  s.send(full, 1);
  CHECK(code_of(s.try_now()) == errc::runtime_finalized);
  selection receives;
  receives.receive(copy);
  CHECK(code_of(receives.wait()) == errc::runtime_finalized);
  CHECK(copy.is_closed());
  CHECK(copy.size() == 0);
  CHECK(copy == empty);
}

TEST_CASE("host channels: what lies in a channel at exit is in the report, with who sent it, and is no leak") {
  world w;
  const channel<int> two = w.make<int>();
  const channel<ref<account>> one = w.make<ref<account>>();
  const channel<int> none = w.make<int>();
  REQUIRE(two.send(1).has_value());
  REQUIRE(w.lua.call<void>("put", two, 2).get().has_value());
  REQUIRE(one.send(w.open()).has_value());
  CHECK(w.accounts == 1);
  const finalization_report r = w.runtime.finalize();
  CHECK(r.verdict == clean);
  CHECK(r.leaked.empty());
  CHECK(w.accounts == 0);
  REQUIRE(r.channels.size() == 2);
  CHECK(r.channels[0].id == two.number());
  CHECK(r.channels[0].items == 2);
  CHECK(r.channels[0].senders == std::vector{host_interpreter, w.lua.id()});
  CHECK(r.channels[1].id == one.number());
  CHECK(to_text(r).find("  left in channel 1: 2 items, sent by the host program, interpreter 2\n")
        != std::string::npos);
  CHECK(to_text(r).find("  left in channel 2: 1 item, sent by the host program\n") != std::string::npos);
  const auto json = nlohmann::json::parse(to_json(r));
  CHECK(json["verdict"] == "clean");
  REQUIRE(json["channels"].size() == 2);
  CHECK(json["channels"][0] == nlohmann::json{{"id", 1}, {"items", 2}, {"senders", {0, 2}}});
}

TEST_CASE("host channels: threads that use channels while the runtime ends all come to their end") {
  for (int round = 0; round < 25; ++round) {
    std::atomic<bool> started{false};
    std::atomic<int> running{0};
    threads t;
    channel<channel<int>> outer;
    channel<int> inner;
    {
      world w;
      outer = w.make<channel<int>>(2);
      inner = w.make<int>(round % 3);
      const auto over = [](const auto& r) {
        return !r && (r.error().code == errc::runtime_finalizing || r.error().code == errc::runtime_finalized);
      };
      const auto until_over = [&](auto step) {
        t.run([&, step] {
          ++running;
          while (!over(step())) started = true;
        });
      };
      until_over([&] { return inner.send(1); });
      until_over([&] { return inner.recv(50us); });
      until_over([&] { return outer.send(inner, 10us); });
      until_over([&] { return outer.try_recv(); });
      until_over([&] {
        selection s;
        s.receive(inner);
        s.send(outer, inner);
        return s.wait();
      });
      until_over([&] {
        const auto made = w.runtime.make_channel<int>();
        if (made) (void)made->try_send(1);
        return made;
      });
      w.lua.call<void>("double", inner, inner);
      REQUIRE(soon([&] { return started && running == 6; }));
      std::this_thread::sleep_for(std::chrono::microseconds(round * 40));
      const finalization_report r = w.runtime.finalize();
      CHECK(r.leaked.empty());
      t.join(); // they use the runtime
    }
  }
}

namespace {

/// In a process of its own: the interpreter that never ends stays behind.
bool thread_of_a_stuck_sender_ends() {
  static std::atomic<bool> release{false};
  system_config config;
  config.workers = 2;
  config.deadline = 500ms;
  config.log = [](std::string_view) {};
  native_interface f;
  f.function("send_and_hang", [](native_context& c, const channel<int>& into) {
    (void)c.try_send(into, 5); // whom it wakes is told at the end of the turn
    while (!release) std::this_thread::sleep_for(1ms);
  });
  config.languages["native"] = native(std::move(f));
  Atoll::system runtime(config);
  const channel<int> c = runtime.make_channel<int>().value();
  const auto stuck = runtime.spawn<native>({.name = "stuck"}).value();
  result<int> got;
  std::thread t([&] { got = c.recv(); });
  if (!receivers_wait(c)) return false;
  (void)stuck.send("send_and_hang", c);
  if (!soon([&] { return c.figures().receivers_waiting == 0; })) return false;
  (void)runtime.finalize();
  t.join();
  return got || got.error().code == errc::runtime_finalized;
}

} // namespace

TEST_CASE("host channels: a thread whose sender never ends its turn does not wait beyond the runtime") {
  CHECK(test::in_a_process([] { return thread_of_a_stuck_sender_ends() ? 0 : 1; }, 30) == 0);
}

// -- the end of a channel ----------------------------------------------------------------------------------------------

TEST_CASE("host channels: closing lets in no more, gives out what is there, and is an error the second time") {
  world w;
  const channel<int> c = w.make<int>();
  REQUIRE(c.send(1).has_value());
  CHECK(c.close().has_value());
  CHECK(c.is_closed());
  CHECK(code_of(c.close()) == errc::channel_closed);
  CHECK(code_of(c.send(2)) == errc::channel_closed);
  CHECK(c.recv() == 1);
  const result<int> none = c.recv();
  CHECK(code_of(none) == errc::channel_closed);
  CHECK(none.error().message == "channel 1: it is closed");
  CHECK(c.destroy().has_value());
  CHECK(code_of(c.destroy()) == errc::channel_closed);
  const channel<int> d = w.make<int>();
  REQUIRE(d.send(1).has_value());
  CHECK(d.destroy().has_value());
  CHECK(d.size() == 0);
  CHECK(d.figures().dropped == 1);
  CHECK(code_of(d.recv()) == errc::channel_closed);
}

TEST_CASE("host channels: closing wakes every thread that waits, whoever closes") {
  for (const char* how : {"close", "destroy", "lua", "lua, force"}) {
    CAPTURE(how);
    world w;
    const channel<int> empty = w.make<int>(), full = w.make<int>(1);
    REQUIRE(full.send(1).has_value());
    errc received{}, sent{}, selected{};
    std::optional<std::size_t> which;
    threads t;
    t.run([&] { received = code_of(empty.recv()); });
    t.run([&] { sent = code_of(full.send(2, 1h)); });
    REQUIRE(receivers_wait(empty));
    REQUIRE(senders_wait(full));
    const std::string_view h = how;
    for (const channel<int>& c : {empty, full})
      CHECK((h == "close" ? c.close() : h == "destroy" ? c.destroy() : w.lua.call<void>("close", c, h != "lua").get()));
    t.join();
    CHECK(received == errc::channel_closed);
    CHECK(sent == errc::channel_closed);
    t.run([&] {
      selection s;
      s.receive(channel<int>());
      s.receive(empty);
      selected = code_of(s.wait());
      which = s.chosen();
    });
    t.join();
    CHECK(selected == errc::channel_closed);
    CHECK(which == 1);
  }
}

TEST_CASE("host channels: an orphan that is an error says whose it was, once") {
  world w;
  channel_options options;
  options.orphans = orphan_policy::error;
  const channel<int> c = w.runtime.make_channel<int>(options).value();
  REQUIRE(c.send(1).has_value());
  REQUIRE(w.lua.call<void>("put", c, 2).get().has_value());
  REQUIRE(w.lua.stop().get().has_value());
  CHECK(c.recv() == 1);
  const result<int> orphan = c.recv();
  CHECK(code_of(orphan) == errc::interpreter_gone);
  CHECK(orphan.error().message == "channel 1: interpreter 2 is gone, who sent this item");
  CHECK(code_of(c.try_recv()) == errc::timeout);
  CHECK(c.ends().senders == std::vector{host_interpreter});
}

TEST_CASE("host channels: the host program lets go of an end, and as the last sender it closes the channel") {
  world w;
  const channel<int> c = w.runtime.make_channel<int>().value();
  REQUIRE(c.send(1).has_value());
  CHECK(c.recv() == 1);
  REQUIRE(c.release(channel_end::receiver).has_value());
  CHECK(c.ends().receivers.empty());
  CHECK(c.ends().senders == std::vector{host_interpreter});
  REQUIRE(c.send(2).has_value());
  REQUIRE(c.release().has_value());
  CHECK(c.ends().senders.empty());
  CHECK(c.is_closed());
  CHECK(c.recv() == 2);
  CHECK(code_of(c.recv()) == errc::channel_closed);
  CHECK(code_of(channel<int>().release()) == errc::invalid_argument);
}

TEST_CASE("host channels: what a channel drops goes to its heir") {
  world w;
  const channel<int> heir = w.make<int>();
  channel_options options;
  options.undelivered = handle_of(heir.untyped());
  {
    const channel<int> c = w.runtime.make_channel<int>(options).value();
    REQUIRE(c.send(1).has_value());
    REQUIRE(c.send(2).has_value());
    CHECK(heir.size() == 0);
  } // its last handle
  options = {};
  CHECK(heir.recv() == 1);
  CHECK(heir.recv() == 2);
}

// -- waiting -----------------------------------------------------------------------------------------------------------

TEST_CASE("host channels: a limit is kept to fractions of a millisecond, and the item is withdrawn") {
  world w;
  const channel<int> empty = w.make<int>(), full = w.make<int>(1);
  REQUIRE(full.send(1).has_value());
  selection s;
  s.receive(empty);
  s.send(full, 3);
  const std::function<errc()> all[] = {[&] { return code_of(empty.recv(300us)); },
                                       [&] { return code_of(full.send(2, 300us)); },
                                       [&] { return code_of(s.wait(300us)); }};
  for (const auto& once : all)
    // That it can be exact; on a busy machine it is not each time.
    CHECK(soon([&] {
      const auto begin = steady_clock::now();
      CHECK(once() == errc::timeout);
      const auto took = steady_clock::now() - begin;
      CHECK(took >= 300us);
      return took < 900us;
    }));
  CHECK(full.recv() == 1);
  CHECK(code_of(full.try_recv()) == errc::timeout);
  CHECK(full.figures().senders_waiting == 0);
  CHECK(empty.figures().receivers_waiting == 0);
  CHECK_FALSE(s.chosen().has_value());
}

TEST_CASE("host channels: limits that are over before they begin, and limits beyond all time") {
  world w;
  const channel<int> c = w.make<int>(1);
  for (const std::chrono::nanoseconds past : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
    CHECK(code_of(c.recv(past)) == errc::timeout);
    CHECK(c.send(1, past).has_value()); // there is room
    CHECK(code_of(c.send(2, past)) == errc::timeout);
    CHECK(c.recv(past) == 1);
  }
  result<int> got;
  threads t;
  t.run([&] { got = c.recv(for_ever); });
  REQUIRE(receivers_wait(c));
  CHECK(c.send(5, for_ever).has_value());
  t.join();
  CHECK(got == 5);
}

TEST_CASE("host channels: trying fails at once") {
  world w;
  const channel<int> c = w.make<int>(1);
  CHECK(code_of(c.try_recv()) == errc::timeout);
  CHECK(c.try_send(1).has_value());
  const result<void> full = c.try_send(2);
  CHECK(code_of(full) == errc::timeout);
  CHECK(full.error().message == "channel 1: no room in time");
  CHECK(c.try_recv() == 1);
  const channel<int> meets = w.make<int>(0);
  CHECK(code_of(meets.try_send(1)) == errc::timeout);
  CHECK(code_of(meets.try_recv()) == errc::timeout);
}

TEST_CASE("host channels: an interpreter wakes a thread that waits for an item, and one that waits for room") {
  world w;
  const channel<int> empty = w.make<int>(), full = w.make<int>(1);
  REQUIRE(full.send(1).has_value());
  result<int> got;
  result<void> sent;
  threads t;
  t.run([&] { got = empty.recv(); });
  t.run([&] { sent = full.send(2); });
  REQUIRE(receivers_wait(empty));
  REQUIRE(senders_wait(full));
  CHECK(w.lua.call<void>("put", empty, 7).get().has_value());
  CHECK(w.lua.call<int>("take", full).get() == 1);
  t.join();
  CHECK(got == 7);
  CHECK(sent.has_value());
  CHECK(full.recv() == 2);
}

TEST_CASE("host channels: nobody waits inside a turn, but may try") {
  world w;
  const channel<int> c = w.make<int>();
  std::atomic<bool> done{false};
  errc received{}, limited{}, sent{}, selected{};
  result<void> tried;
  REQUIRE(w.runtime
              .add_pending_call(w.bank.id(),
                                [&] {
                                  received = code_of(c.recv());
                                  limited = code_of(c.recv(1ms));
                                  sent = code_of(c.send(1));
                                  selection s;
                                  s.receive(c);
                                  selected = code_of(s.wait());
                                  tried = c.try_send(2);
                                  done = true;
                                })
              .has_value());
  REQUIRE(soon([&] { return done.load(); }));
  CHECK(received == errc::invalid_argument);
  CHECK(limited == errc::invalid_argument);
  CHECK(sent == errc::invalid_argument);
  CHECK(selected == errc::invalid_argument);
  CHECK(tried.has_value());
  CHECK(c.recv() == 2);
}

TEST_CASE("host channels: without room each policy has its answer") {
  world w;
  const channel<int> fails = w.make<int>(1, full_policy::fail), drops = w.make<int>(1, full_policy::drop_newest),
                     slides = w.make<int>(1, full_policy::drop_oldest);
  for (const channel<int>& c : {fails, drops, slides}) CHECK(c.send(1).has_value());
  const result<void> full = fails.send(2);
  CHECK(code_of(full) == errc::channel_full);
  CHECK(full.error().message == "channel 1: no room: its capacity is 1");
  CHECK(code_of(drops.send(2)) == errc::channel_full);
  CHECK(slides.send(2).has_value());
  CHECK(fails.recv() == 1);
  CHECK(drops.recv() == 1);
  CHECK(slides.recv() == 2);
  channel_options options;
  options.capacity = 0;
  options.full = full_policy::drop_oldest;
  CHECK(code_of(w.runtime.make_channel(options)) == errc::invalid_argument);
}

// -- what crosses ------------------------------------------------------------------------------------------------------

namespace {

template <class T>
void crosses(world& w, const T& x) {
  const channel<T> c = w.make<T>();
  CHECK(c.send(x).has_value());
  CHECK(c.recv().value() == x);
  const channel<T> through = w.make<T>();
  CHECK(c.send(x).has_value());
  CHECK(w.lua.call<void>("pass", c, through).get().has_value());
  CHECK(through.recv().value() == x);
}

} // namespace

TEST_CASE("host channels: plain types, strings, lists, structs and values cross") {
  world w;
  crosses(w, 5);
  crosses(w, std::numeric_limits<std::int64_t>::min());
  crosses(w, 0.5);
  crosses(w, true);
  crosses(w, std::string());
  crosses(w, std::string(100'000, '\0'));
  crosses(w, std::vector<std::string>{"a", "b"});
  crosses(w, std::map<std::string, int>{{"a", 1}});
  crosses(w, point{3, "here"});
  crosses(w, value(table()));
  crosses(w, w.lua.id());
}

TEST_CASE("host channels: an item of another type is an error that says what was there, and is gone") {
  world w;
  const channel<value> c = w.make<value>();
  REQUIRE(c.send("text").has_value());
  const channel<int> as_numbers(c.untyped());
  const result<int> wrong = as_numbers.recv();
  CHECK(code_of(wrong) == errc::invalid_argument);
  CHECK(wrong.error().message == "an item of the channel: wanted integer -2147483648..2147483647, got string \"text\"");
  CHECK(c.size() == 0);
}

TEST_CASE("host channels: an empty handle is an error value, not a crash") {
  world w;
  const channel<int> none;
  CHECK_FALSE(none);
  CHECK(code_of(none.send(1)) == errc::invalid_argument);
  CHECK(code_of(none.recv()) == errc::invalid_argument);
  CHECK(code_of(none.close()) == errc::invalid_argument);
  CHECK(none.size() == 0);
  CHECK(none.is_closed());
  CHECK(none.ends().senders.empty());
  CHECK(none.figures().sent == 0);
  CHECK(none == channel<int>());
  CHECK_FALSE(none == w.make<int>());
  selection s;
  s.receive(none);
  CHECK(code_of(s.wait()) == errc::invalid_argument);
}

TEST_CASE("host channels: a channel is an argument, a result and an item, and the same one by whatever way it comes") {
  world w;
  const channel<int> c = w.make<int>();
  const auto back = w.lua.call<channel<int>>("echo", c).get();
  REQUIRE(back.has_value());
  CHECK(*back == c);
  const channel<channel<int>> outer = w.make<channel<int>>();
  REQUIRE(outer.send(c).has_value());
  CHECK(outer.recv().value() == c);
  CHECK_FALSE(w.make<int>() == c);
  CHECK(std::unordered_set<channel<int>>{c, *back}.size() == 1);
  const auto theirs = w.bank.call<channel<int>>("make").get();
  REQUIRE(theirs.has_value());
  CHECK(theirs->try_send(1).has_value());
  CHECK(theirs->try_send(2).has_value());
  CHECK(code_of(theirs->try_send(3)) == errc::timeout);
  CHECK(theirs->number() > c.number());
}

TEST_CASE("host channels: two runtimes: a channel of one is nothing to the other") {
  world w, other;
  const channel<int> c = w.make<int>(), d = other.make<int>();
  CHECK(c.number() == d.number());
  CHECK_FALSE(c == d);
  CHECK_FALSE(value(c.untyped()) == value(d.untyped()));
  const auto called = other.lua.call<int>("take", c).get();
  CHECK(code_of(called) == errc::not_shareable);
  const channel<channel<int>> items = other.make<channel<int>>();
  CHECK(code_of(items.send(c)) == errc::not_shareable);
  CHECK(items.size() == 0);
  selection s;
  s.send(d, 1);
  s.send(c, 2);
  const result<std::size_t> both = s.wait(1s);
  CHECK(code_of(both) == errc::not_shareable);
  CHECK(both.error().message == "channel 1 is another runtime's");
  CHECK(c.size() + d.size() == 0);
  CHECK(w.runtime.finalize().verdict == clean);
  CHECK(d.send(1).has_value());
  CHECK(d.recv() == 1);
}

TEST_CASE("host channels: references cross both ways, and an item holds its object") {
  world w;
  const channel<ref<account>> c = w.make<ref<account>>();
  REQUIRE(w.bank.call<void>("open_into", c).get().has_value());
  CHECK(w.accounts == 1);
  {
    const ref<account> a = c.recv().value();
    CHECK(a.call(&account::deposit, 5).get() == 5);
    REQUIRE(c.send(a).has_value());
    CHECK(w.lua.call<int>("deposit", c, 10).get() == 15);
    const channel<ref<>> any(c.untyped());
    REQUIRE(any.send(a.untyped()).has_value());
    CHECK(c.recv().value() == a);
  }
  CHECK(soon([&] {
    (void)w.lua.call<void>("collect").get();
    return w.accounts == 0;
  }));
}

TEST_CASE("host channels: references in items that nobody receives are released") {
  world w;
  const auto gone = [&] { return soon([&] { return w.accounts == 0; }); };
  SUBCASE("destroyed") {
    const channel<ref<account>> c = w.make<ref<account>>();
    REQUIRE(c.send(w.open()).has_value());
    REQUIRE(c.destroy().has_value());
    CHECK(gone());
  }
  SUBCASE("the last handle") {
    {
      const channel<ref<account>> c = w.make<ref<account>>();
      REQUIRE(c.send(w.open()).has_value());
      CHECK(w.accounts == 1);
    }
    CHECK(gone());
  }
  SUBCASE("withdrawn, refused, dropped") {
    const channel<ref<account>> c = w.make<ref<account>>(0), closed = w.make<ref<account>>(),
                                slides = w.make<ref<account>>(1, full_policy::drop_oldest);
    (void)closed.close();
    CHECK(code_of(c.send(w.open(), 1ms)) == errc::timeout);
    CHECK(code_of(c.try_send(w.open())) == errc::timeout);
    CHECK(code_of(closed.send(w.open())) == errc::channel_closed);
    CHECK(slides.send(w.open()).has_value());
    CHECK(slides.send(w.open()).has_value());
    selection s;
    s.send(c, w.open());
    s.send(c, w.open());
    CHECK(code_of(s.wait(1ms)) == errc::timeout);
    s = {};
    CHECK(soon([&] { return w.accounts == 1; }));
    (void)slides.recv();
    CHECK(gone());
  }
  SUBCASE("an orphan") {
    channel_options options;
    options.orphans = orphan_policy::error;
    options.stay_open = true;
    const channel<ref<account>> c = w.runtime.make_channel<ref<account>>(options).value(),
                                from = w.make<ref<account>>();
    REQUIRE(from.send(w.open()).has_value());
    REQUIRE(w.lua.call<void>("pass", from, c).get().has_value());
    REQUIRE(w.lua.stop().get().has_value());
    CHECK(w.accounts == 1);
    CHECK(code_of(c.recv()) == errc::interpreter_gone);
    CHECK(gone());
  }
  SUBCASE("beside something that cannot cross") {
    world other;
    const channel<std::vector<ref<account>>> c = w.make<std::vector<ref<account>>>();
    const result<void> mixed = c.send({w.open(), other.open()});
    CHECK(code_of(mixed) == errc::not_shareable);
    CHECK(mixed.error().message.find("[2]") != std::string::npos);
    CHECK(c.size() == 0);
    CHECK(gone());
    CHECK(soon([&] { return other.accounts == 0; }));
  }
  CHECK(w.runtime.finalize().verdict == clean);
}

// -- several at work ---------------------------------------------------------------------------------------------------

TEST_CASE(
    "host channels: threads, Lua and native interpreters work on one channel, and nothing is lost or made twice") {
  world w;
  constexpr int n = 2000;
  const channel<int> jobs = w.make<int>(8), results = w.make<int>(8);
  auto lua = w.lua.call<void>("double", jobs, results);
  auto native = w.bank.call<void>("double", jobs, results);
  std::atomic<int> threads_left{2};
  threads t;
  for (int i = 0; i < 2; ++i)
    t.run([&] {
      while (const result<int> job = jobs.recv())
        if (!results.send(*job * 2)) break;
      --threads_left;
    });
  t.run([&] {
    for (int i = 0; i < n; ++i) (void)jobs.send(i);
  });
  auto more = w.bank.call<void>("put", jobs, n, n);
  std::vector<int> got;
  while (got.size() < 2 * n) got.push_back(results.recv(20s).value());
  CHECK(more.get().has_value());
  CHECK(jobs.close().has_value());
  CHECK(lua.get().has_value());
  CHECK(native.get().has_value());
  t.join();
  CHECK(code_of(results.try_recv()) == errc::timeout);
  std::sort(got.begin(), got.end());
  for (int i = 0; i < 2 * n; ++i) REQUIRE(got[static_cast<std::size_t>(i)] == 2 * i);
  CHECK(jobs.ends().receivers == std::vector{host_interpreter, w.lua.id(), w.bank.id()});
  CHECK(w.runtime.finalize().verdict == clean);
}

TEST_CASE("host channels: selections of several threads: each that was answered happened, once") {
  world w;
  constexpr int n = 1500;
  const channel<int> a = w.make<int>(0), b = w.make<int>(2), back = w.make<int>(1);
  std::atomic<int> received_sum{0}, received{0}, given_back{0};
  threads t, ends;
  for (int k = 0; k < 3; ++k)
    t.run([&] { // receives from a and b, and sends to back, whichever is possible
      for (;;) {
        selection s;
        s.receive(channel<int>()); // disabled
        const auto from_a = s.receive(a), from_b = s.receive(b), to_back = s.send(back, 1);
        const result<std::size_t> which = s.wait(20s);
        if (!which) return;
        if (*which == to_back) {
          ++given_back;
          continue;
        }
        REQUIRE((*which == from_a || *which == from_b));
        received_sum += s.received<int>().value();
        ++received;
      }
    });
  for (int k = 0; k < 2; ++k)
    ends.run([&, k] { // sends each number once, to whoever takes it
      for (int i = 1; i <= n;) {
        selection s;
        s.send(a, i);
        s.send(b, i);
        i += s.wait(k == 0 ? for_ever : 100us) ? 1 : 0;
      }
    });
  std::atomic<int> taken_back{0};
  std::thread taker([&] {
    while (back.recv()) ++taken_back;
  });
  ends.join();
  CHECK(soon([&] { return received == 2 * n; }));
  CHECK(received_sum == n * (n + 1));
  CHECK(a.figures().sent + b.figures().sent == 2 * n);
  CHECK(a.close().has_value()); // ends the selections; what is in back is still counted
  CHECK(b.close().has_value());
  t.join();
  CHECK(back.close().has_value());
  taker.join();
  CHECK(taken_back == given_back);
  CHECK(received == 2 * n);
  CHECK(a.figures().receivers_waiting + b.figures().receivers_waiting + back.figures().senders_waiting == 0);
}

TEST_CASE("host channels: of several that are possible a thread's selection takes each as often") {
  world w;
  const channel<int> a = w.make<int>(1000), b = w.make<int>(1000);
  for (int i = 0; i < 400; ++i) {
    REQUIRE(a.send(i).has_value());
    REQUIRE(b.send(i).has_value());
  }
  for (int i = 0; i < 400; ++i) {
    selection s;
    s.receive(a);
    s.receive(b);
    REQUIRE(s.try_now().has_value());
  }
  CHECK(a.size() > 120);
  CHECK(a.size() < 280);
  CHECK(a.size() + b.size() == 400);
}
