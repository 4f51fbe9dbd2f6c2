// Links between shells: told once, on both sides, whatever crosses; and who may end whom.
#include <doctest/doctest.h>

#include "tests/actors/village.hpp"
#include "tests/seeds.hpp"

using namespace Atoll;
using namespace Atoll::test;

namespace {

/// Links with a function that notes the reason.
void link(village& v, interpreter_id who, interpreter_id with, std::vector<std::string>& told) {
  v.in(who, [&](probe& p) {
    const auto linked = p.outside().link(with, p.await([&told](const outcome& o) { told.emplace_back(o.reason); }));
    CHECK(linked.has_value());
  });
}

void link(village& v, interpreter_id who, interpreter_id with) {
  v.in(who, [&](probe& p) { CHECK(p.outside().link(with, 0).has_value()); });
}

void fail_in(village& v, interpreter_id who) {
  v.post(who, [](interpreter& i) { i.fail_self({errc::guest_error, "broken", "a traceback", {}, {}, {}}); });
  v.run();
}

} // namespace

TEST_CASE("shell: a link ends the other when one fails or is killed, and not when it stops") {
  for (const bool from_first : {true, false}) {
    for (const char* how : {"fail", "kill", "stop"}) {
      CAPTURE(from_first);
      CAPTURE(how);
      village v;
      v.born();
      const auto a = v.born("a");
      const auto b = v.born("b");
      link(v, from_first ? a : b, from_first ? b : a);
      const std::string end(how);
      if (end == "fail") fail_in(v, a);
      if (end == "kill") v.kill(a);
      if (end == "stop") v.stop(a);
      v.run();
      CHECK_FALSE(v.alive(a));
      CHECK(v.alive(b) == (end == "stop"));
      if (end == "stop") continue;
      REQUIRE(v.report(b) != nullptr);
      CHECK(v.report(b)->outcome == end_kind::failed);
      CHECK(v.report(b)->failure.code == errc::interpreter_gone);
      CHECK(v.report(b)->failure.message
            == std::string("interpreter 2 'a', linked to 3 'b', ") + (end == "fail" ? "failed: broken" : "was killed"));
      if (end == "fail") CHECK(v.report(b)->failure.traceback == "a traceback");
    }
  }
}

TEST_CASE("shell: who linked with a function is told once, of an end in order too, and lives on") {
  for (const char* how : {"failed", "killed", "stopped"}) {
    village v;
    v.born();
    const auto a = v.born();
    const auto b = v.born();
    std::vector<std::string> told;
    link(v, a, b, told);
    link(v, b, a); // the same link; this side falls with the other
    const std::string end(how);
    if (end == "failed") fail_in(v, b);
    if (end == "killed") v.kill(b);
    if (end == "stopped") v.stop(b);
    v.run();
    CHECK(told == std::vector<std::string>{how});
    CHECK(v.alive(a));
  }
}

TEST_CASE("shell: an interpreter that is gone cannot be linked to, and one that goes meanwhile is down at once") {
  village v;
  v.born();
  const auto a = v.born();
  const auto b = v.born();
  const auto c = v.born();
  v.kill(b);
  v.run();
  v.in(a, [&](probe& p) {
    CHECK(p.outside().link(b, 0).error().code == errc::interpreter_gone);
    CHECK(p.outside().link(a, 0).error().code == errc::invalid_argument);
    CHECK(p.outside().link(host_interpreter, 0).error().code == errc::invalid_argument);
    CHECK(p.outside().unlink(b) == std::nullopt);
  });
  std::vector<std::string> told;
  v.post(a, [&](interpreter& i) {
    probe& p = v.at(a);
    CHECK(i.link(c, p.await([&](const outcome& o) {
             told.emplace_back(o.reason);
             CHECK(o.failure->message.find("killed") != std::string::npos);
           })).has_value());
    v.kill(c); // asked, and not told yet
    while (v.step(c)) {
    }
  });
  v.run();
  CHECK(told == std::vector<std::string>{"killed"});
  CHECK(v.alive(a));
}

TEST_CASE("shell: a link that was cut is over on both sides, and its function is let go of") {
  village v;
  v.born();
  const auto a = v.born();
  const auto b = v.born();
  std::vector<std::string> told;
  link(v, a, b, told);
  v.in(b, [&](probe& p) { CHECK(p.outside().unlink(a).has_value()); });
  CHECK(told == std::vector<std::string>{"unlinked"});
  v.in(a, [&](probe& p) { CHECK(p.outside().unlink(b) == std::nullopt); });
  v.kill(a);
  v.run();
  CHECK(v.alive(b));
}

TEST_CASE("shell: however links are made and cut at the same time, both sides agree, and an end is told once") {
  const auto runs = testing::seeds::from_environment(1, 300);
  for (std::uint64_t seed = runs.first; seed < runs.first + runs.count; ++seed) {
    CAPTURE(seed);
    INFO("ATOLL_SEED=", seed);
    std::mt19937_64 dice(seed);
    village v({}, seed);
    v.born();
    const interpreter_id who[] = {v.born(), v.born(), v.born()};
    std::map<std::pair<int, int>, int> told; // of whom, by whom
    for (int i = 0; i < 30; ++i) {
      const int a = static_cast<int>(dice() % 3);
      const int b = (a + 1 + static_cast<int>(dice() % 2)) % 3;
      const bool make = dice() % 3 != 0;
      v.post(who[a], [&, a, b, make](interpreter& shell) {
        if (!make) return void(shell.unlink(who[b]));
        probe& p = v.at(who[a]);
        CHECK(shell
                  .link(who[b], p.await([&told, a, b](const outcome& o) {
                    if (o.reason != "unlinked") ++told[{a, b}];
                  }))
                  .has_value());
      });
      for (std::size_t steps = dice() % 4; steps > 0 && v.step(); --steps) {
      }
    }
    v.run();
    CHECK(told.empty());
    const bool linked[2] = {v.find(who[0])->unlink(who[2]).has_value(), v.find(who[2])->unlink(who[0]).has_value()};
    CHECK(linked[0] == linked[1]);
    v.run();
    for (const interpreter_id other : {who[0], who[2]}) v.find(who[1])->unlink(other);
    v.in(who[1], [](probe&) {});
    link(v, who[0], who[2]);
    v.in(who[2], [&](probe& p) {
      (void)p.outside().link(who[0], p.await([&told](const outcome&) { ++told[{2, 0}]; }));
    });
    v.kill(who[0]);
    v.run();
    CHECK(told[{2, 0}] == 1);
    CHECK(told.size() == 1);
    CHECK(v.alive(who[2]));
  }
}

TEST_CASE("shell: main is not ended by other interpreters, nor by a link that it did not ask for") {
  village v;
  v.scripts["probe"]["start"] = [](probe& p, const incoming&) { p.keeps_waiting = true; };
  const auto main = v.born();
  REQUIRE(main == main_interpreter);
  const auto a = v.born();
  errc stop{};
  v.in(a, [&](probe& p) {
    CHECK(p.outside().kill(main).error().code == errc::invalid_argument);
    CHECK(p.outside().interrupt(main).error().code == errc::invalid_argument);
    CHECK(p.outside().kill(interpreter_id{99}).has_value());
    wire_writer& w = p.outside().open_message(main, record_kind::stop);
    w.put_u64(p.outside().open_call(p.await([&](const outcome& o) { stop = o.failure->code; })));
    w.put_u64(0);
    CHECK(p.outside().commit() == send_status::sent);
    CHECK(p.outside().link(main, 0).has_value());
  });
  CHECK(stop == errc::invalid_argument);
  v.kill(a);
  v.run();
  CHECK(v.alive(main));
  CHECK(v.main_done_told == 0);

  const auto b = v.born();
  link(v, main, b);
  v.kill(b);
  v.run();
  CHECK(v.main_done_told == 1); // it asked
  CHECK(v.alive(main));
  v.post(main, [](interpreter& i) { i.end(end_kind::exited); }); // as the finalization does
  v.run();
  CHECK(v.report(main)->outcome == end_kind::failed);
  CHECK(v.report(main)->failure.message.find("was killed") != std::string::npos);
}

TEST_CASE("shell: a start that fails itself is answered with the error") {
  village v;
  v.born();
  const auto a = v.born();
  v.scripts["hasty"]["start"] = [](probe& p, const incoming&) {
    p.outside().fail_self({errc::guest_error, "not today", {}, {}, {}, {}});
  };
  std::string why;
  v.in(a, [&](probe& p) {
    spawn(p, "hasty", [&](const outcome& o) {
      if (o.what == outcome::kind::failed) why = o.failure->message;
    });
  });
  CHECK(why == "not today");
  CHECK(v.living().size() == 2);
}

TEST_CASE("shell: a parent forgets the children that are gone") {
  village v;
  v.born();
  const auto a = v.born();
  for (int i = 0; i < 300; ++i) {
    interpreter_id child{};
    v.in(a, [&](probe& p) { child = spawn(p, "probe"); });
    if (i % 2 == 0) v.kill(child);
    v.run();
  }
  v.stop(a);
  v.run();
  CHECK(v.living().size() == 1);
}
