// The fuzz targets with mutations of our own, in every build and with every compiler: a few seconds of what scripts/fuzz
// does for hours.
#include <doctest/doctest.h>

#include <vector>

#include "tests/fuzz/targets.hpp"
#include "tests/seeds.hpp"

using namespace Atoll::testing;

namespace {

std::vector<std::uint8_t> mutated(std::mt19937_64& random, bool envelope) {
  const std::string seed = fuzz_seed(random, envelope);
  std::vector<std::uint8_t> bytes(seed.begin(), seed.end());
  for (std::size_t n = random() % 5; n > 0 && !bytes.empty(); --n) {
    const std::size_t at = random() % bytes.size();
    switch (random() % 8) {
    case 0: bytes.resize(at); break;
    case 1:
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), static_cast<std::uint8_t>(random() % 16));
      break;
    case 2: bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at)); break;
    case 3: bytes[at] = static_cast<std::uint8_t>(random() % 16); break; // a tag
    default: bytes[at] = static_cast<std::uint8_t>(random()); break;
    }
  }
  bytes.shrink_to_fit(); // a sanitizer sees a read beyond it
  return bytes;
}

void play(void (*target)(fuzz_input), bool envelope, std::uint64_t count) {
  const seeds runs = seeds::from_environment(1, count);
  for (std::uint64_t seed = runs.first; seed < runs.first + runs.count; ++seed) {
    INFO("replay with ATOLL_SEED=" << seed);
    std::mt19937_64 random(seed);
    target(mutated(random, envelope));
  }
}

} // namespace

TEST_CASE("fuzz: mutated envelopes are walked to their end") { play(fuzz_walk, true, 5000); }
TEST_CASE("fuzz: mutated values are read in C++ or refused") { play(fuzz_values, false, 5000); }
TEST_CASE("fuzz: mutated values are read in Lua or refused") { play(fuzz_lua, false, 5000); }
