// Host threads and the runtime: spawn, call, send, stop, watch; and what they get when things end under them.
#include <doctest/doctest.h>

#include <atomic>
#include <latch>
#include <thread>

#include <atoll/native.hpp>

#include "tests/actors/outside.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::code_of;
using test::probe;
using test::probe_functions;
using test::soon;
using test::spawn_probe;

namespace {

native_interface calculator() {
  native_interface f;
  f.function("add", [](int a, int b) { return a + b; });
  f.function("two", [] { return std::tuple<int, std::string>(1, "b"); });
  f.function("echo", [](const value& v) { return v; });
  f.function("throws", []() -> int { throw std::runtime_error("broken"); });
  f.function("note", [](native_context& c, int n) { c.state<std::vector<int>>().push_back(n); });
  f.function("noted", [](native_context& c) { return c.state<std::vector<int>>(); });
  f.function("sleep", [](int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); });
  f.on_start([](std::optional<int> refuse) -> result<void> {
    if (refuse) return fail(errc::load_error, "told to fail");
    return {};
  });
  return f;
}

/// A runtime with native calculators, and probes whose function "hang" never answers.
struct runtime_under_test {
  probe_functions functions;
  system_config config;

  runtime_under_test() {
    functions["hang"] = [](probe& p, const incoming& m) { p.outside().give_back(m.args); };
    config.workers = 2;
    config.log = [](std::string_view) {};
    config.languages["native"] = native(calculator());
    config.languages["probe"] = [this](host& h) { return std::make_unique<probe>(h, functions); };
  }
};

interpreter_handle spawn_native(Atoll::system& s, std::string name = {}) {
  auto h = s.spawn<native>({.name = std::move(name)});
  REQUIRE(h.has_value());
  return *h;
}

} // namespace

TEST_CASE("a call in flight fails when its interpreter is killed, and so does the next") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle p = spawn_probe(s);
  const future<value> answer = p.call("hang");
  CHECK(code_of(answer.get_for(20ms)) == errc::timeout);
  CHECK(p.kill());
  CHECK(code_of(answer.get_for(5s)) == errc::interpreter_gone);
  CHECK(code_of(p.call("hang").get_for(5s)) == errc::interpreter_gone);
  CHECK(code_of(p.send("hang")) == errc::interpreter_gone);
  CHECK(code_of(p.kill()) == errc::interpreter_gone);
  CHECK(p.state() == run_state::gone);
  CHECK(s.finalize().verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("callers that wait are told when the runtime is finalized, and it takes no more calls") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle p = spawn_probe(s);
  std::atomic<errc> told{};
  std::latch waits(1);
  std::thread caller([&] {
    const auto answer = p.call("hang");
    waits.count_down();
    told = code_of(answer.get());
  });
  waits.wait();
  const auto r = s.finalize();
  caller.join();
  CHECK(told == errc::runtime_finalizing);
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
  CHECK(r.seconds < 2);
}

TEST_CASE("handles and futures that outlive their runtime answer runtime_finalized") {
  runtime_under_test t;
  interpreter_handle h;
  std::optional<future<int>> answered;
  {
    Atoll::system s(t.config);
    h = spawn_native(s, "calculator");
    answered = h.call<int>("add", 1, 2);
    CHECK(answered->get_for(5s) == 3);
    s.finalize();
    CHECK(code_of(h.call("add", 1, 2).get()) == errc::runtime_finalized);
    CHECK(code_of(s.spawn<native>({})) == errc::runtime_finalized);
    CHECK(code_of(s.find("calculator")) == errc::runtime_finalized);
    CHECK(code_of(s.add_pending_call(h.id(), [] {})) == errc::runtime_finalized);
    CHECK(s.list().empty());
  }
  CHECK(answered->get() == 3);
  CHECK(code_of(h.call("add", 1, 2).get()) == errc::runtime_finalized);
  CHECK(code_of(h.send("add", 1, 2)) == errc::runtime_finalized);
  CHECK(code_of(h.stop().get()) == errc::runtime_finalized);
  CHECK(code_of(h.stats().get()) == errc::runtime_finalized);
  CHECK(code_of(h.interrupt()) == errc::runtime_finalized);
  CHECK(code_of(h.monitor([](const down&) {})) == errc::runtime_finalized);
  CHECK(h.state() == run_state::gone);
  CHECK(h.name() == "calculator");
}

TEST_CASE("a handle that names nothing says so") {
  const interpreter_handle none;
  CHECK(code_of(none.call("add").get()) == errc::no_such_interpreter);
  CHECK(code_of(none.send("add")) == errc::no_such_interpreter);
  CHECK(code_of(none.kill()) == errc::no_such_interpreter);
  CHECK(none.state() == run_state::gone);
}

TEST_CASE("a host thread spawns an interpreter, calls it, and gets what it returns as C++ types") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_native(s, "calculator");
  CHECK(h.state() == run_state::running);
  CHECK(h.call<int>("add", 2, 3).get() == 5);
  CHECK(h.call<std::tuple<int, std::string>>("two").get() == std::tuple<int, std::string>(1, "b"));
  CHECK(h.call("echo", std::vector<int>{1, 2}).get() == to_value(std::vector<int>{1, 2}));
  CHECK(h.call<interpreter_id>("echo", h).get() == h.id());
  CHECK(h.call<void>("note", 7).get().has_value());
  CHECK(h.call<std::vector<int>>("noted").get() == std::vector<int>{7});
  CHECK(h.stats().get()->at("messages_in") == 6);
}

TEST_CASE("a callee's errors come as they are, and an answer of another type is refused here") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_native(s);
  CHECK(code_of(h.call("nothing").get()) == errc::unknown_function);
  CHECK(code_of(h.call("add", "x", 1).get()) == errc::invalid_argument);
  const auto thrown = h.call("throws").get();
  REQUIRE(!thrown);
  CHECK(thrown.error().code == errc::guest_error);
  CHECK(thrown.error().message == "broken");
  CHECK(thrown.error().interpreter == h.id());
  CHECK(code_of(h.call<std::string>("add", 1, 2).get()) == errc::invalid_argument);
}

TEST_CASE("spawn says why a program could not start") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const auto failed = s.spawn<native>({.name = "x"}, {}, 1);
  REQUIRE(!failed);
  CHECK(failed.error().code == errc::load_error);
  CHECK(failed.error().message == "told to fail");
  CHECK(code_of(s.spawn({.language = "cobol"}, code(""))) == errc::invalid_argument);
  const interpreter_handle first = spawn_native(s, "same");
  CHECK(code_of(s.spawn<native>({.name = "same"})) == errc::name_taken);
  const auto r = s.finalize();
  REQUIRE(r.interpreters.size() == 2);
  CHECK(r.interpreters[0].outcome == end_kind::failed);
  CHECK(r.interpreters[1].outcome == end_kind::stopped);
}

TEST_CASE("the living are found by name and listed, the host program is not among them") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle a = spawn_native(s, "a");
  const interpreter_handle b = spawn_native(s);
  CHECK(s.find("a").value() == a);
  CHECK(code_of(s.find("b")) == errc::no_such_interpreter);
  CHECK(s.list() == std::vector<interpreter_handle>{a, b});
  CHECK(a.id() != main_interpreter);
}

TEST_CASE("stop ends an interpreter in order, a future is ready when it is gone") {
  runtime_under_test t;
  std::atomic<bool> exited{false};
  t.config.languages["probe"] = [&](host& h) {
    auto p = std::make_unique<probe>(h, t.functions);
    p->hooks["exit"] = [&] { exited = true; };
    return p;
  };
  Atoll::system s(t.config);
  const interpreter_handle p = spawn_probe(s);
  CHECK(p.stop(1s).get_for(5s).has_value());
  CHECK(exited);
  CHECK(soon([&] { return p.state() == run_state::gone; }));
  CHECK(code_of(p.stop().get_for(5s)) == errc::interpreter_gone);
}

TEST_CASE("a monitor's callback comes once: at the end, after it, or with the runtime's") {
  runtime_under_test t;
  std::atomic<int> at_end{0};
  std::atomic<int> after{0};
  std::atomic<int> with_runtime{0};
  Atoll::system s(t.config);
  const interpreter_handle p = spawn_probe(s);
  const interpreter_handle stays = spawn_probe(s);
  CHECK(p.monitor([&](const down& d) { at_end += d.id == p.id() && d.reason == "killed" ? 1 : 100; }));
  CHECK(stays.monitor([&](const down& d) { with_runtime += d.id == stays.id() ? 1 : 100; }));
  CHECK(stays.monitor([](const down&) { throw std::runtime_error("a callback's own business"); }));
  CHECK(p.kill());
  CHECK(soon([&] { return at_end == 1; }));
  CHECK(p.monitor([&](const down& d) { after += d.id == p.id() ? 1 : 100; }));
  CHECK(soon([&] { return after == 1; }));
  CHECK(with_runtime == 0);
  s.finalize();
  CHECK(at_end == 1);
  CHECK(after == 1);
  CHECK(with_runtime == 1);
}

TEST_CASE("one-way messages arrive in order, and their sender waits while the receiver is over its high-water mark") {
  runtime_under_test t;
  t.config.high_water = 4;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_native(s);
  std::vector<int> sent;
  for (int i = 0; i < 2000; ++i) {
    REQUIRE(h.send("note", i));
    sent.push_back(i);
  }
  CHECK(h.call<std::vector<int>>("noted").get_for(5s) == sent);
}

TEST_CASE("a sender that waits for room goes on when the receiver is killed, and when the runtime ends") {
  for (const bool kill : {true, false}) {
    runtime_under_test t;
    t.config.high_water = 1;
    Atoll::system s(t.config);
    const interpreter_handle h = spawn_native(s);
    std::thread sender([&] {
      for (int i = 0; i < 5; ++i) (void)h.send("sleep", 30);
    });
    std::this_thread::sleep_for(20ms);
    if (kill) CHECK(h.kill());
    s.finalize();
    sender.join();
  }
}

TEST_CASE("four threads that call at once get each its own answers") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_native(s);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&, n] {
      for (int i = 0; i < 500; ++i)
        if (h.call<int>("add", n * 1000, i).get() != n * 1000 + i) ++wrong;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(s.finalize().verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("two runtimes in one process end without each other") {
  runtime_under_test t;
  Atoll::system a(t.config);
  const interpreter_handle in_a = spawn_native(a, "same");
  {
    Atoll::system b(t.config);
    const interpreter_handle in_b = spawn_native(b, "same");
    CHECK(in_b.call<int>("add", 1, 1).get() == 2);
    CHECK(!(in_a == in_b));
  }
  CHECK(in_a.call<int>("add", 1, 2).get() == 3);
}

#if !defined(ATOLL_CHECKED)
TEST_CASE("a future waited for inside a turn is refused instead of waiting for itself") {
  runtime_under_test t;
  interpreter_handle self;
  native_interface f = calculator();
  f.function("wait", [&](native_context&) { return static_cast<int>(code_of(self.call("add", 1, 2).get())); });
  t.config.languages["native"] = native(f);
  Atoll::system s(t.config);
  self = spawn_native(s);
  CHECK(self.call<int>("wait").get_for(5s) == static_cast<int>(errc::invalid_argument));
}
#endif

TEST_CASE("pending calls run once each, in the order of one thread, those that throw are counted, the rest run") {
  runtime_under_test t;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_native(s);
  std::vector<int> ran;
  for (int i = 0; i < 100; ++i) CHECK(s.add_pending_call(h.id(), [&ran, i] { ran.push_back(i); }));
  CHECK(s.add_pending_call(h.id(), [] { throw std::runtime_error("broken"); }));
  CHECK(s.add_pending_call(h.id(), [] { throw 1; }));
  CHECK(s.add_pending_call(h.id(), [&ran] { ran.push_back(100); }));
  const auto r = s.finalize();
  REQUIRE(ran.size() == 101);
  for (int i = 0; i <= 100; ++i) CHECK(ran[static_cast<std::size_t>(i)] == i);
  CHECK(r.pending_calls_run == 103);
  CHECK(r.pending_calls_failed == 2);
  CHECK(r.pending_calls_refused == 0);
}

TEST_CASE("a pending call for the dead is refused, one that was accepted before the death is reported") {
  runtime_under_test t;
  std::string logged;
  t.config.log = [&](std::string_view line) { logged += line; };
  t.config.log_threshold = log_level::error;
  Atoll::system s(t.config);
  const interpreter_handle h = spawn_native(s);
  CHECK(h.send("sleep", 100));
  std::this_thread::sleep_for(20ms);
  bool ran = false;
  CHECK(s.add_pending_call(h.id(), [&] { ran = true; }));
  // The turn that sleeps ends with the kill; what the inbox holds by then is left over.
  CHECK(h.kill());
  CHECK(soon([&] { return h.state() == run_state::gone; }));
  CHECK(code_of(s.add_pending_call(h.id(), [&] { ran = true; })) == errc::interpreter_gone);
  CHECK(code_of(s.add_pending_call(interpreter_id{99}, [] {})) == errc::interpreter_gone);
  const auto r = s.finalize();
  CHECK(!ran);
  CHECK(r.pending_calls_run == 0);
  CHECK(r.pending_calls_refused == 1);
  CHECK(logged.find("a pending call did not run") != std::string::npos);
}
