// References between shells, without CAF and threads: in messages, as targets of calls, lent.
#include <doctest/doctest.h>

#include "tests/actors/village.hpp"

using namespace Atoll;
using namespace Atoll::test;

// -- in messages -------------------------------------------------------------------------------------------------------

TEST_CASE("shell: an answer to a caller that is gone keeps nothing back") {
  village v;
  request_id open = no_request;
  v.scripts["probe"]["later"] = [&](probe&, const incoming& m) { open = m.request; };
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { call(p, b, "later", ignore); });
  v.kill(a);
  v.run();
  v.in(b, [&](probe& p) {
    p.put_own(p.outside().open_reply(open), 4);
    CHECK(p.outside().commit() == send_status::sent);
  });
  CHECK(v.at(b).dropped == std::vector<guest_word>{4});
}

TEST_CASE("shell: a message to oneself arrives in a later round of the turn") {
  village v;
  const auto a = v.born();
  v.in(a, [&](probe& p) { send_own(p, 3, a); });
  CHECK(v.at(a).came_home == 1);
  CHECK(v.at(a).dropped == std::vector<guest_word>{3});
}

TEST_CASE("shell: a message that was taken back gives its reference back") {
  village v({.credit = tiny});
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { send_own(p, 1, b); });
  v.in(b, [&](probe& p) {
    for (int i = 0; i < 20; ++i) {
      put_imported(open_send(p, a, "keep"), p.outside().imports(), p.held[0]);
      p.outside().rollback();
    }
    CHECK(p.outside().imports().loans_of(p.held[0]) == 0);
    drop_all(p);
  });
  CHECK(v.at(a).dropped == std::vector<guest_word>{1});
}

TEST_CASE("shell: an object is called by its holder, and is let go when the holder is") {
  village v({.credit = tiny});
  int called = 0;
  v.scripts["probe"]["poke"] = [&](probe& p, const incoming& m) {
    CHECK(m.target == 6);
    CHECK(m.kind == record_kind::invoke);
    ++called;
    p.answer(m, 1);
  };
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { send_own(p, 6, b); });
  v.in(b, [&](probe& p) {
    for (int i = 0; i < 10; ++i) {
      wire_writer& w = p.outside().open_message(a, record_kind::invoke);
      w.put_u64(p.outside().open_call(p.await([&](const outcome& o) { CHECK(o.what == outcome::kind::values); })));
      w.put_u8(0);
      put_imported_target(w, p.outside().imports(), p.held[0]);
      w.put_text("poke");
      p.outside().commit();
    }
    drop_all(p);
  });
  CHECK(called == 10);
  CHECK(v.at(a).dropped == std::vector<guest_word>{6});
  CHECK(v.at(b).waiting_for.empty());
}

TEST_CASE("shell: a call on an object the owner no longer knows fails with reference_released") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  errc code{};
  v.in(b, [&](probe& p) {
    wire_writer& w = p.outside().open_message(a, record_kind::invoke);
    w.put_u64(p.outside().open_call(p.await([&](const outcome& o) { code = o.failure->code; })));
    w.put_u8(0);
    w.put_target({{a, 17, 1}, 1, {}});
    w.put_text("poke");
    p.put_own(w, 7);
    p.outside().commit();
  });
  CHECK(code == errc::reference_released);
  CHECK(v.at(b).dropped == std::vector<guest_word>{7}); // what the call carried came home
}

TEST_CASE("shell: after the imports are dropped, messages are refused and what they carry goes home") {
  village v({.credit = tiny});
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { send_own(p, 1, b); });
  v.post(b, [](interpreter& i) { i.drop_imports(); });
  v.run();
  CHECK(v.at(a).dropped == std::vector<guest_word>{1});
  errc code{};
  v.in(a, [&](probe& p) {
    p.put_own(open_call(p, b, "keep", [&](const outcome& o) { code = o.failure->code; }), 2);
    p.outside().commit();
  });
  CHECK(code == errc::interpreter_gone);
  CHECK(v.at(a).dropped == std::vector<guest_word>{1, 2});
}

// -- loans -------------------------------------------------------------------------------------------------------------

namespace {

/// One object travels a -> b -> c -> d and back with tiny credit, and everybody lets go.
/// `before(k)` is called before step k; the steps answer how many there are.
int travel(village& v, const std::vector<interpreter_id>& who, const std::function<void(int)>& before) {
  int k = 0;
  const auto act = [&](interpreter_id id, const std::function<void(probe&)>& what) {
    before(k++);
    v.post(id, [&v, id, what](interpreter&) { what(v.at(id)); });
    v.step(); // not to the end: messages stay on their way
    v.step();
  };
  const auto hand_on = [&](interpreter_id from, interpreter_id to) {
    act(from, [=](probe& p) {
      if (!p.held.empty()) pass_on(p, p.held.size() - 1, to);
    });
  };
  act(who[0], [&](probe& p) { send_own(p, 1, who[1]); });
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 1; i < who.size(); ++i) {
      hand_on(who[i], who[i % (who.size() - 1) + 1]);
      hand_on(who[i], who[0]);
    }
    v.run();
    hand_on(who[1], who[2]);
    hand_on(who[2], who[3]);
    hand_on(who[3], who[1]);
  }
  for (std::size_t i = 1; i < who.size(); ++i) act(who[i], [](probe& p) { drop_all(p); });
  v.run();
  return k;
}

} // namespace

TEST_CASE("shell: an object lent on among three with tiny credit is released, once") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    village v({.credit = tiny}, seed);
    const std::vector<interpreter_id> who{v.born(), v.born(), v.born(), v.born()};
    travel(v, who, [](int) {});
    for (std::size_t i = 1; i < who.size(); ++i) v.in(who[i], [](probe& p) { drop_all(p); });
    CHECK(v.at(who[0]).dropped == std::vector<guest_word>{1});
    CHECK(v.find(who[0])->exports_live() == 0);
    for (const auto id : who) CHECK(v.find(id)->imports().size() == 0);
  }
}

TEST_CASE("shell: owner, lenders and borrowers may each die at every step, and nothing stays behind") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    for (std::size_t victim = 0; victim < 4; ++victim) {
      for (int when = 0;; ++when) {
        CAPTURE(seed);
        CAPTURE(victim);
        CAPTURE(when);
        village v({.credit = tiny}, seed);
        const std::vector<interpreter_id> who{v.born(), v.born(), v.born(), v.born()};
        const int steps = travel(v, who, [&](int k) {
          if (k == when) v.kill(who[victim]);
        });
        for (const auto id : who)
          if (v.alive(id)) v.in(id, [](probe& p) { drop_all(p); });
        for (const auto id : who) {
          if (!v.alive(id)) continue;
          CHECK(v.find(id)->imports().size() == 0);
          CHECK(v.find(id)->exports_live() == 0);
        }
        if (victim != 0 && when > 0) CHECK(v.at(who[0]).dropped.size() == 1);
        CHECK(v.where().tombstones() == 0);
        if (when >= steps) break;
      }
    }
  }
}

TEST_CASE("shell: the borrower lives on what the dead lender left, and its release ends the tombstone") {
  village v({.credit = {.grant = 1, .low = 1, .cap = 16}});
  const auto owner = v.born();
  const auto lender = v.born();
  const auto borrower = v.born();
  v.in(owner, [&](probe& p) { send_own(p, 1, lender); });
  // The owner is kept from answering: the loan stays open.
  v.post(lender, [&](interpreter&) { pass_on(v.at(lender), 0, borrower); });
  v.step();
  v.kill(lender);
  v.run();
  CHECK(v.find(owner)->exports_live() == 1);
  CHECK(v.at(owner).dropped.empty());
  CHECK(v.at(borrower).held.size() == 1);
  v.in(borrower, [](probe& p) { drop_all(p); });
  CHECK(v.at(owner).dropped == std::vector<guest_word>{1});
  CHECK(v.where().tombstones() == 0);
}

TEST_CASE("shell: a turn that lets go of many sends the first before it ends, but not into a message that is open") {
  village v({.protocol_words = 2});
  const interpreter_id a = v.born();
  const interpreter_id b = v.born();
  v.in(a, [&](probe& p) {
    for (guest_word object = 1; object <= 6; ++object) send_own(p, object, b);
  });
  REQUIRE(v.at(b).held.size() == 6);
  v.in(b, [&](probe& p) {
    import_table& imports = p.outside().imports();
    const inbox& owner = v.find(a)->box();
    imports.drop_use(p.held[0]);
    CHECK(owner.backlog() == 0);
    imports.drop_use(p.held[1]);
    CHECK(owner.backlog() == 1); // both in one record
    open_send(p, a, "keep");
    for (std::size_t i = 2; i < 6; ++i) imports.drop_use(p.held[i]);
    CHECK(owner.backlog() == 1);
    p.outside().commit();
    p.held.clear();
  });
  CHECK(v.at(a).dropped.size() == 6);
  CHECK(v.find(a)->exports_live() == 0);
}

TEST_CASE("shell: nine hundred references passed on cost their owner a turn for each holder at most") {
  village v;
  const interpreter_id a = v.born();
  std::vector<interpreter_id> holders;
  for (int i = 0; i < 10; ++i) holders.push_back(v.born());
  v.in(a, [&](probe& p) { send_own(p, 1, holders[0]); });
  const std::uint64_t before = v.find(a)->turns();
  for (std::size_t i = 0; i + 1 < holders.size(); ++i)
    v.in(holders[i], [&](probe& p) {
      for (int k = 0; k < 100; ++k) pass_on(p, 0, holders[i + 1]);
    });
  // The first has given a hundred times half of what it had: it has asked for more, once.
  CHECK(v.find(a)->turns() - before <= 9);
  const std::uint64_t again = v.find(a)->turns();
  v.in(holders[0], [&](probe& p) { pass_on(p, 0, holders[1]); });
  v.in(holders[1], [&](probe& p) { pass_on(p, 0, holders[2]); });
  CHECK(v.find(a)->turns() == again);
}
