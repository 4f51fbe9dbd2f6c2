// Owner and holder death at every step of the reference protocol, on the shell without threads.
// Each story leads interpreters through some rows of ARCHITECTURE.md, "A reference's life". It is told once undisturbed,
// and its turns are counted; then once more for every turn, every interpreter and every manner of dying, and for two deaths.
// After every turn all credit is counted (tests/actors/audit.hpp); at the end nobody waits, and nothing is left.
#include <doctest/doctest.h>

#include <array>

#include "tests/actors/stage.hpp"

using namespace Atoll;
using namespace Atoll::test;
using namespace std::chrono_literals;

namespace {

// -- the stories ------------------------------------------------------------------------------------------------------------

using carries = stage::carries;

struct story {
  std::string name;
  std::size_t roles;
  interpreter_config config;
  std::function<void(stage&)> tell;
};

/// An object is exported, called, sent on, sent home and let go of; one message is taken back.
void a_life(stage& s) {
  s.act(0, [&](probe& p) { s.send_new(p, 1); });
  for (int i = 0; i < 3; ++i) s.act(1, [&](probe& p) { s.call_object(p); });
  s.act(1, [&](probe& p) { s.hand_on(p, 2); });
  s.act(1, [&](probe& p) { s.change_its_mind(p, 0); });
  s.act(2, [&](probe& p) { s.call_object(p, "keep", carries::held); });
  s.act(1, [&](probe& p) { s.let_go(p); });
  s.act(2, [&](probe& p) { s.hand_on(p, 0); });
  s.act(2, [&](probe& p) { s.let_go(p); });
  s.rest();
}

/// With a credit of 1 every reference sent on is a loan: lenders let go first, loans meet credit, borrowers lend.
void loans(stage& s) {
  s.act(0, [&](probe& p) { s.send_new(p, 1); });
  s.act(1, [&](probe& p) { s.hand_on(p, 2); });
  s.act(1, [&](probe& p) { s.hand_on(p, 3); });
  s.act(2, [&](probe& p) { s.hand_on(p, 3); });
  s.act(1, [&](probe& p) { s.let_go(p); });
  s.act(3, [&](probe& p) { s.hand_on(p, 1); });
  s.act(3, [&](probe& p) { s.call_object(p); });
  s.act(2, [&](probe& p) { s.hand_on(p, 0); });
  s.act(2, [&](probe& p) { s.let_go(p); });
  s.rest();
}

/// Calls and answers carry references; an answer comes late, one to nobody; a call is made while its reference goes.
void conversations(stage& s) {
  s.act(0, [&](probe& p) { s.ask(p, 1, "give", carries::own); });
  s.act(1, [&](probe& p) { s.ask(p, 2, "later", carries::held); });
  s.act(2, [&](probe& p) { s.ask(p, 0, "share", carries::held); });
  s.act(0, [&](probe& p) {
    s.call_object(p, "later", carries::own);
    s.let_go(p);
  });
  s.act(2, [&](probe& p) { s.answer_kept(p); });
  s.act(1, [&](probe& p) { s.ask(p, 0, "share", carries::held); });
  s.act(1, [&](probe& p) { s.answer_kept(p); });
  s.act(0, [&](probe& p) { s.ask(p, 2, "give"); });
  s.act(2, [&](probe& p) { s.ask_and_forget(p, 1, "share"); });
  s.rest();
}

/// Envelopes of many records, handled one record a turn, over the receiver's mark: what is read, and what never will be.
void a_flood(stage& s) {
  s.act(0, [&](probe& p) {
    for (int i = 0; i < 3; ++i) s.send_new(p, 1);
    s.ask(p, 1, "share", carries::own);
    s.wait_for_room(p, 1);
  });
  s.act(1, [&](probe& p) {
    for (int i = 0; i < 3; ++i) s.hand_on(p, 0);
    s.hand_on(p, 2);
    s.ask(p, 0, "keep", carries::held);
    s.let_go(p);
  });
  s.act(2, [&](probe& p) {
    s.hand_on(p, 1);
    s.call_object(p);
    s.wait_for_room(p, 1);
    s.let_go(p);
  });
  s.rest();
}

/// The same object again and again: receipts merge, surplus goes home, it is released while it is sent again.
void again_and_again(stage& s) {
  s.act(0, [&](probe& p) {
    for (int i = 0; i < 5; ++i) send_own(p, exported_again, s.roles[1]);
  });
  s.act(1, [](probe& p) { drop_all(p); });
  s.act(0, [&](probe& p) { send_own(p, exported_again, s.roles[1]); });
  s.act(1, [](probe& p) { drop_all(p); });
  s.act(1, [&](probe& p) { s.hand_on(p, 2); });
  s.act(0, [&](probe& p) { send_own(p, exported_again, s.roles[2]); });
  s.act(2, [&](probe& p) { s.hand_on(p, 1); });
  s.act(2, [](probe& p) { drop_all(p); });
  s.rest();
}

std::vector<story> stories() {
  constexpr credit_policy ones{.grant = 1, .low = 1, .cap = 4};
  return {
      {"a life", 3, {.credit = tiny}, a_life},
      {"loans", 4, {.credit = ones}, loans},
      {"conversations", 3, {.credit = tiny}, conversations},
      {"conversations on loan", 3, {.credit = ones}, conversations},
      {"a flood", 3, {.credit = ones, .turn_messages = 1, .bounds = {.high_water = 2}}, a_flood},
      {"again and again", 3, {.credit = {.grant = 4, .low = 1, .cap = 8}}, again_and_again},
  };
}

struct ran {
  std::string why;
  std::size_t turns = 0;
};

ran tell(const story& what, std::uint64_t seed, std::vector<death> deaths, std::set<std::string>& rows) {
  stage s(what.config, seed, std::move(deaths));
  s.cast(what.roles);
  what.tell(s);
  const std::size_t turns = s.turns;
  s.wind_up();

  rows.merge(s.rows);
  return {s.why, turns};
}

std::string show(const death& d) {
  constexpr const char* names[] = {"killed at once", "killed", "stopped", "stopped slowly"};
  return std::to_string(d.role) + " is " + names[static_cast<int>(d.how)] + " before turn "
         + std::to_string(d.before_turn);
}

constexpr std::array manners{manner::at_once, manner::killed, manner::stopped, manner::sees_it_out};

} // namespace

TEST_CASE("shell deaths: whoever dies before whichever turn, credit adds up, everybody is answered, nothing is left") {
  std::set<std::string> rows;
  for (const story& what : stories()) {
    CAPTURE(what.name);
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
      CAPTURE(seed);
      const ran undisturbed = tell(what, seed, {}, rows);
      CHECK(undisturbed.why == "");
      for (std::size_t k = 0; k <= undisturbed.turns; ++k) {
        for (std::size_t role = 0; role < what.roles; ++role) {
          for (const manner how : manners) {
            const death d{role, k, how};
            const ran r = tell(what, seed, {d}, rows);
            REQUIRE_MESSAGE(r.why.empty(), r.why << "; " << show(d));
          }
        }
      }
    }
  }
  // Every row of the table in ARCHITECTURE.md.
  const std::set<std::string> all{"export",        "taken back", "in flight",       "import",
                                  "home",          "call",       "forward",         "refill",
                                  "loan",          "borrow",     "pay back",        "decref",
                                  "drop",          "unread",     "the holder dies", "a loan comes home to the dead",
                                  "the owner dies"};
  CHECK(rows == all);
}

TEST_CASE("shell deaths: two that die one after the other leave nothing either") {
  std::set<std::string> rows;
  for (const story& what : stories()) {
    CAPTURE(what.name);
    const std::size_t turns = tell(what, 1, {}, rows).turns;
    for (std::size_t first = 0; first <= turns; ++first) {
      for (std::size_t second = first; second <= turns; ++second) {
        for (std::size_t a = 0; a < what.roles; ++a) {
          for (std::size_t b = 0; b < what.roles; ++b) {
            if (a == b) continue;
            const death d{a, first, manners[(first + b) % manners.size()]};
            const death e{b, second, manners[(second + first) % 2]};
            const ran r = tell(what, 1 + first % 3, {d, e}, rows);
            REQUIRE_MESSAGE(r.why.empty(), r.why << "; " << show(d) << ", " << show(e));
          }
        }
      }
    }
  }
}
