// torture [SECONDS] [--runtimes N] [--seed S] [--harmless] [--fed]: runtimes that are made and finalized under attack
// (tests/torture/life.hpp), one after the other, until the time is up and there were N (at least one). --harmless: without
// guests that never return, whose threads stay behind. --fed: no allocation fails. Exit status 1 when a life was wrong, 2 for wrong arguments. One that
// never ends is aborted.
//
// Threads make a life go another way each time: the seed fixes what is tried, not when it happens.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "tests/long_run.hpp"
#include "tests/torture/life.hpp"
#include "tests/torture/scarcity.hpp"

namespace {

using namespace Atoll::torture;
using namespace Atoll::testing;
using clock = std::chrono::steady_clock;

struct options {
  double seconds = 0;
  std::uint64_t runtimes = 1;
  std::uint64_t seed = 0;
  bool harmless = false;
};

[[noreturn]] void usage() {
  std::fputs("torture [SECONDS] [--runtimes N] [--seed S] [--harmless] [--fed]\n", stderr);
  std::exit(2); // NOLINT(concurrency-mt-unsafe): no thread yet
}

options parse(int argc, char** argv) {
  options o;
  const auto numeral = [](const char* text) { return number_argument(text, usage); };
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--runtimes") == 0) {
      o.runtimes = static_cast<std::uint64_t>(numeral(argv[++i]));
    } else if (std::strcmp(argv[i], "--seed") == 0) {
      o.seed = static_cast<std::uint64_t>(numeral(argv[++i]));
    } else if (std::strcmp(argv[i], "--harmless") == 0) {
      o.harmless = true;
    } else if (std::strcmp(argv[i], "--fed") == 0) {
      let_none_fail();
    } else {
      o.seconds = numeral(argv[i]);
    }
  }
  if (o.seed == 0) o.seed = drawn_seed();
  return o;
}

} // namespace

int main(int argc, char** argv) {
  const options o = parse(argc, argv);
  std::printf("seed %llu\n", static_cast<unsigned long long>(o.seed));
  std::fflush(stdout);
  const auto start = clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(clock::now() - start).count(); };
  std::map<std::string, std::uint64_t> verdicts;
  std::uint64_t lives = 0;
  std::uint64_t abandoned = 0;
  double slowest = 0;
  bool right = true;
  {
    watchdog guard(std::chrono::seconds(60));
    crowd with(3, o.seed);
    while (right && (lives < o.runtimes || passed() < o.seconds)) {
      const std::uint64_t seed = o.seed + lives;
      if (lives % 50 == 0 && lives > 0) {
        // What kills the program leaves this: the life is one of the next fifty.
        std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
        std::fflush(stdout);
      }
      const life_result r = live(seed, with, o.harmless);
      guard.feed();
      ++lives;
      ++verdicts[r.verdict];
      abandoned += r.abandoned ? 1 : 0;
      slowest = std::max(slowest, r.seconds);
      if (r.wrong.empty()) continue;
      std::printf("seed %llu: wrong: %s\n", static_cast<unsigned long long>(seed), r.wrong.c_str());
      right = false;
    }
  }
  std::printf("%llu runtimes in %.1f s (%.2f ms each), ", static_cast<unsigned long long>(lives), passed(),
              passed() * 1000 / static_cast<double>(lives));
  for (const auto& [verdict, n] : verdicts)
    std::printf("%llu %s, ", static_cast<unsigned long long>(n), verdict.c_str());
  std::printf("%llu abandoned, the slowest end %.3f s, %llu allocations failed, peak %ld MiB\n",
              static_cast<unsigned long long>(abandoned), slowest,
              static_cast<unsigned long long>(failed_allocations()), peak_memory());
  std::fflush(stdout);
  if (abandoned > 0) std::_Exit(right ? 0 : 1); // threads are still inside runtimes that were left behind
  return right ? 0 : 1;
}
