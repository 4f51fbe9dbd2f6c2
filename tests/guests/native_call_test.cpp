// Functions of a native interpreter, called with values.
#include <doctest/doctest.h>

#include <array>
#include <stdexcept>

#include "tests/guests/native_host.hpp"

using namespace Atoll;
using Atoll::testing::failure;
using Atoll::testing::native_pair;
using Atoll::testing::one;

namespace {

int twice(int x) { return 2 * x; }

native_interface functions() {
  native_interface f;
  f.function("add", [](int a, int b) { return a + b; });
  f.function("twice", twice);
  f.function("greet", [](std::string_view who, std::optional<std::string> mark) {
    return "hello " + std::string(who) + mark.value_or(".");
  });
  f.function("nothing", [] {});
  f.function("two", [] { return std::tuple<int, std::string>(1, "b"); });
  f.function("count", [](native_args all) { return all.size(); });
  f.function("throws", []() -> int { throw std::runtime_error("broken"); });
  f.function("throws_odd", []() -> int { throw 1; });
  f.function("refuses", []() -> result<int> { return fail(errc::timeout, "too late"); });
  f.function("accepts", []() -> result<int> { return 3; });
  f.function("done", []() -> result<void> { return {}; });
  f.function("where", [](native_context& c) { return c.name(); });
  f.function("next", [](native_context& c) { return ++c.state<int>(); });
  f.function("sum", [](const std::vector<double>& xs) {
    double s = 0;
    for (const double x : xs) s += x;
    return s;
  });
  return f;
}

} // namespace

TEST_CASE("native: functions take and give C++ types") {
  native_pair p(functions());
  CHECK(one(p.call("add", 2, 3)) == value(5));
  CHECK(one(p.call("twice", 4)) == value(8));
  CHECK(one(p.call("greet", "you")) == value("hello you."));
  CHECK(one(p.call("greet", "you", "!")) == value("hello you!"));
  CHECK(p.call("nothing")->empty());
  CHECK(*p.call("two") == std::vector<value>{1, "b"});
  CHECK(one(p.call("count", 1, "x", value())) == value(3));
  CHECK(one(p.call("accepts")) == value(3));
  CHECK(p.call("done")->empty());
  CHECK(one(p.call("where")) == value("accounts"));
  CHECK(one(p.call("sum", std::vector<double>{1, 2.5})) == value(3.5));
}

TEST_CASE("native: state belongs to one interpreter, though they share the interface") {
  const native_interface shared = functions();
  native_pair a(shared);
  native_pair b(shared);
  CHECK(one(a.call("next")) == value(1));
  CHECK(one(a.call("next")) == value(2));
  CHECK(one(b.call("next")) == value(1));
}

TEST_CASE("native: arguments that do not fit are refused by function, position and type") {
  native_pair p(functions());
  const error wrong = failure(p.call("add", 2, "x"));
  CHECK(wrong.code == errc::invalid_argument);
  CHECK(wrong.message.find("add: value 2: wanted integer") == 0);
  CHECK(failure(p.call("add", 2)).message.find("add: value 2: missing: wanted integer") == 0);
  CHECK(failure(p.call("add", 1, 2, 3)).message == "add: takes 2 arguments, got 3");
}

TEST_CASE("native: an unknown function is named, with those there are") {
  native_interface f;
  f.function("a", [] {}).function("b", [] {});
  native_pair p(std::move(f));
  const error e = failure(p.call("c"));
  CHECK(e.code == errc::unknown_function);
  CHECK(e.message == "interpreter 5 'accounts' has no function \"c\"; it has a, b");
  CHECK(e.interpreter == interpreter_id{5});
  CHECK(e.interpreter_name == "accounts");
}

TEST_CASE("native: what user code throws becomes a guest error, what it returns as an error keeps its code") {
  native_pair p(functions());
  CHECK(failure(p.call("throws")).code == errc::guest_error);
  CHECK(failure(p.call("throws")).message == "broken");
  CHECK(failure(p.call("throws_odd")).code == errc::guest_error);
  CHECK(failure(p.call("refuses")).code == errc::timeout);
  CHECK(failure(p.call("refuses")).message == "too late");
}

TEST_CASE("native: code to evaluate and bytes that are no message are refused") {
  native_pair p(functions());
  CHECK(failure(p.deliver(record_kind::eval, {}, {}, "return 1", {})).code == errc::unknown_function);
  CHECK(failure(p.deliver_bytes(record_kind::call, {}, {}, "add", "\x3f")).code == errc::bad_message);
}

TEST_CASE("native: a one-way message has no answer, its failure is logged") {
  native_pair p(functions());
  p.send("add", {1, 2});
  CHECK(p.host.replies.empty());
  CHECK(p.host.logged.empty());
  p.send("throws", {});
  CHECK(p.host.replies.empty());
  REQUIRE(p.host.logged.size() == 1);
  CHECK(p.host.logged[0].find("throws: broken") != std::string::npos);
}

TEST_CASE("native: starting runs on_start with the arguments, and tells how it went") {
  native_pair plain(functions());
  CHECK(plain.start(1, 2)->empty());

  native_interface f;
  f.on_start([](native_context& c, int n) {
    if (n < 0) throw std::runtime_error("negative");
    c.state<int>() = n;
  });
  f.function("n", [](native_context& c) { return c.state<int>(); });
  native_pair p(f);
  CHECK(p.start(7)->empty());
  CHECK(one(p.call("n")) == value(7));
  native_pair q(f);
  CHECK(failure(q.start(-1)).message == "negative");
}

TEST_CASE("native: exit handlers run last in, first out, one that fails does not stop the rest") {
  static std::vector<int> order;
  order.clear();
  native_interface f;
  f.function("prepare", [](native_context& c) {
    c.at_exit([](native_context&) { order.push_back(1); });
    c.at_exit([](native_context&) { throw std::runtime_error("second"); });
    c.at_exit([](native_context& again) {
      order.push_back(3);
      again.at_exit([](native_context&) { order.push_back(4); });
    });
  });
  native_pair p(std::move(f));
  CHECK(p.call("prepare"));
  p.guest().run_exit_handlers();
  CHECK(order == std::vector<int>{3, 4, 1});
  CHECK(p.host.finalizers == 4);
  CHECK(p.host.finalizer_failures == std::vector<std::string>{"second"});
  CHECK(p.host.has_exited);
}

TEST_CASE("native: out of memory is an error of that call alone") {
  native_interface f;
  f.function("hoard", [](native_context& c) {
    std::vector<handle<std::array<char, 1000>>> all;
    for (;;) all.push_back(c.make<std::array<char, 1000>>());
  });
  f.function("small", [](native_context& c) { return *c.make<int>(4); });
  native_pair p(std::move(f), 64 << 10);
  CHECK(failure(p.call("hoard")).code == errc::out_of_memory);
  CHECK(p.objects().live() == 0);
  CHECK(one(p.call("small")) == value(4));
}
