// What a shell's guest says and waits for, without CAF and threads: messages, calls, timers, room.
#include <doctest/doctest.h>

#include "tests/actors/village.hpp"

using namespace Atoll;
using namespace Atoll::test;
using namespace std::chrono_literals;

// -- messages ----------------------------------------------------------------------------------------------------------

TEST_CASE("shell: messages of one sender come in the order sent, also in turns of one message") {
  for (const std::size_t budget : {std::size_t{1}, std::size_t{3}, std::size_t{4096}}) {
    village v({.turn_messages = budget});
    std::vector<int> got;
    v.scripts["probe"]["n"] = [&](probe&, const incoming& m) {
      wire_reader in = m.args;
      got.push_back(in.get_u8());
    };
    const auto a = v.born();
    const auto b = v.born();
    v.in(a, [&](probe& p) {
      for (int i = 0; i < 20; ++i) {
        open_send(p, b, "n").put_int(i);
        p.outside().commit();
      }
    });
    CHECK(got.size() == 20);
    CHECK(std::is_sorted(got.begin(), got.end()));
  }
}

TEST_CASE("shell: a call is answered once, and an answer nobody waits for is thrown away with its credit") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) {
    wire_writer& w = p.outside().open_message(b, record_kind::call);
    const call_id c = p.outside().open_call(p.await([](const outcome&) { FAIL("forgotten"); }));
    w.put_u64(c);
    w.put_text("give");
    p.outside().commit();
    p.outside().forget_call(c);
  });
  CHECK(v.at(b).dropped == std::vector<guest_word>{1});
  CHECK(v.find(a)->imports().size() == 0);
}

TEST_CASE("shell: a second answer to the same request is nothing, and costs no credit") {
  village v;
  v.scripts["probe"]["twice"] = [](probe& p, const incoming& m) {
    p.answer(m, 1);
    p.put_own(p.outside().open_reply(m.request), 8);
    p.outside().commit();
  };
  const auto a = v.born();
  const auto b = v.born();
  int answers = 0;
  v.in(a, [&](probe& p) { call(p, b, "twice", [&](const outcome&) { ++answers; }); });
  CHECK(answers == 1);
  // The second went to the host program, as number 0.
  CHECK(v.find(b)->exports_live() == 1);
}

TEST_CASE("shell: an answer that cannot cross is taken back, and an error goes instead") {
  village v;
  v.scripts["probe"]["bad"] = [](probe& p, const incoming& m) {
    p.put_own(p.outside().open_reply(m.request), 8);
    p.outside().rollback();
    p.outside().reply_error(m.request, {errc::not_shareable, "no", {}, {}, {}, {}});
  };
  v.scripts["probe"]["large"] = [](probe& p, const incoming& m) {
    wire_writer& w = p.outside().open_reply(m.request);
    p.put_own(w, 9);
    w.put_string({"", std::size_t{1} << 33U});
    CHECK(p.outside().commit() == send_status::no_memory);
    p.outside().rollback();
    p.outside().reply_error(m.request, {errc::out_of_memory, "no", {}, {}, {}, {}});
  };
  const auto a = v.born();
  const auto b = v.born();
  std::vector<errc> codes;
  v.in(a, [&](probe& p) {
    call(p, b, "bad", [&](const outcome& o) { codes.push_back(o.failure->code); });
    call(p, b, "large", [&](const outcome& o) { codes.push_back(o.failure->code); });
  });
  CHECK(codes == std::vector<errc>{errc::not_shareable, errc::out_of_memory});
  CHECK(v.at(b).dropped.size() == 2);
}

TEST_CASE("shell: waiting calls and timers fail when they are told to") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  int failed = 0;
  v.in(a, [&](probe& p) {
    const reaction count = [&](const outcome& o) {
      REQUIRE(o.what == outcome::kind::failed);
      CHECK(o.failure->code == errc::runtime_finalizing);
      ++failed;
    };
    call(p, b, "hang", count);
    p.outside().set_timer(v.now() + 10s, p.await(count));
  });
  v.post(a, [](interpreter& i) { i.fail_waiting(errc::runtime_finalizing); });
  v.run();
  CHECK(failed == 2);
  v.advance(20s);
  CHECK(failed == 2);
}

// -- time --------------------------------------------------------------------------------------------------------------

TEST_CASE("shell: timers go off in the order of their times, equal ones as they were set, and never early") {
  village v;
  const auto a = v.born();
  std::vector<int> log;
  const time_point start = v.now();
  v.in(a, [&](probe& p) {
    const auto at = [&](std::chrono::milliseconds when, int n) {
      return p.outside().set_timer(start + when, p.await([&log, &v, start, when, n](const outcome& o) {
        CHECK(o.what == outcome::kind::timer);
        CHECK(v.now() >= start + when);
        log.push_back(n);
      }));
    };
    at(30ms, 5);
    at(10ms, 1);
    at(20ms, 3);
    at(10ms, 2);
    p.outside().cancel_timer(at(15ms, 99));
    at(20ms, 4);
  });
  v.advance(9ms);
  CHECK(log.empty());
  v.advance(1ms);
  CHECK(log == std::vector<int>{1, 2});
  v.advance(100ms);
  CHECK(log == std::vector<int>{1, 2, 3, 4, 5});
}

TEST_CASE("shell: a timer cancelled by one that went off at the same time does not go off") {
  village v;
  const auto a = v.born();
  int fired = 0;
  v.in(a, [&](probe& p) {
    auto second = std::make_shared<std::uint64_t>();
    p.outside().set_timer(v.now() + 1ms, p.await([&, second](const outcome&) {
      ++fired;
      v.at(a).outside().cancel_timer(*second);
    }));
    *second = p.outside().set_timer(v.now() + 1ms, p.await([&](const outcome&) { fired += 100; }));
  });
  v.advance(5ms);
  CHECK(fired == 1);
}

TEST_CASE("shell: an earlier timer set later is not kept waiting") {
  village v;
  const auto a = v.born();
  int fired = 0;
  v.in(a, [&](probe& p) { p.outside().set_timer(v.now() + 1h, p.await([&](const outcome&) { fired += 10; })); });
  v.in(a, [&](probe& p) { p.outside().set_timer(v.now() + 1ms, p.await([&](const outcome&) { ++fired; })); });
  v.advance(1ms);
  CHECK(fired == 1);
  v.advance(1h);
  CHECK(fired == 11);
}

TEST_CASE("shell: a timer that sets itself again for now lets others work between") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  int fired = 0;
  std::function<void(const outcome&)> again = [&](const outcome&) {
    probe& p = v.at(a);
    if (++fired < 100) p.outside().set_timer(v.now(), p.await(again));
  };
  v.post(a, [&](interpreter&) { again({}); });
  v.run();
  CHECK(fired < 10);
  bool answered = false;
  v.in(b, [&](probe& p) { call(p, a, "keep", [&](const outcome&) { answered = true; }); });
  CHECK(answered);
  CHECK(fired < 10);
  v.advance(1ms);
  CHECK(fired == 100);
}

// -- room --------------------------------------------------------------------------------------------------------------

TEST_CASE("shell: a sender over the mark is told of room when the receiver has read") {
  village v({.bounds = {.high_water = 4}});
  int read = 0;
  v.scripts["probe"]["n"] = [&](probe&, const incoming&) { ++read; };
  const auto a = v.born();
  const auto b = v.born();
  int room = 0;
  v.post(a, [&](interpreter&) {
    probe& p = v.at(a);
    for (int i = 0; i < 6; ++i) send(p, b, "n");
    p.outside().await_room(b, p.await([&](const outcome& o) {
      CHECK(o.what == outcome::kind::room);
      CHECK(read >= 6);
      ++room;
    }));
    CHECK(v.find(b)->box().crowded());
    CHECK(send(p, b, "n") == send_status::crowded);
  });
  v.run();
  CHECK(room == 1);
  CHECK(read == 7);
}

TEST_CASE("shell: who waits for room of the dead, or of one that has room, is told at once") {
  village v({.bounds = {.high_water = 4}});
  const auto a = v.born();
  const auto b = v.born();
  int room = 0;
  const reaction count = [&](const outcome&) { ++room; };
  v.in(a, [&](probe& p) { p.outside().await_room(b, p.await(count)); });
  CHECK(room == 1);
  v.in(a, [&](probe& p) { p.outside().await_room(interpreter_id{555}, p.await(count)); });
  CHECK(room == 2);
  v.post(a, [&](interpreter&) {
    probe& p = v.at(a);
    for (int i = 0; i < 9; ++i) send(p, b, "keep");
    p.outside().await_room(b, p.await(count));
    v.kill(b);
  });
  v.run();
  CHECK(room == 3);
}

TEST_CASE("shell: two that flood each other and wait for room both go on") {
  village v({.turn_messages = 2, .bounds = {.high_water = 2}});
  int read = 0;
  v.scripts["probe"]["n"] = [&](probe&, const incoming&) { ++read; };
  const auto a = v.born();
  const auto b = v.born();
  std::map<interpreter_id, int> left{{a, 200}, {b, 200}};
  std::function<void(interpreter_id, interpreter_id)> flood = [&](interpreter_id from, interpreter_id to) {
    probe& p = v.at(from);
    while (left[from] > 0) {
      --left[from];
      if (send(p, to, "n") != send_status::crowded) continue;
      return p.outside().await_room(to, p.await([&flood, from, to](const outcome&) { flood(from, to); }));
    }
  };
  v.post(a, [&](interpreter&) { flood(a, b); });
  v.post(b, [&](interpreter&) { flood(b, a); });
  v.run();
  CHECK(read == 400);
}
