// A shell's end, without CAF and threads: stops, kills, last words, and who is told.
#include <doctest/doctest.h>

#include "tests/actors/village.hpp"

using namespace Atoll;
using namespace Atoll::test;
using namespace std::chrono_literals;

// -- the end -----------------------------------------------------------------------------------------------------------

TEST_CASE("shell: a stop ends the children first, and then answers") {
  village v;
  const auto a = v.born();
  std::vector<interpreter_id> born;
  v.in(a, [&](probe& p) {
    born.push_back(spawn(p, "probe"));
    born.push_back(spawn(p, "probe"));
  });
  v.in(born[0], [&](probe& p) { born.push_back(spawn(p, "probe")); });
  v.host_letters();
  v.stop(a);
  v.run();
  REQUIRE(v.reports.size() == 4);
  CHECK(v.reports[3].id == a);
  for (const auto& r : v.reports) CHECK(r.outcome == end_kind::stopped);
  const auto order = [&](interpreter_id id) { return v.report(id) - v.reports.data(); };
  CHECK(order(born[2]) < order(born[0]));
  const auto got = v.host_letters();
  REQUIRE(got.size() == 1);
  CHECK(got[0].kind == record_kind::reply);
}

TEST_CASE("shell: exit handlers run before the guest is closed, once, also when stopped twice") {
  village v;
  const auto a = v.born();
  std::vector<std::string> log;
  v.at(a).hooks["exit"] = [&] { log.emplace_back("exit"); };
  v.at(a).hooks["close"] = [&] { log.emplace_back("close"); };
  v.host_letters();
  v.stop(a, 0, 5);
  v.stop(a, 0, 6);
  v.run();
  CHECK(log == std::vector<std::string>{"exit", "close"});
  CHECK(v.host_letters().size() == 2);
}

TEST_CASE("shell: a stop whose deadline passes kills, and is answered") {
  village v;
  add_late(v);
  const auto a = v.start("late");
  v.run();
  v.host_letters();
  v.stop(a, 100);
  v.run();
  v.advance(99ms);
  CHECK(v.alive(a));
  CHECK(v.where().look_up(a)->state == run_state::stopping);
  v.advance(1ms);
  CHECK_FALSE(v.alive(a));
  CHECK(v.reports[0].outcome == end_kind::killed);
  CHECK(v.host_letters().size() == 1);
}

TEST_CASE("shell: an earlier deadline of a second stop counts") {
  village v;
  add_late(v);
  const auto a = v.start("late");
  v.run();
  v.stop(a, 1000);
  v.run();
  v.stop(a, 10);
  v.run();
  v.advance(10ms);
  CHECK_FALSE(v.alive(a));
}

TEST_CASE("shell: a child that hangs in its exit handlers does not outlive its parent's deadline") {
  village v;
  add_late(v);
  const auto a = v.born();
  interpreter_id child{};
  v.in(a, [&](probe& p) { child = spawn(p, "late"); });
  v.stop(a, 50);
  v.run();
  CHECK(v.alive(child));
  v.advance(50ms);
  CHECK(v.living().empty());
}

TEST_CASE("shell: exit handlers that end later end the stop later") {
  village v;
  add_late(v);
  const auto a = v.start("late");
  const auto b = v.born();
  v.stop(a);
  v.run();
  CHECK(v.alive(a));
  v.in(b, [&](probe& p) { send(p, a, "leave"); });
  CHECK_FALSE(v.alive(a));
  CHECK(v.reports[0].outcome == end_kind::stopped);
}

TEST_CASE("shell: who waits for the exit handlers is told, also when a kill came instead") {
  village v;
  add_late(v);
  const auto a = v.start("late");
  v.run();
  int done = 0;
  v.post(a, [&](interpreter& i) { i.run_exit_handlers([&] { ++done; }); });
  v.run();
  CHECK(done == 0);
  v.kill(a);
  v.run();
  CHECK(done == 1);
}

TEST_CASE("shell: an interpreter that is stopping spawns nobody") {
  village v;
  add_late(v);
  const auto a = v.start("late");
  v.run();
  v.stop(a);
  v.run();
  v.post(a, [](interpreter& i) { CHECK_FALSE(i.spawn({.language = "probe"}, {}, {}, 1).has_value()); });
  v.run();
}

TEST_CASE("shell: stopping children counts those that die on the way") {
  village v;
  add_late(v);
  const auto a = v.born();
  interpreter_id child{};
  v.in(a, [&](probe& p) {
    child = spawn(p, "late");
    spawn(p, "probe");
  });
  v.stop(a);
  v.run();
  CHECK(v.alive(a));
  v.kill(child);
  v.run();
  CHECK_FALSE(v.alive(a));
  CHECK(v.reports.back().outcome == end_kind::stopped);
}

TEST_CASE("shell: a kill answers what is open, tells the monitors, and ends the children") {
  village v;
  const auto a = v.born();
  const auto b = v.born("victim");
  interpreter_id child{};
  v.in(b, [&](probe& p) { child = spawn(p, "probe"); });
  std::vector<std::string> log;
  v.in(a, [&](probe& p) {
    call(p, b, "hang", [&](const outcome& o) {
      CHECK(o.failure->code == errc::interpreter_gone);
      CHECK(o.failure->message.find("killed") != std::string::npos);
      log.emplace_back("gone");
    });
    p.outside().monitor(b, p.await([&](const outcome& o) {
      CHECK(o.down_id == b);
      CHECK(o.name == "victim");
      log.emplace_back(o.reason);
    }));
  });
  v.kill(b);
  v.run();
  CHECK(log == std::vector<std::string>{"gone", "killed"});
  CHECK(v.report(child)->outcome == end_kind::killed);
  CHECK(v.report(b)->outcome == end_kind::killed);
}

TEST_CASE("shell: who is killed while it closes was killed, in its report and for its monitors, a failure stays one") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  std::vector<std::string> reasons;
  v.in(a,
       [&](probe& p) { p.outside().monitor(b, p.await([&](const outcome& o) { reasons.emplace_back(o.reason); })); });
  v.at(b).hooks["close"] = [&] { v.kill(b); };
  v.stop(b);
  v.run();
  CHECK(reasons == std::vector<std::string>{"killed"});
  CHECK(v.report(b)->outcome == end_kind::killed);
  CHECK(v.report(b)->failure.message == "it was killed while it closed");

  const auto c = v.born();
  v.at(c).hooks["close"] = [&] { v.kill(c); };
  v.post(c, [](interpreter& i) { i.end(end_kind::failed, {errc::guest_error, "broken", {}, {}, {}, {}}); });
  v.run();
  CHECK(v.report(c)->outcome == end_kind::failed);
  CHECK(v.report(c)->failure.message == "broken");
}

TEST_CASE("shell: one killed before its start answers its parent") {
  village v;
  const auto a = v.born();
  errc code{};
  v.post(a, [&](interpreter&) {
    probe& p = v.at(a);
    const auto child = spawn(p, "probe", [&](const outcome& o) { code = o.failure->code; });
    p.outside().kill(child);
  });
  v.run();
  CHECK(code == errc::interpreter_gone);
  CHECK(v.living() == std::vector<interpreter_id>{a});
}

TEST_CASE("shell: an interrupt reaches the guest and ends nothing") {
  village v;
  const auto a = v.born();
  int interrupted = 0;
  v.at(a).hooks["interrupt"] = [&] { ++interrupted; };
  v.control(a, {.interrupt = true});
  v.run();
  v.control(a, {});
  v.run();
  CHECK(interrupted == 1);
  CHECK(v.alive(a));
}

TEST_CASE("shell: what an ended interpreter had not read yet is disposed of, also the rest of an envelope") {
  village v({.credit = tiny, .turn_messages = 3});
  const auto a = v.born();
  const auto b = v.born();
  v.scripts["probe"]["die"] = [&](probe&, const incoming&) { v.kill(b); };
  int gone = 0;
  v.in(a, [&](probe& p) {
    send_own(p, 1, b);
    send(p, b, "die");
    for (guest_word o = 2; o <= 6; ++o) send_own(p, o, b);
    call(p, b, "keep", [&](const outcome& o) { gone += o.what == outcome::kind::failed; });
  });
  CHECK(gone == 1);
  auto dropped = v.at(a).dropped;
  std::sort(dropped.begin(), dropped.end());
  CHECK(dropped == std::vector<guest_word>{1, 2, 3, 4, 5, 6});
}

TEST_CASE("shell: a guest that sends and lets go while it closes is heard") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { send_own(p, 1, b); });
  v.at(b).hooks["close"] = [&] {
    probe& p = v.at(b);
    pass_on(p, 0, a);
    drop_all(p);
  };
  v.kill(b);
  v.run();
  CHECK(v.at(a).came_home == 1);
  CHECK(v.at(a).dropped == std::vector<guest_word>{1});
}

TEST_CASE("shell: the last words of a guest to itself are answered to nobody") {
  village v({.credit = tiny});
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { send_own(p, 1, b); });
  v.at(b).hooks["close"] = [&] {
    probe& p = v.at(b);
    for (int i = 0; i < 6; ++i) pass_on(p, 0, b);
    call(p, b, "keep", [](const outcome&) { FAIL("closed"); });
  };
  v.kill(b);
  v.run();
  CHECK(v.at(a).dropped == std::vector<guest_word>{1});
  CHECK(v.where().tombstones() == 0);
}

TEST_CASE("shell: the last turn of main is told to the runtime once") {
  village v;
  const auto main = v.born();
  CHECK(main == main_interpreter);
  CHECK(v.main_done_told == 1);
  v.in(main, [](probe&) {});
  CHECK(v.main_done_told == 1);
}

TEST_CASE("shell: connections that nobody reads any more are closed") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  v.post(a, [&](interpreter&) {
    open_send(v.at(a), b, "keep").put_connection(12);
    v.at(a).outside().commit();
  });
  v.step();
  v.kill(b);
  v.run();
  CHECK(v.closed_connections == std::vector<std::uint64_t>{12});
}

// -- monitors ----------------------------------------------------------------------------------------------------------

TEST_CASE("shell: each monitor is told once, of the living and of the dead, and not after demonitor") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  const auto c = v.born();
  int downs = 0;
  const reaction count = [&](const outcome& o) {
    CHECK(o.what == outcome::kind::down);
    ++downs;
  };
  v.in(a, [&](probe& p) {
    p.outside().monitor(b, p.await(count));
    p.outside().monitor(b, p.await(count));
    const guest_word over = p.await([](const outcome&) { FAIL("demonitored"); });
    p.outside().monitor(b, over);
    p.outside().demonitor(b, over);
  });
  v.in(c, [&](probe& p) { p.outside().monitor(b, p.await(count)); });
  v.stop(b);
  v.run();
  CHECK(downs == 3);
  v.in(a, [&](probe& p) {
    p.outside().monitor(b, p.await(count));
    p.outside().monitor(interpreter_id{777}, p.await(count));
  });
  CHECK(downs == 5);
}

TEST_CASE("shell: a monitor sent in the moment of the death is told") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  int downs = 0;
  v.kill(b);
  v.post(a, [&](interpreter&) { v.at(a).outside().monitor(b, v.at(a).await([&](const outcome&) { ++downs; })); });
  v.run();
  CHECK(downs == 1);
}
