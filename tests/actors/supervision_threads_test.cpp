// Supervisors and links in whole runtimes: C++ options and handles, Lua children, kills from other threads at random moments.
#include <doctest/doctest.h>

#include <random>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "tests/actors/outside.hpp"
#include "tests/seeds.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::code_of;
using test::soon;

namespace {

system_config quiet_config() {
  system_config c;
  c.workers = 2;
  c.languages["lua"] = Atoll::lua();
  c.log_threshold = log_level::error;
  c.log = [](std::string_view) {};
  return c;
}

child_options lua_child(std::string name, const std::string& text = "return {f = function() return 1 end}") {
  child_options o;
  o.name = std::move(name);
  o.from = code(text);
  return o;
}

bool running(Atoll::system& s, const char* name) {
  const auto h = s.find(name);
  return h && h->state() == run_state::running;
}

} // namespace

TEST_CASE("supervisor: from C++, its children are found by name, and by the same name after they were killed") {
  Atoll::system s(quiet_config());
  const auto top = s.supervise({.name = "top", .children = {lua_child("a"), lua_child("b")}});
  REQUIRE(top.has_value());
  const auto a = s.find("a");
  REQUIRE(a.has_value());
  CHECK(a->kill());
  REQUIRE(soon([&] {
    const auto now = s.find("a");
    return now && now->id() != a->id() && now->state() == run_state::running;
  }));
  CHECK(code_of(a->call<int>("f").get()) == errc::interpreter_gone);
  CHECK(s.find("a")->call<int>("f").get() == 1);
  const auto all = top->children().get();
  REQUIRE(all.has_value());
  REQUIRE(all->size() == 2);
  CHECK((*all)[0].name == "a");
  CHECK((*all)[0].restarts == 1);
  CHECK((*all)[0].reason == "killed");

  const auto c = top->start_child(lua_child("c")).get();
  REQUIRE(c.has_value());
  CHECK(c->call<int>("f").get() == 1);
  CHECK(top->restart_child("c").get()->id() != c->id());
  CHECK(top->stop_child("c").get() == true);
  CHECK(top->delete_child("c").get() == true);
  CHECK(code_of(top->stop_child("c").get()) == errc::invalid_argument);
  CHECK(top->stop().get().has_value());
  CHECK(code_of(s.find("a")) == errc::no_such_interpreter);
  CHECK(s.finalize().verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("supervisor: from C++, a child that does not start is the error, and nothing is left") {
  Atoll::system s(quiet_config());
  const auto top = s.supervise({.children = {lua_child("a"), lua_child("b", "error('no luck', 0)")}});
  REQUIRE_FALSE(top.has_value());
  CHECK(top.error().code == errc::guest_error);
  CHECK(top.error().message == "child 'b' did not start: no luck");
  CHECK(soon([&] { return s.list().empty(); }));
  CHECK(code_of(s.supervise({.children = {lua_child("x"), lua_child("x")}})) == errc::invalid_argument);
  CHECK(s.finalize().verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("supervisor: a child whose exit handler never ends is killed after its time, and the others still stop") {
  Atoll::system s(quiet_config());
  auto slow = lua_child("slow", "require('atoll').at_exit(function() while true do end end)");
  slow.shutdown = 100ms;
  const auto top = s.supervise({.children = {lua_child("a"), slow}});
  REQUIRE(top.has_value());
  CHECK(top->stop().get().has_value());
  CHECK(s.list().empty());
  const auto report = s.finalize();
  CHECK(report.verdict == finalization_report::verdict_kind::clean);
  for (const interpreter_report& i : report.interpreters)
    CHECK(i.outcome == (i.name == "slow" ? end_kind::killed : end_kind::stopped));
}

TEST_CASE(
    "supervisor: the finalization ends children once each, and starts none again") { // their order: lua_supervise_at_exit
  Atoll::system s(quiet_config());
  REQUIRE(s.supervise({.strategy = restart_strategy::one_for_all, .children = {lua_child("a"), lua_child("b")}}));
  const auto report = s.finalize();
  CHECK(report.verdict == finalization_report::verdict_kind::clean);
  CHECK(report.interpreters.size() == 3);
  for (const interpreter_report& i : report.interpreters) CHECK(i.outcome == end_kind::stopped);
}

TEST_CASE("supervisor: kills from several threads at random moments leave a tree that is whole, or that failed") {
  const auto runs = testing::seeds::from_environment(1, 3);
  for (std::uint64_t seed = runs.first; seed < runs.first + runs.count; ++seed) {
    CAPTURE(seed);
    INFO("ATOLL_SEED=", seed);
    Atoll::system s(quiet_config());
    const supervisor_options inner{
        .strategy = restart_strategy::one_for_all, .intensity = 1000, .children = {lua_child("x"), lua_child("y")}};
    const auto top = s.supervise(
        {.strategy = restart_strategy::rest_for_one,
         .intensity = 1000,
         .children = {lua_child("a"), child_options{.name = "inner", .supervise = nested(inner)}, lua_child("b")}});
    REQUIRE(top.has_value());
    const char* const names[] = {"a", "b", "inner", "x", "y"};
    std::vector<std::thread> killers;
    for (std::uint64_t t = 0; t < 3; ++t)
      killers.emplace_back([&, t] {
        std::mt19937_64 dice(seed * 31 + t);
        for (int i = 0; i < 15; ++i) {
          if (const auto victim = s.find(names[dice() % 5])) (void)victim->kill();
          std::this_thread::sleep_for(std::chrono::microseconds(dice() % 3000));
        }
      });
    for (std::thread& t : killers) t.join();
    const bool whole = soon([&] {
      for (const char* name : names)
        if (!running(s, name)) return false;
      return s.list().size() == 6;
    });
    CHECK((whole || top->state() == run_state::gone));
    CHECK(s.finalize().verdict == finalization_report::verdict_kind::clean);
  }
}

TEST_CASE("supervisor: a native interpreter starts one, waits for it, and asks it") {
  native_interface offered;
  offered.function("grow", [](native_context& c, std::string name) -> native_task<result<std::int64_t>> {
    const supervisor_options options{.name = "tree", .children = {lua_child(std::move(name))}};
    const spawn_options how{.name = "tree", .language = supervisor_language};
    const source none;
    const result<interpreter_id> tree = co_await c.spawn_interpreter(how, none, options);
    if (!tree) co_return tl::unexpected<error>(tree.error());
    const auto children = co_await c.call<std::vector<child_info>>(*tree, "children");
    if (!children) co_return tl::unexpected<error>(children.error());
    co_return co_await c.call<std::int64_t>(children->at(0).id, "f");
  });
  system_config config = quiet_config();
  config.languages["native"] = Atoll::native(std::move(offered));
  Atoll::system s(std::move(config));
  const auto n = s.spawn<Atoll::native>({.name = "n"});
  REQUIRE(n.has_value());
  CHECK(n->call<std::int64_t>("grow", "leaf").get() == 1);
  CHECK(code_of(n->call<std::int64_t>("grow", "leaf").get()) == errc::name_taken);
  CHECK(n->stop().get().has_value()); // what it has started stops before it
  CHECK(s.list().empty());
  CHECK(s.finalize().verdict == finalization_report::verdict_kind::clean);
}
