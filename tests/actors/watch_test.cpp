// Who waits for whom: the circle of a deadlock, when one is told and when not, messages that wait for long.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include <atomic>
#include <mutex>
#include <thread>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "actors/watch.hpp"
#include "tests/actors/outside.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::soon;

namespace {

deadlocked_task waits(unsigned who, std::vector<unsigned> whom) {
  deadlocked_task t;
  t.id = interpreter_id{who};
  t.wait.on = "x";
  for (const unsigned w : whom) t.wait.whom.push_back(interpreter_id{w});
  return t;
}

/// "2 3 | 1": the circle, then the others.
std::string circle_of(std::vector<deadlocked_task> tasks) {
  find_circle(tasks);
  std::string text;
  bool others = false;
  for (const deadlocked_task& t : tasks) {
    if (!t.in_circle && !std::exchange(others, true)) text += "| ";
    text += fmt::format("{} ", number(t.id));
  }
  return text;
}

system_config watched(std::function<void(std::string_view)> log = {}) {
  system_config c;
  c.workers = 2;
  c.languages["lua"] = lua();
  c.end_deadlocks = true;
  c.log = std::move(log);
  return c;
}

result<void> run(Atoll::system& runtime, const std::string& code) {
  return runtime.run_main({.name = "main", .language = "lua"},
                          {source_kind::code, "local atoll = require 'atoll'\n" + code, "=main"}, {});
}

} // namespace

TEST_CASE("watch: the circle is told first, in its order, and who only waits for it behind") {
  CHECK(circle_of({waits(1, {2}), waits(2, {3}), waits(3, {2})}) == "2 3 | 1 ");
  CHECK(circle_of({waits(1, {1})}) == "1 ");
  CHECK(circle_of({waits(1, {2}), waits(2, {})}) == "| 1 2 ");
  CHECK(circle_of({waits(1, {9, 2}), waits(1, {}), waits(2, {7, 8, 3}), waits(3, {1})}) == "1 2 3 | 1 ");
  CHECK(circle_of({}).empty());
  // Two ways to the same one are no circle.
  CHECK(circle_of({waits(1, {2, 3}), waits(2, {4}), waits(3, {4}), waits(4, {})}) == "| 1 2 3 4 ");
}

TEST_CASE("watch: a long chain of waits is no matter of the stack's depth") {
  std::vector<deadlocked_task> chain;
  for (unsigned i = 1; i < 100000; ++i) chain.push_back(waits(i, {i + 1}));
  chain.push_back(waits(100000, {1}));
  find_circle(chain);
  CHECK(chain.front().in_circle);
  CHECK(chain.back().in_circle);
  CHECK(deadlock_text(chain).find("and 99980 more") != std::string::npos);
}

TEST_CASE("watch: main that waits for an item nobody sends fails within a second, and the report says where") {
  Atoll::system runtime(watched());
  const auto began = clock_type::now();
  const auto ended = run(runtime, "atoll.channel(1):recv()");
  const auto took = clock_type::now() - began;
  REQUIRE(!ended);
  CHECK(ended.error().code == errc::deadlock);
  CHECK(ended.error().message.find("interpreter 1 'main' (its program, main:2) waits for an item of channel 1")
        != std::string::npos);
  CHECK(took < 5s); // 0.4 s on a quiet machine
  const finalization_report r = runtime.finalize();
  REQUIRE(r.deadlock.size() == 1);
  CHECK(r.deadlock[0].wait.where == "main:2");
  CHECK(to_json(r).find(R"("waits_for":"an item of channel 1")") != std::string::npos);
  CHECK(to_text(r).find("waited: interpreter 1 'main'") != std::string::npos);
}

TEST_CASE("watch: a coroutine of a native interpreter stands in the circle with what it waits for") {
  system_config c = watched();
  native_interface asks;
  asks.function("ask", [](native_context& here, interpreter_id whom) -> native_task<int> {
    co_return (co_await here.call<int>(whom, "answer")).value();
  });
  c.languages["native"] = native(asks);
  Atoll::system runtime(std::move(c));
  REQUIRE(runtime.spawn({.name = "asker", .language = "native"}, {}));
  const auto ended = run(runtime, "local w = atoll.find 'asker'; w:call('ask', atoll.self())");
  REQUIRE(!ended);
  CHECK(ended.error().message.find("'asker' waits for the answer of interpreter 1 'main'") != std::string::npos);
}

TEST_CASE("watch: a runtime whose host threads may still act is not ended") {
  system_config c = watched();
  c.end_deadlocks = false;
  Atoll::system runtime(std::move(c));
  const auto feed = runtime.make_channel<int>();
  REQUIRE(feed);
  REQUIRE(runtime.spawn<lua>({.name = "reader"},
                             {source_kind::code, "return {read = function(c) return c:recv() end}", "="}));
  auto reader = runtime.find("reader");
  auto read = reader->call<int>("read", *feed);
  std::this_thread::sleep_for(700ms);
  REQUIRE(feed->send(5));
  CHECK(read.get().value() == 5);
}

TEST_CASE("watch: a message that waits is told once, by sender and receiver") {
  std::mutex mutex;
  std::vector<std::string> said;
  system_config c = watched([&](std::string_view line) {
    const std::scoped_lock lock(mutex);
    said.emplace_back(line);
  });
  c.end_deadlocks = false;
  c.stuck_after = 100ms;
  std::atomic<bool> go{false};
  native_interface slow;
  slow.function("block", [&] {
    while (!go) std::this_thread::sleep_for(1ms);
  });
  slow.function("nothing", [] {});
  c.languages["native"] = native(slow);
  Atoll::system runtime(std::move(c));
  auto w = runtime.spawn({.name = "slow", .language = "native"}, {}).value();
  auto blocked = w.call("block");
  auto behind = w.call("nothing");
  const auto told = [&] {
    const std::scoped_lock lock(mutex);
    return said.size();
  };
  CHECK(soon([&] { return told() > 0; }));
  std::this_thread::sleep_for(300ms);
  CHECK(told() == 1);
  {
    const std::scoped_lock lock(mutex);
    CHECK(said[0].find("'slow': a message from the host program has been waiting for more than 0.1 s")
          != std::string::npos);
  }
  go = true;
  CHECK(blocked.get());
  CHECK(behind.get());
}
