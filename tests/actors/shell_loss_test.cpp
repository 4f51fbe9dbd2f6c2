// What a death may cut off, case by case, on the shell without threads: references and calls on their way, answers, releases.
#include <doctest/doctest.h>

#include "tests/actors/village.hpp"

using namespace Atoll;
using namespace Atoll::test;

namespace {

/// All credit is counted.
void check_credit(shell_world& w) {
  audit a;
  w.show_all(a);
  CHECK(a.violations() == std::vector<std::string>{});
}

/// The death takes place now: its last turn is the next.
void die(shell_world& w, interpreter_id who) {
  w.kill(who);
  CHECK(w.step(who));
  CHECK_FALSE(w.alive(who));
  check_credit(w);
}

/// Nothing is held, owed, pinned or unanswered.
void check_rest(shell_world& w) {
  w.run();
  check_credit(w);
  CHECK(w.where().tombstones() == 0);
  for (const interpreter_id id : w.living()) {
    CHECK(w.find(id)->imports().size() == 0);
    CHECK(w.find(id)->exports_live() == 0);
    CHECK(w.find(id)->box().backlog() == 0);
    CHECK(w.at(id).waiting_for.empty());
    CHECK(w.at(id).resumed_in_vain == 0);
  }
}

/// Counts answers and checks that they are `interpreter_gone`.
struct gone_count {
  int n = 0;
  reaction operator()() {
    return [this](const outcome& o) {
      REQUIRE(o.what == outcome::kind::failed);
      CHECK(o.failure->code == errc::interpreter_gone);
      ++n;
    };
  }
};

wire_writer& open_invoke(probe& p, import_table::index target, std::string_view method, reaction then) {
  const interpreter_id owner = p.outside().imports().id_of(target).owner;
  wire_writer& w = p.outside().open_message(owner, record_kind::invoke);
  w.put_u64(p.outside().open_call(p.await(std::move(then))));
  w.put_u8(0);
  put_imported_target(w, p.outside().imports(), target);
  w.put_text(method);
  return w;
}

} // namespace

TEST_CASE("shell losses: a reference in a message that its dead receiver never took comes home, wherever it lay") {
  for (const credit_policy& credit : {tiny, credit_policy{.grant = 1, .low = 1, .cap = 4}}) {
    for (int where = 0; where < 3; ++where) {
      CAPTURE(where);
      village v({.credit = credit, .turn_messages = 1});
      const auto owner = v.born();
      const auto sender = v.born();
      const auto receiver = v.born();
      v.in(owner, [&](probe& p) { send_own(p, 1, sender); });
      v.post(sender, [&](interpreter&) {
        probe& p = v.at(sender);
        for (int i = 0; i < 3; ++i) pass_on(p, 0, receiver);
        if (where == 0) v.kill(receiver); // in the sender's open lane
        if (where == 0) v.step(receiver);
      });
      if (where == 0) v.find(receiver)->box().wake();
      v.step(sender);
      if (where == 2) v.step(receiver); // the first of three is handled: the rest of the envelope
      if (where > 0) die(v, receiver);
      v.run();
      check_credit(v);
      CHECK(v.at(owner).dropped.empty());
      v.in(sender, [](probe& p) { drop_all(p); });
      CHECK(v.at(owner).dropped == std::vector<guest_word>{1});
      check_rest(v);
    }
  }
}

TEST_CASE(
    "shell losses: a message that was refused because its receiver had closed gives its references and call back") {
  village v({.credit = tiny});
  const auto owner = v.born();
  const auto a = v.born();
  const auto b = v.born();
  v.in(owner, [&](probe& p) { send_own(p, 1, a); });
  v.kill(b);
  v.run();
  v.in(a, [&](probe& p) {
    CHECK(pass_on(p, 0, b) == send_status::gone);
    wire_writer& w = open_call(p, b, "keep", [](const outcome&) { FAIL("refused"); });
    p.put_own(w, 2);
    put_imported(w, p.outside().imports(), p.held[0]);
    CHECK(p.outside().commit() == send_status::gone);
    p.outside().rollback();
    p.waiting_for.clear();
    drop_all(p);
  });
  CHECK(v.at(owner).dropped == std::vector<guest_word>{1});
  CHECK(v.at(a).dropped == std::vector<guest_word>{2});
  check_rest(v);
}

TEST_CASE("shell losses: who waits for room of a crowded receiver that dies is told, and its references come home") {
  village v({.credit = tiny, .turn_messages = 1, .bounds = {.high_water = 2}});
  const auto a = v.born();
  const auto b = v.born();
  int told = 0;
  v.post(a, [&](interpreter&) {
    probe& p = v.at(a);
    for (guest_word o = 1; o <= 5; ++o) send_own(p, o, b);
    p.outside().await_room(b, p.await([&](const outcome& o) {
      CHECK(o.what == outcome::kind::room);
      ++told;
    }));
  });
  v.step(a);
  CHECK(v.find(b)->box().crowded());
  v.step(b);
  die(v, b);
  v.run();
  CHECK(told == 1);
  CHECK(v.at(a).dropped.size() == 5);
  check_rest(v);
}

TEST_CASE("shell losses: an answer on its way to a caller that died gives its references back to whoever they are of") {
  for (const bool taken : {false, true}) {
    village v({.credit = tiny, .turn_messages = 1});
    const auto owner = v.born();
    const auto callee = v.born();
    const auto caller = v.born();
    v.scripts["probe"]["both"] = [](probe& p, const incoming& m) {
      wire_writer& w = p.outside().open_reply(m.request);
      p.put_own(w, 7);
      put_imported(w, p.outside().imports(), p.held.at(0));
      p.outside().commit();
    };
    v.in(owner, [&](probe& p) { send_own(p, 1, callee); });
    v.post(caller, [&](interpreter&) {
      call(v.at(caller), callee, "both", [](const outcome&) { FAIL("dead"); });
      for (int i = 0; i < 3; ++i) send(v.at(caller), caller, "hang");
    });
    v.step(caller);
    v.step(callee);
    if (taken) v.step(caller); // the envelope with the answer is in its hands, not in its inbox
    die(v, caller);
    v.run();
    CHECK(v.at(callee).dropped == std::vector<guest_word>{7});
    v.in(callee, [](probe& p) { drop_all(p); });
    CHECK(v.at(owner).dropped == std::vector<guest_word>{1});
    check_rest(v);
  }
}

TEST_CASE("shell losses: calls through a reference end with interpreter_gone, at whatever point the owner died") {
  village v({.credit = tiny, .turn_messages = 2});
  const auto owner = v.born();
  const auto holder = v.born();
  gone_count gone;
  v.in(owner, [&](probe& p) { send_own(p, 1, holder); });
  v.post(holder, [&](interpreter&) {
    probe& p = v.at(holder);
    for (guest_word o = 10; o < 16; ++o) {
      p.put_own(open_invoke(p, p.held[0], "hang", gone()), o); // taken by the guest, half handled, unread
      p.outside().commit();
    }
  });
  v.step(holder);
  v.step(owner);
  v.post(holder, [&](interpreter&) {
    probe& p = v.at(holder);
    open_invoke(p, p.held[0], "hang", gone());
    p.outside().commit();
    v.kill(owner); // written, not flushed
    v.step(owner);
  });
  v.find(owner)->set_controls({.kill = true});
  v.step(holder);
  v.run();
  CHECK_FALSE(v.alive(owner));
  v.in(holder, [&](probe& p) {
    open_invoke(p, p.held[0], "hang", gone());
    CHECK(p.outside().commit() == send_status::gone);
    p.outside().rollback();
    CHECK(p.waiting_for.size() == 1); // the refused one, whose call number is free again
    p.waiting_for.clear();
    drop_all(p);
  });
  CHECK(gone.n == 7);
  CHECK(v.at(holder).dropped.size() == 6);
  check_rest(v);
}

TEST_CASE("shell losses: of an envelope handled in part, what was handled counts and the rest is disposed of, once") {
  for (int handled = 0; handled <= 5; ++handled) {
    CAPTURE(handled);
    village v({.credit = tiny, .turn_messages = 1});
    const auto a = v.born();
    const auto b = v.born();
    int answered = 0;
    gone_count gone;
    v.post(a, [&](interpreter&) {
      for (guest_word o = 1; o <= 5; ++o) {
        wire_writer& w = open_call(v.at(a), b, "keep", [&, then = gone()](const outcome& out) {
          if (out.what == outcome::kind::values) return void(++answered);
          then(out);
        });
        v.at(a).put_own(w, o);
        v.at(a).outside().commit();
      }
    });
    v.step(a);
    for (int i = 0; i < handled; ++i) v.step(b);
    check_credit(v);
    die(v, b);
    v.run();
    CHECK(answered == handled);
    CHECK(gone.n == 5 - handled);
    CHECK(v.at(a).dropped.size() == 5);
    check_rest(v);
  }
}

TEST_CASE(
    "shell losses: the last reference dropped in the turn in which its owner dies is neither kept nor dropped again") {
  for (const bool owner_first : {false, true}) {
    village v({.credit = tiny});
    const auto owner = v.born();
    const auto holder = v.born();
    int dropped = 0;
    v.in(owner, [&](probe& p) { send_own(p, 1, holder); });
    v.at(owner).hooks["close"] = [&] { dropped = static_cast<int>(v.at(owner).dropped.size()); };
    v.post(holder, [&](interpreter&) { drop_all(v.at(holder)); });
    v.kill(owner);
    if (owner_first) {
      v.step(owner);
      v.step(holder);
    } else {
      v.step(holder);
      v.step(owner);
    }
    CHECK_FALSE(v.alive(owner));
    CHECK(dropped == 0); // a kill handles no messages any more
    check_rest(v);
  }
}

TEST_CASE("shell losses: thousands of releases for an owner that does not run wait, and none is lost") {
  constexpr guest_word many = 5000;
  for (const bool dies : {false, true}) {
    village v({.turn_messages = 64});
    const auto owner = v.born();
    const auto holder = v.born();
    v.in(owner, [&](probe& p) {
      for (guest_word o = 1; o <= many; ++o) send_own(p, o, holder);
    });
    // One turn each, and the owner runs in none of them.
    for (int i = 0; i < 500; ++i) {
      v.post(holder, [&](interpreter&) {
        probe& p = v.at(holder);
        for (int n = 0; n < 10; ++n) {
          p.outside().imports().drop_use(p.held.back());
          p.held.pop_back();
        }
      });
      v.step(holder);
    }
    CHECK(v.find(holder)->imports().size() == 0);
    CHECK(v.find(owner)->exports_live() == many);
    CHECK(v.find(owner)->box().backlog() == 500); // one for each turn
    check_credit(v);
    if (dies) {
      die(v, owner);
    } else {
      v.run();
      CHECK(v.at(owner).dropped.size() == many);
    }
    check_rest(v);
  }
}

TEST_CASE("shell losses: a reference whose owner closed is let go without a word, also when it was lent or borrowed") {
  for (int manner = 0; manner < 3; ++manner) {
    CAPTURE(manner);
    village v({.credit = {.grant = 1, .low = 1, .cap = 4}});
    const auto owner = v.born();
    const auto lender = v.born();
    const auto borrower = v.born();
    v.in(owner, [&](probe& p) { send_own(p, 1, lender); });
    v.post(lender, [&](interpreter&) { pass_on(v.at(lender), 0, borrower); });
    v.step(lender);
    if (manner == 1) v.step(borrower); // it asks the owner, who will not answer
    if (manner == 2) v.run();          // all have credit
    die(v, owner);
    v.run();
    for (const auto who : {lender, borrower}) v.in(who, [](probe& p) { drop_all(p); });
    check_rest(v);
  }
}

TEST_CASE("shell losses: a release that is overtaken by the same object sent again lets go of neither too much nor too "
          "little") {
  for (const credit_policy& credit : {tiny, credit_policy{.grant = 1, .low = 1, .cap = 4}}) {
    village v({.credit = credit});
    const auto owner = v.born();
    const auto holder = v.born();
    v.in(owner, [&](probe& p) { send_own(p, 1, holder); });
    // The object is on its way again while the holder lets go: the release meets a newer `out`.
    v.post(owner, [&](interpreter&) { send_own(v.at(owner), 1, holder); });
    v.step(owner);
    v.post(holder, [&](interpreter& i) {
      probe& p = v.at(holder);
      i.imports().drop_use(p.held.back()); // behind the message in its inbox: the entry is merged, or new
      p.held.pop_back();
    });
    v.step(holder);
    check_credit(v);
    v.run();
    CHECK(v.at(owner).dropped.empty());
    CHECK(v.at(holder).held.size() == 1);
    // And the other way round: the release is on its way when the object is sent again.
    v.post(holder, [&](interpreter&) { drop_all(v.at(holder)); });
    v.step(holder);
    v.post(owner, [&](interpreter&) { send_own(v.at(owner), 1, holder); });
    v.run();
    CHECK(v.at(holder).held.size() == 1);
    check_credit(v);
    v.in(holder, [](probe& p) { drop_all(p); });
    CHECK(v.find(owner)->exports().added() == v.at(owner).dropped.size());
    check_rest(v);
  }
}

TEST_CASE("shell losses: a call whose caller gives up, or lets go of the reference meanwhile, is not cut off") {
  village v({.credit = tiny});
  request_id asked = no_request;
  v.scripts["probe"]["later"] = [&](probe&, const incoming& m) { asked = m.request; };
  const auto owner = v.born();
  const auto holder = v.born();
  int answered = 0;
  v.in(owner, [&](probe& p) { send_own(p, 1, holder); });
  v.in(holder, [&](probe& p) {
    open_invoke(p, p.held[0], "later", [&](const outcome& o) {
      CHECK(o.what == outcome::kind::values);
      v.at(holder).take(o.values);
      ++answered;
    });
    p.outside().commit();
    drop_all(p);
  });
  CHECK(v.at(owner).dropped == std::vector<guest_word>{1}); // the guest holds it while the call runs
  v.in(owner, [&](probe& p) {
    p.put_own(p.outside().open_reply(asked), 2);
    p.outside().commit();
  });
  CHECK(answered == 1);
  v.in(holder, [](probe& p) { drop_all(p); });
  CHECK(v.at(owner).dropped == std::vector<guest_word>{1, 2});
  check_rest(v);
}

TEST_CASE("shell losses: an interpreter that dies in the midst of its own spawn, calls and messages leaves nothing") {
  village v({.credit = tiny});
  const auto a = v.born();
  const auto b = v.born();
  v.in(b, [&](probe& p) { send_own(p, 1, a); });
  v.post(a, [&](interpreter& self) {
    probe& p = v.at(a);
    spawn(p, "probe");
    send_own(p, 5, b);
    pass_on(p, 0, b);
    p.put_own(open_call(p, a, "keep", ignore), 6); // to itself
    p.outside().commit();
    self.end(end_kind::failed, {errc::guest_error, "in the midst", {}, {}, {}, {}});
  });
  v.run();
  CHECK(v.living() == std::vector<interpreter_id>{b});
  CHECK(v.at(b).came_home == 1);
  v.in(b, [](probe& p) { drop_all(p); });
  CHECK(v.at(b).dropped == std::vector<guest_word>{1});
  check_rest(v);
}
