// The reference protocol's model, searched whole within each configuration: README.md in this folder.

#include <doctest/doctest.h>

#include <random>
#include <string>

#include "tests/model/configurations.hpp"
#include "tests/model/explorer.hpp"
#include "tests/model/invariants.hpp"

using namespace Atoll::model;

namespace {

/// Searches and checks that there was as much to see as there ought to be.
void holds(configuration c, std::uint64_t states_at_least, std::uint32_t events) {
  if (!whole) --c.sends;
  const findings f = explorer(c).explore();
  MESSAGE(std::string(c.name) << ": " << f.states << " states, " << f.steps << " steps between them, " << f.quiet
                              << " quiet, depth " << f.depth << ", " << f.seconds << " s");
  CHECK_MESSAGE(f.violation.empty(), f.trace);
  CHECK(f.quiet > 0);
  CHECK(f.final_states > 0);
  if (whole) {
    CHECK(f.states >= states_at_least);
    CHECK((f.events & events) == events);
  } else {
    CHECK(f.states >= states_at_least / 100);
  }
}

} // namespace

TEST_CASE("model: loans, refills and surplus, nobody ends") {
  holds(refills(), 1'500'000, loans | bit(event::surplus) | bit(event::minted_while_due) | bit(event::unread));
}

TEST_CASE("model: owner and holders end at every step") {
  holds(anybody_ends(), 1'600'000, loans | deaths | bit(event::lost));
}

TEST_CASE("model: holders end, six sends") { holds(holders_end(), 3'700'000, loans | deaths); }

TEST_CASE("model: three generations of a slot") {
  holds(generations(), 1'800'000, loans | deaths | bit(event::slot_reused) | bit(event::stale_request));
}

TEST_CASE("model: two objects of one owner") {
  holds(side_by_side(), 2'900'000, loans | bit(event::tombstone) | bit(event::loan_to_tombstone));
}

TEST_CASE("model: two owners hold each other's object") {
  holds(two_owners(), 1'800'000, loans | deaths | bit(event::lost) | bit(event::to_itself) | bit(event::put_back_late));
}

TEST_CASE("model: calls are answered once, the owner ends before, while and after") {
  holds(calls(), 2'000'000, bit(event::call_answered) | bit(event::call_before_end) | bit(event::call_after_end));
}

TEST_CASE("model: calls between two owners, anybody ends") {
  holds(calls_both_ways(), 1'700'000,
        bit(event::call_answered) | bit(event::call_before_end) | bit(event::call_after_end) | bit(event::tombstone));
}

TEST_CASE("model: late finalizers and messages taken back") {
  holds(proxies(), 2'600'000,
        loans | deaths | bit(event::reimported) | bit(event::put_back_late) | bit(event::put_back_pending));
}

TEST_CASE("model: four interpreters, all credit lent") { holds(four(), 3'300'000, loans | deaths); }

TEST_CASE("model: grants of four") { holds(large_grants(), 2'700'000, loans | deaths | bit(event::surplus)); }

TEST_CASE("model: imports dropped by interpreters that go on") {
  holds(end_of_runtime(), 2'900'000, loans | deaths | bit(event::refused));
}

TEST_CASE("model: every kind of step at once") {
  holds(everything(), 2'100'000, (bit(event::refused) << 1U) - 1U); // all, but put_back_pending takes more sends
}

TEST_CASE("model: a packed world is the world, and all its renamings have one canonical form") {
  configuration c = everything();
  c.nodes = 4;
  c.mortal = c.finalizing = 15;
  c.sends = 8;
  const symmetry alike = symmetry_of(c);
  REQUIRE(alike.all.size() == 6);
  std::mt19937 random(1); // which walks are taken does not matter
  std::vector<successor> next;
  int looked_at = 0;
  for (int walk = 0; walk < 500; ++walk) {
    protocol rules(c);
    world w = rules.initial();
    for (;;) {
      const packed p = pack(w, c);
      CHECK(unpack(p.words.data(), c) == w);
      const packed least = canonical(w, c, alike);
      for (const renaming& r : alike.all) CHECK(canonical(renamed(w, c, r), c, alike).words == least.words);
      ++looked_at;
      rules.successors(w, next);
      if (next.empty()) break;
      w = next[random() % next.size()].to;
      if (w.fault != nullptr) break; // a bound of the model
    }
  }
  CHECK(looked_at > 5000);
}
