// Whole runtimes at random, each from a seed (tests/simulation/world.hpp).
//
// A failing schedule prints the one command that replays it. ATOLL_SIMULATIONS=n runs so many seeds, ATOLL_SECONDS=s as
// many as fit; ATOLL_FIRST_SEED=n from where on, without it from a seed that differs from run to run.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>

#include "tests/simulation/world.hpp"

using Atoll::test::world;

namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): read before any thread
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

/// False when the schedule violated something; it is said then.
bool holds(std::uint64_t seed) {
  world w(seed);
  const std::string why = w.run();
  CHECK_MESSAGE(why.empty(),
                why << "\n  replay: ATOLL_SEED=" << seed << " build/tests/test_simulation -tc='simulation: fresh*'");
  return why.empty();
}

} // namespace

TEST_CASE("simulation: fresh seeds") {
  if (const std::uint64_t only = from_environment("ATOLL_SEED", 0); only != 0) {
    holds(only);
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  const std::uint64_t today = static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  const std::uint64_t first = from_environment("ATOLL_FIRST_SEED", today % 1000000000);
  const std::uint64_t count = from_environment("ATOLL_SIMULATIONS", ~std::uint64_t{0});
  const auto end =
      start + std::chrono::seconds(from_environment("ATOLL_SECONDS", count == ~std::uint64_t{0} ? 10 : 3600));
  std::uint64_t done = 0;
  std::uint64_t turns = 0;
  bool lent = false;
  while (done < count && std::chrono::steady_clock::now() < end) {
    world w(first + done);
    const std::string why = w.run();
    ++done;
    turns += w.turns();
    lent = lent || w.lent();
    CHECK_MESSAGE(why.empty(), why << "\n  replay: ATOLL_SEED=" << first + done - 1
                                   << " build/tests/test_simulation -tc='simulation: fresh*'");
    if (!why.empty()) break;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  MESSAGE(done << " schedules, " << turns << " turns, from seed " << first << ", "
               << static_cast<long>(static_cast<double>(done) / seconds * 3600) << " an hour");
  if (done > 50) CHECK(lent); // else rule 4 was never tried
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
