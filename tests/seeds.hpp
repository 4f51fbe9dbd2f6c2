// What a random test reads from the environment: which seeds to run, how many, for how long.
// Threads: before any thread is made.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace Atoll::testing {

/// The number in the variable `name`, or another when it is not set.
inline std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): tests read the environment before any thread
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

/// ATOLL_SEED replays one run of a random test; otherwise `count` runs start from `first`.
struct seeds {
  std::uint64_t first;
  std::uint64_t count;

  static seeds from_environment(std::uint64_t first, std::uint64_t count) {
    constexpr std::uint64_t none = ~std::uint64_t{0};
    const std::uint64_t only = testing::from_environment("ATOLL_SEED", none);
    return only != none ? seeds{only, 1} : seeds{first, count};
  }
};

} // namespace Atoll::testing
