// A shell's birth, without CAF and threads: starts, spawns that never happen, messages that overtake the start.
#include <doctest/doctest.h>

#include "tests/actors/village.hpp"

using namespace Atoll;
using namespace Atoll::test;

TEST_CASE("shell: a start is answered, and the interpreter runs") {
  village v;
  const interpreter_id a = v.start("probe", "a");
  CHECK(v.where().look_up(a)->state == run_state::starting);
  v.run();
  CHECK(v.where().look_up(a)->state == run_state::running);
  const auto got = v.host_letters();
  REQUIRE(got.size() == 1);
  CHECK(got[0].kind == record_kind::reply);
}

TEST_CASE("shell: a child that cannot start fails, and its parent hears why") {
  village v;
  const auto a = v.born();
  errc code{};
  v.in(a, [&](probe& p) {
    spawn(
        p, "probe",
        [&](const outcome& o) {
          REQUIRE(o.what == outcome::kind::failed);
          code = o.failure->code;
        },
        {}, "fail");
  });
  CHECK(code == errc::load_error);
  REQUIRE(v.reports.size() == 1);
  CHECK(v.reports[0].outcome == end_kind::failed);
}

TEST_CASE("shell: a failed answer does not end the callee, however the request numbers are reused") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  int failed = 0;
  for (int i = 0; i < 3; ++i)
    v.in(a, [&](probe& p) {
      call(p, b, "unknown", [&](const outcome& o) { failed += o.what == outcome::kind::failed; });
    });
  CHECK(failed == 3);
  CHECK(v.alive(b));
}

TEST_CASE("shell: a spawn whose arguments cannot cross never happened") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  v.in(b, [&](probe& p) { send_own(p, 1, a); });
  v.in(a, [&](probe& p) {
    const auto child = p.outside().spawn(
        {.language = "probe"}, {},
        [&p](wire_writer& w) {
          put_imported(w, p.outside().imports(), p.held[0]);
          return false;
        },
        p.await([](const outcome&) { FAIL("nobody waits"); }));
    REQUIRE_FALSE(child.has_value());
    CHECK(child.error().code == errc::not_shareable);
    drop_all(p);
  });
  CHECK(v.living().size() == 2);
  CHECK(v.find(b)->exports_live() == 0);
}

TEST_CASE("shell: references among a child's arguments are its own") {
  village v({.credit = tiny});
  const auto a = v.born();
  interpreter_id child{};
  v.in(a, [&](probe& p) {
    child = *p.outside().spawn(
        {.language = "probe"}, {},
        [&p](wire_writer& w) {
          p.put_own(w, 9);
          return true;
        },
        p.await(ignore));
  });
  CHECK(v.at(child).held.size() == 1);
  CHECK(v.find(a)->exports_live() == 1);
  v.kill(child);
  v.run();
  CHECK(v.at(a).dropped == std::vector<guest_word>{9});
}

TEST_CASE("shell: a name is free again when its bearer has ended") {
  village v;
  const auto a = v.born("db");
  v.in(a, [&](probe& p) {
    CHECK(p.outside().spawn({.name = "db", .language = "probe"}, {}, {}, p.await(ignore)).error().code
          == errc::name_taken);
  });
  v.kill(a);
  v.run();
  CHECK(v.where().find("db") == std::nullopt);
  v.born("db");
  CHECK(v.where().find("db").has_value());
}

TEST_CASE("shell: a call that overtakes the start of its receiver is answered after the start") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  // a spawns and goes on computing; b finds the child by its name before a's turn is over.
  int answered = 0;
  const auto child = v.create({.name = "db", .language = "probe"}, a);
  v.in(b, [&](probe& p) {
    const auto db = p.outside().find("db");
    REQUIRE(db.has_value());
    call(p, db->id, "keep", [&](const outcome& o) {
      CHECK(o.what == outcome::kind::values);
      ++answered;
    });
    call(p, db->id, "unknown", [&](const outcome& o) {
      REQUIRE(o.what == outcome::kind::failed);
      CHECK(o.failure->code == errc::unknown_function);
      CHECK(answered == 1);
      ++answered;
    });
  });
  CHECK(answered == 0);
  v.in(a, [&](probe& p) {
    wire_writer& w = p.outside().open_message(*child, record_kind::start);
    w.put_u64(p.outside().open_call(p.await(ignore)));
    w.put_u8(0);
    w.put_text("");
    w.put_text("");
    p.outside().commit();
  });
  CHECK(answered == 2);
}

TEST_CASE("shell: what overtook a start that never came is answered and given back at the end") {
  village v;
  const auto a = v.born();
  const auto child = v.create({.language = "probe"}, a);
  int gone = 0;
  v.in(a, [&](probe& p) {
    wire_writer& w = open_call(p, *child, "keep", [&](const outcome& o) {
      REQUIRE(o.what == outcome::kind::failed);
      CHECK(o.failure->code == errc::interpreter_gone);
      ++gone;
    });
    p.put_own(w, 5);
    p.outside().commit();
  });
  v.kill(*child);
  v.run();
  CHECK(gone == 1);
  CHECK(v.at(a).dropped == std::vector<guest_word>{5});
}
