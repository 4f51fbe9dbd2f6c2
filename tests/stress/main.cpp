// stress [SECONDS] [--workers N] [--seed S]: rounds of moving references (tests/stress/round.hpp) until the time is up,
// at least one. Without --workers each round takes 1, 2, 4 or 16; without --seed the first seed is drawn; each round's is
// one more. Exit status 1 when a round was wrong, 2 for wrong arguments. One that never ends is aborted.
//
// Threads make a round go another way each time: the seed fixes what is tried, not when it happens.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/long_run.hpp"
#include "tests/stress/round.hpp"

namespace {

using namespace Atoll::stress;
using namespace Atoll::testing;
using seconds = std::chrono::duration<double>;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

struct options {
  double seconds = 60;
  unsigned workers = 0;
  std::uint64_t seed = 0;
};

[[noreturn]] void usage() {
  std::fputs("stress [SECONDS] [--workers N] [--seed S]\n", stderr);
  std::exit(2); // NOLINT(concurrency-mt-unsafe): no thread yet
}

options parse(int argc, char** argv) {
  options o;
  const auto numeral = [](const char* text) { return number_argument(text, usage); };
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--workers") == 0) {
      o.workers = static_cast<unsigned>(numeral(argv[++i]));
    } else if (std::strcmp(argv[i], "--seed") == 0) {
      o.seed = static_cast<std::uint64_t>(numeral(argv[++i]));
    } else {
      o.seconds = numeral(argv[i]);
    }
  }
  if (o.seed == 0) o.seed = drawn_seed();
  return o;
}

bool round_is_right(const round_options& o) {
  // What kills the program leaves this line unfinished: the seed is known.
  std::printf("seed %llu, %u workers: ", static_cast<unsigned long long>(o.seed), o.workers);
  std::fflush(stdout);
  const auto start = std::chrono::steady_clock::now();
  round_result r;
  {
    const watchdog guard(std::chrono::seconds(150)); // longer than any round should take
    r = run_round(o);
  }
  if (r.wrong.empty() && !sanitized && peak_memory() > 2048) r.wrong = "it took more than 2 GiB of memory";
  std::printf(
      "%llu interpreters, %llu references moved, %llu objects exported, %llu released, %.1f s, peak %ld MiB; %s\n",
      static_cast<unsigned long long>(r.interpreters), static_cast<unsigned long long>(r.moved),
      static_cast<unsigned long long>(r.exported), static_cast<unsigned long long>(r.released),
      seconds(std::chrono::steady_clock::now() - start).count(), peak_memory(), r.end.c_str());
  if (!r.wrong.empty()) std::printf("wrong: %s\n", r.wrong.c_str());
  std::fflush(stdout);
  return r.wrong.empty();
}

} // namespace

int main(int argc, char** argv) {
  const options o = parse(argc, argv);
  const auto start = std::chrono::steady_clock::now();
  constexpr unsigned workers[] = {2, 4, 1, 16};
  int rounds = 0;
  do {
    const std::uint64_t seed = o.seed + static_cast<std::uint64_t>(rounds);
    if (!round_is_right({.seed = seed, .workers = o.workers != 0 ? o.workers : workers[seed % 4]})) return 1;
    ++rounds;
  } while (seconds(std::chrono::steady_clock::now() - start).count() < o.seconds);
  std::printf("%d rounds, all right\n", rounds);
  return 0;
}
