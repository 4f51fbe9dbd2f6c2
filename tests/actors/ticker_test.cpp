// The ticker without its thread: who is reached by a poke. What a tick does to a guest: tests/guests; preemption: system_test.cpp.
#include "actors/ticker.hpp"

#include <doctest/doctest.h>

#include <optional>

#include "tests/actors/shell_world.hpp"

using namespace Atoll;
using Atoll::test::shell_world;

namespace {

std::function<bool()> nothing_to_look_at() {
  return [] { return false; };
}
std::function<bool()> nobody_waits() {
  return [] { return false; };
}

/// Whether a poke reached it in a turn: as a message waits, the signal's handler asks it to yield.
bool poke_reaches(ticker& t, shell_world& world, interpreter_id id) {
  world.post(id, [](interpreter&) {});
  interpreter& who = *world.find(id);
  t.enter(who);
  t.poke(&who);
  const bool reached = who.pending_controls().yield;
  t.leave();
  world.run(); // the turn forgets that it was asked to
  CHECK_FALSE(who.pending_controls().yield);
  return reached;
}

} // namespace

TEST_CASE("ticker: a poke reaches the turn of the calling thread, and no turn of another interpreter") {
  shell_world world;
  world.scripts["probe"] = {};
  const interpreter_id id = world.start("probe");
  const interpreter_id other = world.start("probe");
  world.run();
  ticker t({}, {}, nothing_to_look_at(), nobody_waits());
  CHECK(poke_reaches(t, world, id));
  world.post(id, [](interpreter&) {});
  t.enter(*world.find(id));
  t.poke(world.find(other));
  CHECK_FALSE(world.find(id)->pending_controls().yield);
  t.leave();
  t.poke(world.find(id));
  CHECK_FALSE(world.find(id)->pending_controls().yield);
}

TEST_CASE("ticker: a thread that served a runtime which is gone is known to the next one at the same address") {
  shell_world world;
  world.scripts["probe"] = {};
  const interpreter_id id = world.start("probe");
  world.run();
  std::optional<ticker> place;
  for (int runtime = 0; runtime < 3; ++runtime) {
    place.emplace(std::chrono::milliseconds(0), std::chrono::milliseconds(0), nothing_to_look_at(), nobody_waits());
    CHECK_MESSAGE(poke_reaches(*place, world, id), "runtime " << runtime);
  }
}
