// Whole runtimes at random, each from a seed (tests/simulation/world.hpp).
//
// A failing schedule prints the one command that replays it. ATOLL_SECONDS=s (10) runs as many seeds as fit,
// ATOLL_SIMULATIONS=n no more than n, ATOLL_FIRST_SEED=n from n on; without it from a seed that differs from run to run.
#include <doctest/doctest.h>

#include <chrono>

#include "tests/seeds.hpp"
#include "tests/simulation/world.hpp"

using Atoll::test::world;
using Atoll::testing::from_environment;

namespace {

// Seeds that found something, while it is being mended and a little longer.
constexpr std::uint64_t recorded[] = {20207, 1058849};

struct totals {
  std::uint64_t schedules = 0;
  std::uint64_t turns = 0;
  bool lent = false;
};

/// Runs one schedule; false when it violated something, which is said.
bool holds(std::uint64_t seed, totals& sum) {
  world w(seed);
  const std::string why = w.run();
  CHECK_MESSAGE(why.empty(), why << "\n  replay: scripts/simulate --seed " << seed);
  ++sum.schedules;
  sum.turns += w.turns();
  sum.lent = sum.lent || w.lent();
  return why.empty();
}

} // namespace

TEST_CASE("simulation: fresh seeds") {
  totals sum;
  if (const std::uint64_t only = from_environment("ATOLL_SEED", 0); only != 0) {
    holds(only, sum);
    return;
  }
  using clock = std::chrono::steady_clock;
  const auto start = clock::now();
  const auto today = static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) / 1000;
  const std::uint64_t first = from_environment("ATOLL_FIRST_SEED", today % 1'000'000'000'000);
  const std::uint64_t count = from_environment("ATOLL_SIMULATIONS", ~std::uint64_t{0});
  const auto end = start + std::chrono::seconds(from_environment("ATOLL_SECONDS", 10));
  while (sum.schedules < count && clock::now() < end)
    if (!holds(first + sum.schedules, sum)) break;
  const double seconds = std::chrono::duration<double>(clock::now() - start).count();
  MESSAGE(sum.schedules << " schedules, " << sum.turns << " turns, from seed " << first << ", "
                        << static_cast<long>(static_cast<double>(sum.schedules) / seconds * 3600)
                        << " schedules an hour");
  if (sum.schedules > 50) CHECK(sum.lent); // else rule 4 was never tried
}

TEST_CASE("simulation: recorded seeds") {
  totals sum;
  for (const std::uint64_t seed : recorded) holds(seed, sum);
}

TEST_CASE("simulation: a seed replays, turn by turn") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    world first(seed);
    world second(seed);
    const std::string why = first.run();
    CHECK(second.run() == why);
    CHECK_MESSAGE(second.trace() == first.trace(), "seed " << seed);
  }
}
