// Coroutines in native interpreters: their ends first.
#include <doctest/doctest.h>

#include <array>
#include <stdexcept>

#include "tests/guests/native_host.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using Atoll::testing::failure;
using Atoll::testing::native_pair;
using Atoll::testing::one;

namespace {

constexpr interpreter_id other{9};

/// What happened, in order; each test starts it anew.
std::vector<std::string>& events() {
  static std::vector<std::string> all;
  return all;
}

/// Says when it is destroyed.
struct witness {
  explicit witness(std::string n) : name(std::move(n)) {}
  witness(const witness&) = delete;
  ~witness() { events().push_back("~" + name); }
  std::string name;
};

struct counter {
  counter() = default;
  counter(const counter&) = delete;
  ~counter() { events().push_back("~counter"); }
  native_task<int> add_later(native_context& c, int n) {
    const witness w("add_later");
    co_await c.sleep(1s);
    co_return value += n;
  }
  int value = 0;
};

native_task<int> twice_later(native_context& c, int x) {
  const witness w("twice_later");
  const result<int> y = co_await c.call<int>(other, "f", x);
  co_return 2 * y.value();
}

native_interface functions() {
  native_interface f;
  f.add(native_class<counter>("counter").constructor<>().method("add_later", &counter::add_later));
  f.function("f", [](native_context& c, int x) -> native_task<int> {
    const witness w("f");
    const result<int> y = co_await c.call<int>(other, "f", x);
    if (!y) events().push_back(name_of(y.error().code));
    co_return x + y.value();
  });
  f.function("nested", [](native_context& c, int x) -> native_task<int> {
    const witness w("nested");
    co_return 1 + co_await twice_later(c, x);
  });
  f.function("at_once", [](int x) -> native_task<int> { co_return x + 1; });
  f.function("nothing", [](native_context& c) -> native_task<> { co_await c.sleep(1s); });
  f.function("two",
             []() -> native_task<std::tuple<int, std::string>> { co_return std::tuple<int, std::string>(1, "b"); });
  f.function("throws", [](native_context& c, bool waits) -> native_task<int> {
    if (waits) co_await c.sleep(1s);
    throw std::runtime_error("broken");
  });
  f.function("refuses", []() -> native_task<result<int>> { co_return fail(errc::name_taken, "taken"); });
  f.function("sleep", [](native_context& c) -> native_task<std::string> {
    const witness w("sleep");
    const result<void> slept = co_await c.sleep(2s);
    co_return slept ? "slept" : name_of(slept.error().code);
  });
  f.function("paced", [](native_context& c, std::optional<int> ms) -> native_task<std::string> {
    const witness w("paced");
    auto sent = c.send_paced(other, "put", 1);
    if (ms) sent.within(std::chrono::milliseconds(*ms));
    const result<void> s = co_await sent;
    co_return s ? "sent" : name_of(s.error().code);
  });
  f.function("bounded", [](native_context& c) -> native_task<result<int>> {
    const witness w("bounded");
    co_return co_await c.call<int>(other, "f").within(1s);
  });
  return f;
}

std::vector<std::string> take_events() { return std::exchange(events(), {}); }
using names = std::vector<std::string>;

} // namespace

// -- the end of the interpreter while they wait ------------------------------------------------------------------------

TEST_CASE("native tasks: the end of the interpreter destroys the frames of those that wait, at whatever point") {
  struct point {
    const char* function;
    names destroyed;
  };
  const std::vector<point> all = {{"f", {"~f"}},
                                  {"nested", {"~twice_later", "~nested"}},
                                  {"sleep", {"~sleep"}},
                                  {"paced", {"~paced"}},
                                  {"bounded", {"~bounded"}}};
  for (const point& at : all)
    for (const bool killed : {false, true}) {
      CAPTURE(at.function);
      take_events();
      native_pair p(functions());
      p.host.next_status = send_status::crowded;
      const bool one_argument = at.destroyed.front() == "~f" || at.destroyed.size() == 2;
      const request_id r = one_argument ? p.begin(at.function, 1) : p.begin(at.function);
      CHECK_FALSE(p.answered(r));
      CHECK(p.guest().tasks() == 1);
      CHECK(take_events().empty());
      if (killed) p.guest().interrupt(errc::killed);
      CHECK(take_events().empty());
      p.guest().close();
      CHECK(take_events() == at.destroyed);
      CHECK(p.host.calls.empty());
      CHECK(p.host.timers.empty());
      CHECK(p.host.memory().bytes_in_use() == 0);
      CHECK_FALSE(p.answered(r)); // the shell answers what is left open
    }
}

TEST_CASE("native tasks: what a frame holds dies before the objects, whose finalizers still run") {
  take_events();
  native_interface f;
  f.function("hold", [](native_context& c) -> native_task<> {
    const handle<counter> mine = c.make<counter>();
    (void)c.finalizer(mine, [](native_context&, const handle<counter>& o) {
      events().push_back("finalizer " + std::to_string(o->value));
    });
    mine->value = 7;
    co_await c.sleep(1h);
  });
  SUBCASE("closed") {
    native_pair p(f);
    p.begin("hold");
    p.guest().close();
    CHECK(take_events() == names{"finalizer 7", "~counter"});
  }
  SUBCASE("killed: no finalizer") {
    native_pair p(f);
    p.begin("hold");
    p.guest().interrupt(errc::killed);
    p.guest().close();
    CHECK(take_events() == names{"~counter"});
  }
}

TEST_CASE("native tasks: killed, they hear of nothing any more, and an answer that still comes goes home") {
  take_events();
  native_pair p(functions());
  const request_id r = p.begin("f", 1);
  const guest_word token = p.take_call();
  p.host.wanted.kill = true;
  const std::string none;
  p.resume(token, {.what = outcome::kind::values, .values = wire_reader(none)});
  CHECK_FALSE(p.answered(r));
  CHECK(p.host.given_back == 1);
  CHECK(take_events().empty());
}

TEST_CASE("native tasks: a destructor that runs in the end can neither wait nor start anything") {
  take_events();
  struct stubborn {
    explicit stubborn(native_context& context) : c(context) {}
    ~stubborn() {
      const auto call = c.call<int>(other, "f", 1);
      events().push_back(call.done() ? "over" : "waits");
      const auto task = c.spawn(twice_later(c, 1));
      events().push_back(task.done() ? "ended" : "not begun");
    }
    native_context& c;
  };
  native_interface f;
  f.function("f", [](native_context& c) -> native_task<> {
    const stubborn s(c);
    co_await c.sleep(1h);
  });
  native_pair p(std::move(f));
  p.begin("f");
  p.guest().close();
  CHECK(take_events() == names{"over", "not begun"});
  CHECK(p.host.sent.empty());
}

TEST_CASE("native tasks: the finalization fails what they wait for, once each, and they end by themselves") {
  take_events();
  native_pair p(functions());
  const request_id call = p.begin("f", 1);
  const request_id sleep = p.begin("sleep");
  const request_id bounded = p.begin("bounded"); // a call and a timer for one wait
  p.fail_waiting();
  CHECK(failure(p.reply(call)).code == errc::runtime_finalizing);
  CHECK(one(p.reply(sleep)) == value("runtime_finalizing"));
  CHECK(failure(p.reply(bounded)).code == errc::runtime_finalizing);
  CHECK(p.guest().tasks() == 0);
  CHECK_FALSE(p.guest().waiting());
}

TEST_CASE("native tasks: an interrupt fails every wait as a result, and clean-up may wait again") {
  take_events();
  native_interface f = functions();
  f.function("careful", [](native_context& c) -> native_task<std::string> {
    const result<void> slept = co_await c.sleep(1h);
    const result<void> cleaned = co_await c.sleep(1s);
    co_return std::string(name_of(slept.error().code)) + (cleaned ? ", cleaned" : "");
  });
  native_pair p(std::move(f));
  p.host.next_status = send_status::crowded;
  const request_id paced = p.begin("paced");
  const request_id call = p.begin("f", 1);
  const request_id sleep = p.begin("sleep");
  const request_id careful = p.begin("careful");
  p.guest().interrupt(errc::interrupted);
  p.run();
  CHECK(one(p.reply(paced)) == value("interrupted"));
  CHECK(failure(p.reply(call)).code == errc::interrupted);
  CHECK(failure(p.reply(call)).message == "interrupted while waiting for the answer of interpreter 9");
  CHECK(one(p.reply(sleep)) == value("interrupted"));
  CHECK(p.host.calls.empty());
  CHECK(p.host.timers.size() == 1);
  p.make_room(); // for a wait that is over
  p.pass(1s);
  CHECK(one(p.reply(careful)) == value("interrupted, cleaned"));
  CHECK(p.guest().tasks() == 0);
}

// -- answers -----------------------------------------------------------------------------------------------------------

TEST_CASE("native tasks: a request is answered when its task returns") {
  take_events();
  native_pair p(functions());
  const request_id r = p.begin("f", 3);
  CHECK_FALSE(p.answered(r));
  CHECK(p.guest().waiting());
  CHECK(p.host.sent.size() == 1);
  CHECK(p.host.sent[0].to == other);
  CHECK(p.host.sent[0].kind == record_kind::call);
  p.answer_call(4);
  CHECK(one(p.reply(r)) == value(7));
  CHECK(take_events() == names{"~f"});
  CHECK(p.guest().tasks() == 0);
  CHECK(p.host.memory().bytes_in_use() == 0);
}

TEST_CASE("native tasks: while one waits, other messages are answered, and answers find who asked") {
  native_pair p(functions());
  const request_id first = p.begin("f", 1);
  const request_id second = p.begin("nested", 2);
  CHECK(p.guest().tasks() == 2);
  CHECK(one(p.call("at_once", 5)) == value(6));
  const guest_word token = p.take_call();
  p.answer_call(30);
  CHECK(one(p.reply(second)) == value(61));
  CHECK_FALSE(p.answered(first));
  const error why{errc::guest_error, "it broke", {}, {}, {}, {}};
  p.resume(token, {.what = outcome::kind::failed, .failure = &why});
  CHECK(failure(p.reply(first)).message == "it broke");
}

TEST_CASE("native tasks: values, errors and exceptions answer as those of plain functions do") {
  native_pair p(functions());
  CHECK(one(p.call("at_once", 1)) == value(2));
  CHECK(*p.call("two") == std::vector<value>{1, "b"});
  CHECK(failure(p.call("throws", false)).message == "broken");
  CHECK(failure(p.call("refuses")).code == errc::name_taken);
  CHECK(failure(p.call("at_once", "x")).message.find("at_once: value 1: wanted integer") == 0);
  CHECK(failure(p.call("at_once", 1, 2)).message == "at_once: takes 1 argument, got 2");
  const request_id late = p.begin("throws", true);
  const request_id nothing = p.begin("nothing");
  p.pass(1s);
  CHECK(failure(p.reply(late)).code == errc::guest_error);
  CHECK(failure(p.reply(late)).message == "broken");
  CHECK(p.reply(nothing)->empty());
}

TEST_CASE("native tasks: the error of a callee crosses by value(), with its code") {
  native_pair p(functions());
  const request_id r = p.begin("nested", 1);
  p.fail_call({errc::name_taken, "there is one", {}, {}, {}, {}});
  CHECK(failure(p.reply(r)).code == errc::name_taken);
  CHECK(failure(p.reply(r)).message == "there is one");
}

TEST_CASE("native tasks: an answer of another type is an error of the one who asked") {
  native_pair p(functions());
  const request_id r = p.begin("f", 1);
  p.answer_call("text");
  CHECK(failure(p.reply(r)).code == errc::invalid_argument);
}

TEST_CASE("native tasks: one-way messages may wait too, and their failure is logged") {
  native_pair p(functions());
  p.send("f", {1});
  CHECK(p.guest().tasks() == 1);
  p.answer_call(2);
  CHECK(p.guest().tasks() == 0);
  CHECK(p.host.logged.empty());
  p.send("f", {1});
  p.fail_call({errc::guest_error, "it broke", {}, {}, {}, {}});
  REQUIRE(p.host.logged.size() == 1);
  CHECK(p.host.logged[0].find("it broke") != std::string::npos);
  CHECK(p.host.replies.empty());
}

TEST_CASE("native tasks: starting may wait, and is answered without values") {
  native_interface f;
  f.on_start([](native_context& c, int n) -> native_task<int> {
    co_await c.sleep(1s);
    if (n < 0) throw std::runtime_error("negative");
    co_return n;
  });
  for (const int n : {1, -1}) {
    native_pair p(f);
    const request_id r = p.begin_start(n);
    CHECK_FALSE(p.answered(r));
    p.pass(1s);
    if (n < 0)
      CHECK(failure(p.reply(r)).message == "negative");
    else
      CHECK(p.reply(r)->empty());
  }
}

// -- what is given outlives the wait -----------------------------------------------------------------------------------

TEST_CASE("native tasks: arguments live as long as the task, also those that point into others") {
  native_interface f;
  const std::string captured = "a captured text that is too long to lie inside of a string";
  f.function("views",
             [captured](native_context& c, std::string_view a, const std::string& b,
                        const std::optional<std::string_view>& x) -> native_task<std::string> {
               co_await c.sleep(1s);
               co_return std::string(a) + b + std::string(x.value_or("-")) + captured;
             });
  f.function("all", [](native_context& c, native_args all) -> native_task<std::string> {
    co_await c.sleep(1s);
    std::string text;
    for (const value& v : all) text += *v.if_string();
    co_return text;
  });
  native_pair p(std::move(f));
  const std::string a = "a text of the caller's that is too long to lie inside of a string";
  const request_id views = p.begin("views", a, "b", "c");
  const request_id all = p.begin("all", a, "b");
  p.pass(1s);
  CHECK(one(p.reply(views)) == value(a + "bc" + captured));
  CHECK(one(p.reply(all)) == value(a + "b"));
}

TEST_CASE("native tasks: the object of a method lives until it has returned, whoever let go of it") {
  take_events();
  native_pair p(functions());
  value made = one(p.call("counter"));
  const request_id r = p.begin_method(made, "add_later", 5);
  made = {};
  p.settle();
  CHECK(p.held_by_peer() == 0);
  CHECK(take_events().empty());
  p.pass(1s);
  CHECK(one(p.reply(r)) == value(5));
  CHECK(take_events() == names{"~add_later", "~counter"});
  CHECK(p.objects().live() == 0);
}

TEST_CASE("native tasks: references in answers and in frames are counted, and come home") {
  native_interface f;
  f.function("fetch", [](native_context& c, foreign_ref gadget) -> native_task<> {
    const result<foreign_ref> got = co_await c.call<foreign_ref>(gadget, "next", gadget);
    const foreign_ref next = got.value();
    co_await c.sleep(1s);
  });
  native_pair p(std::move(f));
  SUBCASE("ended") {
    p.begin("fetch", p.own_object(1));
    p.return_target(p.host.sent.back().body);
    p.answer_call(p.own_object(2));
    CHECK(p.host.imports().size() == 2);
    p.pass(1s);
    CHECK(p.host.imports().size() == 0);
  }
  SUBCASE("closed while it waits") {
    p.begin("fetch", p.own_object(1));
    p.return_target(p.host.sent.back().body);
    p.answer_call(p.own_object(2));
    p.guest().close();
    CHECK(p.host.imports().size() == 0);
  }
  SUBCASE("an answer nobody waits for") {
    p.begin("fetch", p.own_object(1));
    const guest_word token = p.take_call();
    p.guest().interrupt(errc::interrupted);
    p.host.calls.emplace(1, token);
    p.answer_call(p.own_object(2));
    CHECK(p.host.given_back == 1);
    CHECK(p.host.imports().size() == 0);
  }
}

// -- waits -------------------------------------------------------------------------------------------------------------

TEST_CASE("native tasks: a call past its deadline fails with timeout, and its answer is not waited for") {
  native_pair p(functions());
  const request_id late = p.begin("bounded");
  p.pass(999ms);
  CHECK_FALSE(p.answered(late));
  p.pass(1ms);
  CHECK(failure(p.reply(late)).code == errc::timeout);
  CHECK(failure(p.reply(late)).message.find("timeout while waiting for the answer of interpreter 9")
        != std::string::npos);
  CHECK(p.host.calls.empty());

  const request_id in_time = p.begin("bounded");
  p.answer_call(1);
  CHECK(one(p.reply(in_time)) == value(1));
  CHECK(p.host.timers.empty());
}

TEST_CASE("native tasks: an answer that comes late wakes nobody else, who waits where that call did") {
  native_pair p(functions());
  const request_id late = p.begin("bounded");
  const guest_word token = p.host.calls.begin()->second;
  p.pass(1s);
  CHECK(p.answered(late));
  const request_id sleeper = p.begin("sleep");
  const std::string none;
  p.resume(token, {.what = outcome::kind::values, .values = wire_reader(none)});
  CHECK_FALSE(p.answered(sleeper));
  CHECK(p.host.given_back == 1);
  p.pass(2s);
  CHECK(one(p.reply(sleeper)) == value("slept"));
}

TEST_CASE("native tasks: what cannot be sent fails at once, and leaves no call open") {
  native_pair p(functions());
  for (const send_status s : {send_status::gone, send_status::no_memory}) {
    p.host.next_status = s;
    CHECK(failure(p.call("f", 1)).code == (s == send_status::gone ? errc::interpreter_gone : errc::out_of_memory));
    CHECK(p.host.calls.empty());
  }
  native_interface f;
  f.function("empty",
             [](native_context& c) -> native_task<result<int>> { co_return co_await c.call<int>(foreign_ref(), "m"); });
  native_pair q(std::move(f));
  CHECK(failure(q.call("empty")).code == errc::reference_released);
  CHECK(q.host.calls.empty());
}

TEST_CASE("native tasks: a paced send waits while the receiver is crowded") {
  native_pair p(functions());
  CHECK(one(p.call("paced")) == value("sent"));
  CHECK(p.host.rooms.empty());
  p.host.next_status = send_status::crowded;
  const request_id r = p.begin("paced");
  CHECK_FALSE(p.answered(r));
  CHECK(p.host.sent.size() == 2); // sent it is
  p.make_room();
  CHECK(one(p.reply(r)) == value("sent"));

  p.host.next_status = send_status::crowded;
  const request_id late = p.begin("paced", 5);
  p.pass(5ms);
  CHECK(one(p.reply(late)) == value("timeout"));
  p.make_room();
  CHECK(p.guest().tasks() == 0);
  p.host.next_status = send_status::gone;
  CHECK(one(p.call("paced")) == value("interpreter_gone"));
}

TEST_CASE("native tasks: calls begin when they are made, so two run side by side, and one may be let go of") {
  native_interface f;
  f.function("both", [](native_context& c) -> native_task<std::string> {
    auto a = c.call<std::string>(other, "a");
    auto b = c.call<std::string>(other, "b");
    const std::string second = (co_await b).value();
    CHECK(a.done());
    co_return (co_await a).value() + second;
  });
  f.function("one", [](native_context& c) -> native_task<std::string> {
    const auto never = c.call<std::string>(other, "a");
    co_return (co_await c.call<std::string>(other, "b")).value();
  });
  native_pair p(std::move(f));
  const request_id both = p.begin("both");
  CHECK(p.host.sent.size() == 2);
  p.answer_call("a");
  CHECK_FALSE(p.answered(both));
  p.answer_call("b");
  CHECK(one(p.reply(both)) == value("ab"));

  const request_id r = p.begin("one");
  const guest_word unanswered = p.take_call();
  p.answer_call("b");
  CHECK(one(p.reply(r)) == value("b"));
  const std::string none;
  p.resume(unanswered, {.what = outcome::kind::values, .values = wire_reader(none)});
  CHECK(p.host.given_back == 1);
}

TEST_CASE("native tasks: a deadline beside a timer of the operation's own, whichever is first") {
  native_interface f;
  f.function("sleep", [](native_context& c, int own, int deadline) -> native_task<bool> {
    const result<void> r = co_await c.sleep(std::chrono::seconds(own)).within(std::chrono::seconds(deadline));
    co_return r.has_value();
  });
  native_pair p(std::move(f));
  const request_id slept = p.begin("sleep", 1, 2);
  const request_id cut = p.begin("sleep", 2, 1);
  const request_id forever = p.begin("sleep", 1, 0);
  p.pass(1s);
  CHECK(one(p.reply(slept)) == value(true));
  CHECK(one(p.reply(cut)) == value(false));
  CHECK(one(p.reply(forever)) == value(false));
  CHECK(p.host.timers.empty());
}

TEST_CASE("native tasks: the longest sleep there is does not come round to the past") {
  native_interface f;
  f.function("sleep", [](native_context& c) -> native_task<> { co_await c.sleep(clock_type::duration::max()); });
  native_pair p(std::move(f));
  p.host.clock = time_point(1h);
  p.begin("sleep");
  CHECK(p.host.timers.begin()->first == time_point::max());
}

// -- tasks beside tasks ------------------------------------------------------------------------------------------------

namespace {

native_task<int> slow(native_context& c, int seconds) {
  const witness w("slow");
  const result<void> slept = co_await c.sleep(std::chrono::seconds(seconds));
  if (!slept) throw std::runtime_error(name_of(slept.error().code));
  co_return seconds;
}

native_interface spawners() {
  native_interface f;
  f.function("join", [](native_context& c, int seconds) -> native_task<result<int>> {
    const task_handle<int> t = c.spawn(slow(c, seconds));
    CHECK_FALSE(t.done());
    co_await c.sleep(2s);
    co_return co_await t.join();
  });
  f.function("leave", [](native_context& c) { (void)c.spawn(slow(c, 1)); });
  f.function("impatient", [](native_context& c) -> native_task<result<int>> {
    const auto t = c.spawn(slow(c, 2));
    const result<int> first = co_await t.join().within(1s);
    CHECK(first.error().code == errc::timeout);
    const auto running = t.join();
    CHECK((co_await t.join()).error().code == errc::invalid_argument);
    co_return 0;
  });
  f.function("again", [](native_context& c) -> native_task<int> {
    const auto t = c.spawn(slow(c, 2));
    CHECK((co_await t.join().within(1s)).error().code == errc::timeout);
    const result<int> second = co_await t.join();
    CHECK((co_await t.join()).error().code == errc::invalid_argument);
    co_return second.value();
  });
  f.function("refused", [](native_context& c) -> native_task<result<int>> {
    co_return co_await c.spawn([]() -> native_task<result<int>> { co_return fail(errc::name_taken, "x"); }()).join();
  });
  return f;
}

} // namespace

TEST_CASE("native tasks: a spawned task runs beside, and is joined before or after its end") {
  take_events();
  for (const int seconds : {1, 3}) {
    native_pair p(spawners());
    const request_id r = p.begin("join", seconds);
    CHECK(p.guest().tasks() == 2);
    p.pass(2s);
    CHECK(p.answered(r) == (seconds == 1));
    p.pass(1s);
    CHECK(one(p.reply(r)) == value(seconds));
    CHECK(p.guest().tasks() == 0);
    CHECK(p.host.memory().bytes_in_use() == 0);
  }
}

TEST_CASE("native tasks: a join past its deadline may be repeated, a task is joined once") {
  native_pair p(spawners());
  const request_id again = p.begin("again");
  p.pass(1s);
  p.pass(1s);
  CHECK(one(p.reply(again)) == value(2));
  p.begin("impatient");
  p.pass(1s);
  CHECK(p.guest().tasks() == 1);
  p.pass(1s);
  CHECK(p.guest().tasks() == 0);
  CHECK(failure(p.reply(p.begin("refused"))).code == errc::name_taken);
}

TEST_CASE("native tasks: a task that nobody joins runs on, and only its failure is heard of") {
  take_events();
  native_pair p(spawners());
  p.call("leave");
  p.run();
  CHECK(p.guest().tasks() == 1);
  p.pass(1s);
  CHECK(p.guest().tasks() == 0);
  CHECK(p.host.logged.empty());
  p.call("leave");
  p.run();
  p.guest().interrupt(errc::interrupted);
  CHECK(p.host.logged == names{"a task failed: interrupted"});
}

TEST_CASE("native tasks: spawned tasks, not begun, waiting and joined, end with the interpreter") {
  take_events();
  native_pair p(spawners());
  p.begin("join", 5);
  p.pass(2s); // joining
  p.call("leave");
  CHECK(p.guest().tasks() == 3);
  p.guest().close();
  CHECK(take_events() == names{"~slow"}); // the one that had begun
  CHECK(p.host.memory().bytes_in_use() == 0);
}

TEST_CASE("native tasks: when a turn is to end, tasks that are ready leave the rest for the next") {
  static int ran = 0;
  ran = 0;
  native_interface f;
  f.function("spawn", [](native_context& c) {
    for (int i = 0; i < 3; ++i)
      (void)c.spawn([]() -> native_task<> {
        ++ran;
        co_return;
      }());
  });
  native_pair p(std::move(f));
  p.call("spawn");
  CHECK(ran == 0);
  CHECK(p.guest().has_ready());
  p.host.wanted.yield = true;
  CHECK(p.guest().run_ready());
  CHECK(ran == 1);
  p.host.wanted.yield = false;
  CHECK_FALSE(p.guest().run_ready());
  CHECK(ran == 3);
  CHECK_FALSE(p.guest().has_ready());
}

TEST_CASE("native tasks: ten thousand tasks that join one another in a chain need no stack") {
  struct link {
    static native_task<int> last(native_context& c) {
      co_await c.sleep(1s);
      co_return 0;
    }
    static native_task<int> next(task_handle<int> before) { co_return (co_await before.join()).value() + 1; }
  };
  native_interface f;
  f.function("chain", [](native_context& c, int n) -> native_task<int> {
    task_handle<int> t = c.spawn(link::last(c));
    for (int i = 0; i < n; ++i) t = c.spawn(link::next(t));
    co_return (co_await t.join()).value();
  });
  native_pair p(std::move(f));
  const request_id r = p.begin("chain", 10000);
  p.pass(1s);
  CHECK(one(p.reply(r)) == value(10000));
}

TEST_CASE("native tasks: awaiting task after task, each returning at once, needs no stack") {
  native_interface f;
  f.function("many", [](native_context& c, int n) -> native_task<int> {
    int sum = 0;
    for (int i = 0; i < n; ++i) sum += co_await [](native_context&) -> native_task<int> { co_return 1; }(c);
    co_return sum;
  });
  native_pair p(std::move(f));
#if defined(NDEBUG)
  const int n = 300000;
#else
  const int n = 1000; // compilers make the jumps only when they optimise: here each is a call
#endif
  CHECK(one(p.call("many", n)) == value(n));
}

// -- memory ------------------------------------------------------------------------------------------------------------

namespace {

native_task<int> deep(native_context& c, int depth) {
  const std::array<char, 200> filler{};
  const int below = depth > 0 ? co_await deep(c, depth - 1) : 0;
  co_return below + 1 + filler[0];
}

} // namespace

TEST_CASE("native tasks: frames are the interpreter's memory, and its limit ends a recursion that has none") {
  native_interface f;
  f.function("deep", [](native_context& c, int depth) -> native_task<int> { co_return co_await deep(c, depth); });
  f.function("size", [](native_context& c) { return c.outside().memory().bytes_in_use(); });
  native_pair p(std::move(f), 100000);
  CHECK(one(p.call("deep", 10)) == value(11));
  CHECK(failure(p.call("deep", 1000000)).code == errc::out_of_memory);
  CHECK(one(p.call("size")) == value(0));
  CHECK(one(p.call("deep", 10)) == value(11));
}

// -- exit handlers -----------------------------------------------------------------------------------------------------

TEST_CASE("native tasks: an exit handler may wait, and those before it in line wait for it") {
  take_events();
  native_interface f;
  f.function("prepare", [](native_context& c) {
    (void)c.at_exit([](native_context&) { events().push_back("first"); });
    (void)c.at_exit(
        [text = std::string("captured, and too long to lie inside a string")](native_context& in) -> native_task<> {
          co_await in.sleep(1s);
          events().push_back(text);
          (void)in.at_exit([](native_context& again) -> native_task<> {
            const result<void> slept = co_await again.sleep(1s);
            events().push_back(slept ? "added" : name_of(slept.error().code));
            throw std::runtime_error("broken");
          });
        });
    (void)c.at_exit([small = 7](native_context&) -> native_task<> {
      events().push_back("last " + std::to_string(small));
      co_return;
    });
    (void)c.finalizer([](native_context&) { events().push_back("finalizer"); }, 0);
  });
  native_pair p(std::move(f));
  p.call("prepare");
  p.guest().run_exit_handlers();
  p.run();
  CHECK(take_events() == names{"last 7"});
  p.pass(1s);
  CHECK(take_events() == names{"captured, and too long to lie inside a string"});
  CHECK_FALSE(p.host.has_exited);
  SUBCASE("to the end") {
    p.pass(1s);
    CHECK(take_events() == names{"added", "first", "finalizer"});
  }
  SUBCASE("interrupted") {
    p.guest().interrupt(errc::interrupted);
    p.run();
    CHECK(take_events() == names{"interrupted", "first", "finalizer"});
  }
  CHECK(p.host.has_exited);
  CHECK(p.host.finalizers == 5);
  CHECK(p.host.finalizer_failures == names{"broken"});
}

TEST_CASE("native tasks: the end of the interpreter ends an exit handler that waits") {
  take_events();
  native_interface f;
  f.function("prepare", [](native_context& c) {
    (void)c.at_exit([](native_context&) { events().push_back("never"); });
    (void)c.at_exit([](native_context& in) -> native_task<> {
      const witness w("handler");
      co_await in.sleep(1s);
    });
  });
  native_pair p(std::move(f));
  p.call("prepare");
  p.guest().run_exit_handlers();
  p.run();
  p.guest().close();
  CHECK(take_events() == names{"~handler"});
  CHECK_FALSE(p.host.has_exited);
}
