// Supervisors, on a simulated runtime with a clock set by hand.
#include <doctest/doctest.h>

#include "tests/actors/nursery.hpp"
#include "tests/seeds.hpp"

using namespace Atoll;
using namespace Atoll::test;

namespace {

using enum restart_strategy;
using enum restart_kind;

supervisor_options three(restart_strategy strategy, restart_kind restart = permanent) {
  return nursery::of(strategy,
                     {nursery::child("a", restart), nursery::child("b", restart), nursery::child("c", restart)});
}

} // namespace

TEST_CASE("supervisor: children start one after the other, and stop in reverse") {
  nursery v;
  const auto s = v.supervise(three(one_for_one));
  CHECK(v.refused.message == "");
  CHECK(v.history() == "start a, start b, start c");
  const auto all = v.children(s);
  REQUIRE(all.size() == 3);
  CHECK(all[1].name == "b");
  CHECK(all[1].id == v.named("b"));
  CHECK(all[1].state == run_state::running);
  CHECK(v.where().look_up(v.named("b"))->parent == s);
  v.stop(s);
  v.run();
  CHECK(v.history() == "exit c, exit b, exit a");
  CHECK(v.report(s)->outcome == end_kind::stopped);
}

TEST_CASE("supervisor: who is started again when one of three fails") {
  const auto after = [](restart_strategy strategy) {
    nursery v;
    const auto s = v.supervise(three(strategy));
    v.history();
    const auto before = v.named("b");
    v.crash("b");
    CHECK(v.named("b") != before);
    CHECK(v.children(s)[1].restarts == 1);
    CHECK(v.children(s)[1].reason == "failed");
    CHECK(v.logged("child 'b' failed: broken; it is started again") == 1);
    return v.history();
  };
  CHECK(after(one_for_one) == "start b");
  CHECK(after(rest_for_one) == "exit c, start b, start c");
  CHECK(after(one_for_all) == "exit c, exit a, start a, start b, start c");
}

TEST_CASE("supervisor: what each kind of end means to each kind of child") {
  struct expected {
    restart_kind restart;
    const char* failed;
    const char* killed;
    const char* stopped;
  };
  for (const expected& e :
       {expected{permanent, "start b", "start b", "exit b, start b"},
        expected{transient, "start b", "start b", "exit b"}, expected{temporary, "", "", "exit b"}}) {
    CAPTURE(name_of(e.restart));
    const auto after = [&](const std::function<void(nursery&)>& end) {
      nursery v;
      const auto s = v.supervise(three(one_for_one, e.restart));
      v.history();
      end(v);
      CHECK(v.children(s).size() == (e.restart == temporary ? 2 : 3));
      return v.history();
    };
    CHECK(after([](nursery& v) { v.crash("b"); }) == e.failed);
    CHECK(after([](nursery& v) {
            v.kill(v.named("b"));
            v.run();
          })
          == e.killed);
    CHECK(after([](nursery& v) { v.stop_in_order("b"); }) == e.stopped);
  }
}

TEST_CASE("supervisor: temporary siblings of one that is started again are stopped and forgotten") {
  nursery v;
  auto options = three(one_for_all);
  options.children[2].restart = temporary;
  const auto s = v.supervise(options);
  v.history();
  v.crash("a");
  CHECK(v.history() == "exit c, exit b, start a, start b");
  CHECK(v.children(s).size() == 2);
}

TEST_CASE("supervisor: as many restarts as its intensity are allowed, one more and it fails, children first") {
  for (const std::size_t intensity : {std::size_t{0}, std::size_t{1}, std::size_t{3}}) {
    CAPTURE(intensity);
    nursery v;
    auto options = three(one_for_one);
    options.intensity = intensity;
    options.name = "sup";
    const auto s = v.supervise(options);
    for (std::size_t i = 0; i < intensity; ++i) v.crash("b");
    CHECK(v.alive(s));
    v.history();
    v.crash("b");
    CHECK(v.history() == "exit c, exit a");
    REQUIRE_FALSE(v.alive(s));
    CHECK(v.report(s)->outcome == end_kind::failed);
    CHECK(v.report(s)->failure.message.find("'sup' gave up: child 'b' failed: broken, and " + std::to_string(intensity)
                                            + " restarts within 5 s are the limit")
          != std::string::npos);
    CHECK(v.named("a") == interpreter_id{});
  }
}

TEST_CASE("supervisor: restarts that lie further back than its period do not count") {
  nursery v;
  auto options = three(one_for_one);
  options.intensity = 2;
  options.period = 1s;
  const auto s = v.supervise(options);
  for (int i = 0; i < 10; ++i) {
    v.crash("b");
    v.advance(501ms); // three within 1002 ms
  }
  CHECK(v.alive(s));
  v.crash("b");
  v.crash("b");
  CHECK_FALSE(v.alive(s));
}

TEST_CASE("supervisor: the window of restarts includes its edge, and slides") {
  using namespace std::chrono;
  restart_window w(2, milliseconds(1000));
  const restart_window::time_point start{};
  CHECK(w.add(start));
  CHECK(w.add(start + 500ms));
  CHECK_FALSE(w.add(start + 1000ms));
  CHECK(w.add(start + 1501ms));
  CHECK(restart_window(0, milliseconds(1)).add(start) == false);
}

TEST_CASE("supervisor: a child that fails at its start ends those before it, and the error names it") {
  nursery v;
  v.unwilling["c"] = 1;
  auto options = three(one_for_one);
  const auto s = v.supervise(options);
  CHECK(v.history() == "start a, start b, no c, exit b, exit a");
  CHECK(v.refused.code == errc::guest_error);
  CHECK(v.refused.message == "child 'c' did not start: not in the mood");
  CHECK(v.report(s)->outcome == end_kind::failed);
}

TEST_CASE("supervisor: a start that fails while it restarts counts, and is tried again") {
  nursery v;
  const auto s = v.supervise(three(rest_for_one));
  v.history();
  v.unwilling["b"] = 1;
  v.unwilling["c"] = 1;
  v.crash("b");
  CHECK(v.history() == "exit c, no b, start b, no c, start c");
  CHECK(v.alive(s));
  v.unwilling["a"] = 1; // the fourth
  v.crash("a");
  CHECK_FALSE(v.alive(s));
  CHECK(v.history() == "exit c, exit b");
}

TEST_CASE("supervisor: a child has its own time to stop, then it is killed") {
  nursery v;
  auto options = three(one_for_one);
  options.children[1].shutdown = 300ms;
  options.children[2].shutdown = shutdown_kill;
  const auto s = v.supervise(options);
  const auto b = v.named("b");
  const auto c = v.named("c");
  v.stubborn["b"] = true;
  v.history();
  v.stop(s);
  v.run();
  CHECK(v.history() == "exit b"); // c was killed, a waits for its turn
  v.advance(299ms);
  CHECK(v.alive(b));
  v.advance(1ms);
  CHECK(v.report(b)->outcome == end_kind::killed);
  CHECK(v.report(c)->outcome == end_kind::killed);
  CHECK(v.history() == "exit a");
  CHECK(v.report(s)->outcome == end_kind::stopped);
}

TEST_CASE("supervisor: five seconds is what a child has when nothing is said, and a supervisor has what its own need") {
  nursery v;
  auto inner = nursery::of(one_for_one, {nursery::child("slow")});
  inner.children[0].shutdown = 20s;
  auto options =
      nursery::of(one_for_one, {nursery::child("a"), child_options{.name = "inner", .supervise = nested(inner)}});
  const auto s = v.supervise(options);
  CHECK(v.history() == "start a, start slow");
  v.stubborn["slow"] = v.stubborn["a"] = true;
  v.stop(s);
  v.run();
  v.advance(19s);
  CHECK(v.history() == "exit slow");
  v.advance(1s);
  CHECK(v.history() == "exit a");
  v.advance(4999ms);
  CHECK(v.alive(s));
  v.advance(1ms);
  CHECK(v.report(s)->outcome == end_kind::stopped);
}

TEST_CASE("supervisor: one that gives up is counted by the one above it, up to the top") {
  nursery v;
  auto inner = nursery::of(one_for_one, {nursery::child("x"), nursery::child("y")});
  inner.intensity = 1;
  auto outer =
      nursery::of(one_for_all, {nursery::child("a"), child_options{.name = "inner", .supervise = nested(inner)}});
  outer.intensity = 1;
  const auto s = v.supervise(outer);
  CHECK(v.history() == "start a, start x, start y");
  v.crash("x");
  CHECK(v.history() == "start x");
  v.crash("x");
  CHECK(v.history() == "exit y, exit a, start a, start x, start y");
  CHECK(v.alive(s));
  v.crash("y");
  CHECK(v.history() == "start y");
  v.crash("y");
  CHECK(v.history() == "exit x, exit a");
  REQUIRE_FALSE(v.alive(s));
  CHECK(v.report(s)->failure.message.find("child 'inner' failed: supervisor") != std::string::npos);
}

TEST_CASE("supervisor: killed, its children are killed, and the one above starts the tree again with the same names") {
  const auto runs = testing::seeds::from_environment(1, 20);
  for (std::uint64_t seed = runs.first; seed < runs.first + runs.count; ++seed) {
    CAPTURE(seed);
    nursery v(seed);
    auto inner = nursery::of(one_for_one, {nursery::child("x"), nursery::child("y")});
    const auto s = v.supervise(nursery::of(one_for_one, {child_options{.name = "inner", .supervise = nested(inner)}}));
    const auto x = v.named("x");
    v.kill(v.named("inner"));
    v.run();
    for (int i = 0; i < 100 && v.children(s)[0].state != run_state::running; ++i) v.advance(10ms);
    CHECK(v.report(x)->outcome == end_kind::killed);
    CHECK(v.named("x") != interpreter_id{});
    CHECK(v.named("y") != interpreter_id{});
    CHECK(v.children(s)[0].restarts == 1);
  }
}

TEST_CASE("supervisor: children come and go by request") {
  nursery v;
  const auto s = v.supervise(three(one_for_one));
  v.history();
  const value d = v.ask(s, "start_child", {to_value(nursery::child("d", temporary))});
  REQUIRE(d.if_interpreter() != nullptr);
  CHECK(*d.if_interpreter() == v.named("d"));
  CHECK(v.ask(s, "start_child", {to_value(nursery::child("d"))}).is_nil());
  CHECK(v.refused.code == errc::name_taken);
  CHECK(v.ask(s, "stop_child", {"b"}) == value(true));
  CHECK(v.ask(s, "stop_child", {"b"}) == value(false));
  CHECK(v.children(s).size() == 4);
  CHECK(v.children(s)[1].state == run_state::gone);
  for (const char* name : {"a", "b"}) {
    const value again = v.ask(s, "restart_child", {name});
    CHECK(again == value(v.named(name)));
  }
  CHECK(v.children(s)[1].restarts == 0);
  CHECK(v.ask(s, "delete_child", {"b"}).is_nil());
  CHECK(v.refused.message == "child 'b' runs: stop_child first");
  CHECK(v.ask(s, "stop_child", {value(v.named("c"))}) == value(true)); // by its handle
  CHECK(v.ask(s, "delete_child", {"c"}) == value(true));
  CHECK(v.ask(s, "stop_child", {"d"}) == value(true)); // temporary
  CHECK(v.children(s).size() == 2);
  CHECK(v.history() == "start d, exit b, exit a, start a, start b, exit c, exit d");
  CHECK(v.ask(s, "stop_child", {"nobody"}).is_nil());
  CHECK(v.refused.code == errc::invalid_argument);
  CHECK(v.refused.message.find("has no child \"nobody\"; it has a, b") != std::string::npos);
  v.unwilling["e"] = 1;
  CHECK(v.ask(s, "start_child", {to_value(nursery::child("e"))}).is_nil());
  CHECK(v.refused.message == "child 'e' did not start: not in the mood");
  CHECK(v.children(s).size() == 2);
  CHECK(v.ask(s, "dance").is_nil());
  CHECK(v.refused.code == errc::unknown_function);
}

TEST_CASE("supervisor: a child stopped by request stays so when all others are started again") {
  nursery v;
  const auto s = v.supervise(three(one_for_all));
  v.ask(s, "stop_child", {"b"});
  v.history();
  v.crash("c");
  CHECK(v.history() == "exit a, start a, start c");
  v.stop_in_order("a"); // as does the one that is started again
  CHECK(v.history() == "exit a, exit c, start a, start c");
}

TEST_CASE("supervisor: stopped while it starts a child, it stops what there is") {
  nursery v;
  const auto s = v.supervise(three(one_for_one));
  v.stubborn["c"] = true;
  v.history();
  bool answered = false;
  v.in(v.parent, [&](probe& p) {
    wire_writer& w = open_call(p, s, "restart_child", [&](const outcome& o) {
      CHECK(o.what == outcome::kind::failed);
      answered = true;
    });
    no_references none;
    REQUIRE(encode_values(w, none, std::array<value, 1>{"c"}).has_value());
    CHECK(p.outside().commit() == send_status::sent);
  });
  CHECK(v.history() == "exit c");
  v.stop(s);
  v.run();
  v.advance(5s);
  CHECK(answered);
  CHECK(v.history() == "exit b, exit a");
  CHECK(v.report(s)->outcome == end_kind::stopped);
}

TEST_CASE("supervisor: nothing is started again once the runtime ends") {
  nursery v;
  const auto s = v.supervise(three(one_for_all));
  v.history();
  v.is_finalizing = true;
  for (int i = 0; i < 2; ++i) {
    v.kill(v.named("a"));
    v.kill(v.named("b"));
    v.run();
  }
  CHECK(v.history() == "");
  CHECK(v.alive(s));
  CHECK(v.alive(v.named("c")));
  CHECK(v.logged("started again") == 0);
  CHECK(v.logged("gave up") == 0);
}

TEST_CASE("supervisor: what is wrong with its options is said by child and field") {
  nursery v;
  const auto told = [&v](const std::function<void(table&)>& spoil) {
    value options = to_value(three(one_for_one));
    table t = *options.if_table();
    spoil(t);
    v.supervise_value(t);
    CHECK(v.refused.code == errc::invalid_argument);
    return v.refused.message;
  };
  const auto second = [](const table& t) { return *t.get("children").if_table()->items()[1].if_table(); };
  CHECK(told([](table& t) { t.set("strategy", "one_for_two"); })
        == "supervise: strategy: wanted one of \"one_for_one\", \"one_for_all\", \"rest_for_one\", got string "
           "\"one_for_two\"");
  CHECK(told([](table& t) { t.set("intensity", -1); })
        == "supervise: intensity: wanted number of restarts, 0 or more, got integer -1");
  CHECK(told([](table& t) { t.set("period", 0); }) == "supervise: period: wanted seconds, more than 0, got integer 0");
  CHECK(told([](table& t) { t.set("childs", 1); })
        == "supervise: unknown field \"childs\"; there are name, strategy, intensity, period, children");
  CHECK(told([&](table& t) { second(t).set("restart", "always"); })
        == "supervise: children[2]: child 'b': restart: wanted one of \"permanent\", \"transient\", \"temporary\", got "
           "string \"always\"");
  CHECK(told([&](table& t) { second(t).set("shutdown", "later"); })
        == "supervise: children[2]: child 'b': shutdown: wanted seconds or \"kill\", got string \"later\"");
  CHECK(told([&](table& t) { second(t).set("language", "lua"), second(t).set("source", value()); })
        == "supervise: children[2]: child 'b': source: a path, {code = ...} or {file = ...} expected");
  CHECK(told([&](table& t) { second(t).set("name", "a"); }) == "supervise: children: two of them have the name 'a'");
  CHECK(told([&](table& t) { second(t).set("supervise", table()); })
        == "supervise: children[2]: child 'b': supervise: a supervisor has no source, args or language");
  CHECK(told([&](table& t) { second(t).set("language", "latin"); })
        == "child 'b' did not start: no such language: latin");
  CHECK(v.history() == "start a, exit a"); // for the last
}

TEST_CASE("supervisor: options survive the way through a table") {
  auto inner = nursery::of(rest_for_one, {nursery::child("x", transient)});
  inner.intensity = 7;
  inner.period = 1500ms;
  supervisor_options o = nursery::of(one_for_all, {nursery::child("a", temporary)});
  o.name = "top";
  o.children[0].args = {1, value(), "three"};
  o.children[0].memory = 1 << 20;
  o.children[0].shutdown = 250ms;
  o.children.push_back({.name = "inner", .shutdown = shutdown_kill, .supervise = nested(inner)});
  o.children.push_back({.from = {source_kind::file, "w.lua", {}}, .shutdown = shutdown_unlimited});
  const auto back = value_cast<supervisor_options>(to_value(o));
  REQUIRE(back.has_value());
  CHECK(back->name == "top");
  CHECK(back->strategy == one_for_all);
  REQUIRE(back->children.size() == 3);
  CHECK(back->children[0].args == o.children[0].args);
  CHECK(back->children[0].memory == o.children[0].memory);
  CHECK(back->children[0].restart == temporary);
  CHECK(back->children[0].shutdown == 250ms);
  CHECK(back->children[1].shutdown == shutdown_kill);
  CHECK(back->children[1].supervise->intensity == 7);
  CHECK(back->children[1].supervise->period == 1500ms);
  CHECK(back->children[1].supervise->children[0].restart == transient);
  CHECK(back->children[2].shutdown == shutdown_unlimited);
  CHECK(back->children[2].from.kind == source_kind::file);
  CHECK(back->children[2].language == "lua");
}

TEST_CASE("supervisor: whatever is killed, and whenever, the tree is whole again or has failed in order") {
  const auto runs = testing::seeds::from_environment(1, 60);
  for (std::uint64_t seed = runs.first; seed < runs.first + runs.count; ++seed) {
    CAPTURE(seed);
    INFO("ATOLL_SEED=", seed);
    std::mt19937_64 dice(seed);
    nursery v(seed);
    auto inner = nursery::of(static_cast<restart_strategy>(dice() % 3), {nursery::child("x"), nursery::child("y")});
    auto outer = three(static_cast<restart_strategy>(dice() % 3));
    outer.children.push_back({.name = "inner", .supervise = nested(inner)});
    const auto s = v.supervise(outer);
    const char* const names[] = {"a", "b", "c", "inner", "x", "y"};
    for (int i = 0; i < 12; ++i) {
      const interpreter_id victim = v.named(names[dice() % 6]);
      if (victim != interpreter_id{}) v.kill(victim);
      for (std::size_t steps = dice() % 20; steps > 0 && v.step(); --steps) {
      }
      if (dice() % 2 == 0) v.advance(1s);
    }
    v.run();
    v.advance(2s);
    if (v.alive(s)) {
      for (const char* name : names) {
        CAPTURE(name);
        CHECK(v.where().find(name).has_value());
      }
      CHECK(v.living().size() == 9); // main, the parent, s and six
    } else {
      CHECK(v.report(s)->outcome == end_kind::failed);
      CHECK(v.living().size() == 2);
    }
  }
}
