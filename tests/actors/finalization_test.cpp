// How runtimes and interpreters end: whom the phase "exit" gives how much time, what still arrives behind it, who was
// killed, and what a stop with a limit does.
#include <doctest/doctest.h>

#include <caf/scheduler/test_coordinator.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include <atoll/lua.hpp>

#include "actors/core.hpp"
#include "actors/finalization.hpp"
#include "tests/actors/probe_guest.hpp"
#include "tests/in_a_process.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::probe;
using test::probe_functions;

namespace {

/// A runtime of Lua programs, which notes what they log with `says`.
class programs {
public:
  explicit programs(std::chrono::milliseconds deadline, unsigned workers = 2)
      : runtime_(configure(deadline, workers)) {}

  interpreter_handle start(const std::string& name, const std::string& code) {
    const auto made = runtime_.spawn<lua>({.name = name}, {source_kind::code, head + code, "=" + name});
    REQUIRE_MESSAGE(made, name);
    return *made;
  }
  void run_main(const std::string& code) {
    CHECK(runtime_.run_main({.name = "main", .language = "lua"}, {source_kind::code, head + code, "=main"}, {}));
  }
  finalization_report finalize() { return runtime_.finalize(); }
  std::string said() {
    const std::scoped_lock lock(mutex_);
    return fmt::format("{}", fmt::join(said_, ", "));
  }

private:
  static constexpr const char* head = "local atoll = require 'atoll'; local says = function(x) atoll.log.info(x) end\n";

  system_config configure(std::chrono::milliseconds deadline, unsigned workers) {
    system_config c;
    c.workers = workers;
    c.deadline = deadline;
    c.languages["lua"] = lua();
    c.log_threshold = log_level::info;
    c.log = [this](std::string_view line) {
      if (line.find("atoll: info: ") != 0) return;
      const std::string_view text = line.substr(line.rfind(": ") + 2);
      const std::scoped_lock lock(mutex_);
      said_.emplace_back(text.substr(0, text.size() - 1));
    };
    return c;
  }

  std::mutex mutex_;
  std::vector<std::string> said_;
  Atoll::system runtime_;
};

const finalization_report::phase& phase(const finalization_report& r, std::string_view name) {
  const auto at = std::find_if(r.phases.begin(), r.phases.end(), [&](const auto& p) { return p.name == name; });
  REQUIRE(at != r.phases.end());
  return *at;
}

/// Who was forced, in any phase: "exit: interpreter 2 'x'".
std::string forced(const finalization_report& r) {
  std::vector<std::string> all;
  for (const auto& p : r.phases)
    for (const std::string& who : p.forced) all.push_back(p.name + ": " + who);
  return fmt::format("{}", fmt::join(all, ", "));
}

const interpreter_report& outcome_of(const finalization_report& r, std::string_view name) {
  const auto at =
      std::find_if(r.interpreters.begin(), r.interpreters.end(), [&](const auto& i) { return i.name == name; });
  REQUIRE(at != r.interpreters.end());
  return *at;
}

const char* const endless = "while true do pcall(function() while true do end end) end";

/// Turns a crank: whoever is scheduled first has the next turn.
class crank final : public waiter {
public:
  core* runtime = nullptr;
  void wait(time_point until) override {
    auto& scheduler = static_cast<caf::scheduler::test_coordinator&>(runtime->caf().scheduler());
    if (!scheduler.jobs.empty()) {
      scheduler.run_once();
    } else if (until == time_point::max()) {
      runtime->request_exit(0);
    } else {
      scheduler.advance_time(std::max(until - runtime->now(), time_point::duration(1)));
    }
  }
};

} // namespace

// -- what is sent in phase exit ----------------------------------------------------------------------------------------

TEST_CASE("finalization: what exit handlers send is passed on from peer to peer before anybody lets go") {
  constexpr std::size_t peers = 6;
  std::vector<interpreter_id> chain; // main last
  std::size_t told = 0;
  probe_functions functions;
  functions["pass"] = [&](probe& p, const incoming&) {
    ++told;
    const auto me = std::find(chain.begin(), chain.end(), p.outside().id());
    if (me == chain.begin()) return;
    p.outside().open_message(*(me - 1), record_kind::send).put_text("pass");
    CHECK(p.outside().commit() == send_status::sent);
  };
  probe_functions main_functions = functions;
  main_functions["start"] = [&](probe& main, const incoming&) {
    for (std::size_t i = 0; i < peers; ++i) {
      const auto id = main.outside().spawn({.language = "peer"}, {}, {}, main.await([](const outcome&) {}));
      REQUIRE(id.has_value());
      chain.push_back(*id);
    }
    std::reverse(chain.begin(),
                 chain.end()); // main is the last to exit, and tells the oldest: it goes on to newer ones
    chain.push_back(main.outside().id());
    main.hooks["exit"] = [&] { functions.at("pass")(main, {}); };
  };
  crank by_hand;
  system_config config;
  config.workers = 1;
  config.languages["main"] = [&](host& h) { return std::make_unique<probe>(h, main_functions); };
  config.languages["peer"] = [&](host& h) { return std::make_unique<probe>(h, functions); };
  const auto runtime = std::make_shared<core>(config, &by_hand);
  by_hand.runtime = runtime.get();
  CHECK(runtime->run_main({.name = "main", .language = "main"}, {}, {}));
  const finalization_report r = runtime->finalize();
  CHECK(told == peers + 1);
  CHECK(r.dead_letters == 0);
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("finalization: a message of the last exit handler arrives, also when its turn ends long after the handler") {
  int told = 0;
  const probe_functions functions{{"tell", [&](probe&, const incoming&) { ++told; }}};
  const probe_functions main_functions{{"start", [&](probe& main, const incoming&) {
                                          const auto peer = main.outside().spawn({.language = "peer"}, {}, {},
                                                                                 main.await([](const outcome&) {}));
                                          REQUIRE(peer.has_value());
                                          main.hooks["exit"] = [&main, to = *peer] {
                                            main.outside().open_message(to, record_kind::send).put_text("tell");
                                            CHECK(main.outside().commit() == send_status::sent);
                                            main.ready = [] { // behind the handlers, in the same turn
                                              std::this_thread::sleep_for(30ms);
                                              return false;
                                            };
                                          };
                                        }}};
  system_config config;
  config.workers = 2;
  config.languages["main"] = [&](host& h) { return std::make_unique<probe>(h, main_functions); };
  config.languages["peer"] = [&](host& h) { return std::make_unique<probe>(h, functions); };
  Atoll::system runtime(config);
  CHECK(runtime.run_main({.name = "main", .language = "main"}, {}, {}));
  const finalization_report r = runtime.finalize();
  CHECK(told == 1);
  CHECK(r.dead_letters == 0);
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
}

// -- shares of phase exit ----------------------------------------------------------------------------------------------

TEST_CASE("finalization: an endless finalizer is named alone, and takes no time from the interpreters behind it") {
  for (const unsigned workers : {1U, 2U}) {
    CAPTURE(workers);
    programs p(4s, workers);
    for (const char* name : {"oldest", "middle", "newer"})
      p.start(name, std::string("atoll.finalizer(nil, function() atoll.sleep(0.01) says('") + name
                        + "') end, {priority = 0})");
    p.start("endless", std::string("atoll.finalizer(nil, function() ") + endless + " end, {priority = 0})");
    const finalization_report r = p.finalize();
    CHECK(p.said() == "newer, middle, oldest");
    CHECK(forced(r) == "exit: interpreter 5 'endless'");
    CHECK(r.verdict == finalization_report::verdict_kind::forced);
    CHECK(outcome_of(r, "endless").outcome == end_kind::stopped);
    CHECK(r.finalizers_run == 4);
    CHECK(r.finalizers_failed == 1);
    CHECK(phase(r, "exit").seconds < 1.5);
  }
}

TEST_CASE("finalization: an endless exit handler that cannot be preempted keeps nobody's worker") {
  programs p(4s, 1);
  p.start("older", "atoll.at_exit(function() says('older') end)");
  // Lua cannot yield through the comparison of table.sort.
  p.start("endless", std::string("atoll.at_exit(function() table.sort({2, 1}, function() ") + endless + " end) end)");
  const finalization_report r = p.finalize();
  CHECK(p.said() == "older");
  CHECK(forced(r) == "exit: interpreter 3 'endless'");
}

TEST_CASE("finalization: several endless handlers and finalizers of one interpreter are cut one after the other") {
  programs p(4s);
  p.start("older", "atoll.finalizer(nil, function() says('older') end, {priority = 0})");
  p.start("endless", std::string("for i = 1, 3 do\n"
                                 "  atoll.at_exit(function() atoll.sleep(1e6) end)\n"
                                 "  atoll.finalizer(nil, function() ")
                         + endless
                         + " end, {priority = i})\n"
                           "end\n"
                           "atoll.finalizer(nil, function() says('last') end, {priority = 0})");
  const finalization_report r = p.finalize();
  CHECK(p.said() == "older, last");
  CHECK(forced(r) == "exit: interpreter 3 'endless'");
  CHECK(r.finalizers_failed == 6);
}

TEST_CASE("finalization: an interrupt of phase exit cuts one finalizer, the next one may wait") {
  programs p(6s, 1); // what waits behind the cut one has a quarter of the time then left, 0.375 s
  p.start("older", "");
  p.start("late", std::string("atoll.finalizer(nil, function() ") + endless
                      + " end, {priority = 1})\n"
                        "atoll.finalizer(nil, function() atoll.sleep(0.02) says('waited') end, {priority = 0})");
  const finalization_report r = p.finalize();
  CHECK(p.said() == "waited");
  CHECK(forced(r) == "exit: interpreter 3 'late'");
  CHECK(r.finalizers_run == 2);
  CHECK(r.finalizers_failed == 1);
}

namespace {

/// In a process of its own, which ends with _exit: the abandoned state and its thread stay behind on purpose.
bool abandons_one_and_runs_the_other() {
  static std::atomic<bool> release{false};
  static std::atomic<bool> other_ran{false};
  static const probe_functions stuck{{"start", [](probe& p, const incoming&) {
                                        p.hooks["exit"] = [] {
                                          while (!release) std::this_thread::sleep_for(1ms);
                                        };
                                      }}};
  static const probe_functions fine{
      {"start", [](probe& p, const incoming&) { p.hooks["exit"] = [] { other_ran = true; }; }}};
  system_config config;
  config.workers = 2;
  config.deadline = 1s;
  config.languages["stuck"] = [](host& h) { return std::make_unique<probe>(h, stuck); };
  config.languages["fine"] = [](host& h) { return std::make_unique<probe>(h, fine); };
  config.log = [](std::string_view) {};
  Atoll::system runtime(config);
  if (!runtime.spawn({.name = "fine", .language = "fine"}, {})) return false;
  if (!runtime.spawn({.name = "stuck", .language = "stuck"}, {})) return false;
  const finalization_report r = runtime.finalize();
  return other_ran && r.seconds < 1.5 && forced(r) == "exit: interpreter 3 'stuck', teardown: interpreter 3 'stuck'"
         && outcome_of(r, "stuck").outcome == end_kind::abandoned && outcome_of(r, "fine").outcome == end_kind::stopped;
}

} // namespace

TEST_CASE("finalization: an exit handler in C++ that never returns is abandoned, those behind it run all the same") {
  CHECK(test::in_a_process([] { return abandons_one_and_runs_the_other() ? 0 : 1; }) == 0);
}

// -- killed in teardown ------------------------------------------------------------------------------------------------

TEST_CASE("finalization: who has to be killed in teardown is told as killed, main too") {
  programs p(1s);
  p.start("child", std::string("atoll.finalizer(nil, function() ") + endless + " end, {priority = -1})");
  p.start("fine", "");
  p.run_main(std::string("atoll.finalizer(nil, function() ") + endless + " end, {priority = -1})");
  const finalization_report r = p.finalize();
  CHECK(forced(r) == "teardown: interpreter 2 'child', teardown: interpreter 1 'main'");
  for (const char* name : {"main", "child"}) {
    CHECK(outcome_of(r, name).outcome == end_kind::killed);
    CHECK(outcome_of(r, name).failure.code == errc::killed);
  }
  CHECK(outcome_of(r, "fine").outcome == end_kind::stopped);
  CHECK(to_text(r).find("  killed: interpreter 1 'main': it was killed while it closed\n") != std::string::npos);
}

// -- a stop with a limit -----------------------------------------------------------------------------------------------

TEST_CASE("a stop with a limit kills who is in the middle of a turn that never ends: a handler, a last finalizer") {
  const std::string never = endless;
  const std::vector<std::string> codes{
      "atoll.finalizer(nil, function() " + never + " end, {priority = -1})",
      "atoll.at_exit(function() table.sort({2, 1}, function() " + never + " end) end)",
      // Another wake-up is due before the limit.
      "atoll.after(0.02, function() end) atoll.finalizer(nil, function() " + never + " end, {priority = -1})",
  };
  programs p(4s);
  for (const std::string& code : codes) {
    CAPTURE(code);
    const interpreter_handle who = p.start("stuck", code);
    const auto stopped = who.stop(50ms);
    const auto until = clock_type::now() + 10s;
    while (!stopped.ready() && clock_type::now() < until) std::this_thread::sleep_for(1ms);
    CHECK(stopped.ready());
  }
  const finalization_report r = p.finalize();
  CHECK(forced(r).empty());
  for (const interpreter_report& i : r.interpreters) CHECK(i.outcome == end_kind::killed);
}

TEST_CASE("finalization: it has returned from every callback of a monitor when it returns") {
  for (int i = 0; i < 20; ++i) {
    programs p(4s);
    const interpreter_handle who = p.start("watched", "");
    std::atomic<bool> told{false};
    REQUIRE(who.monitor([&](const down&) {
      std::this_thread::sleep_for(20ms);
      told = true;
    }));
    p.finalize();
    CHECK(told);
  }
}

TEST_CASE("a stop is answered when the interpreter's name is free again") {
  const probe_functions functions;
  system_config config;
  config.workers = 2;
  config.languages["probe"] = [&](host& h) { return std::make_unique<probe>(h, functions); };
  Atoll::system runtime(config);
  for (int i = 0; i < 3000; ++i) {
    CAPTURE(i);
    const auto made = runtime.spawn({.name = "one at a time", .language = "probe"}, {});
    REQUIRE(made);
    REQUIRE(made->stop().get());
  }
}
