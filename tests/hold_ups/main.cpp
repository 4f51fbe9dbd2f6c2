// hold_ups [SECONDS] [--seed S] [--only TEXT]: a runtime ends while one thread of it, or one that uses it, stands still (hold_up.hpp): at
// each moment of each deed of a thread that has handles alone, and at each moment of the workers from each phase on. For
// SECONDS a random choice of these; 0, the default: all of them, once. --only: those with TEXT in their name. What must hold: finalize() returns in time; nothing
// of the user's is called behind that; nobody touches what is freed. Exit status 1 when something was wrong, 2 for wrong
// arguments. Each of them is played in a process of its own, as one that could not wait leaves threads behind.
//
// `short` hold-ups end while finalize() has time to wait for them; at `long` ones its deadline passes.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <thread>

#include "tests/hold_ups/hold_up.hpp"
#include "tests/hold_ups/scenes.hpp"
#include "tests/long_run.hpp"

namespace {

using namespace Atoll::hold_ups;
using namespace Atoll::testing;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

struct patience {
  const char* name;
  std::chrono::milliseconds hold_up;
  std::chrono::milliseconds deadline;
};
constexpr patience patiences[] = {{"short", 40ms, 4000ms}, {"long", 800ms, 300ms}};
constexpr const char* phases[] = {"close", "drain", "exit", "settle", "teardown", "seal", "report"};

struct outcome {
  bool reached = false;
  std::string wrong; // empty: all held
};

/// What is behind finalize(): whoever stands still goes on.
void judge(stage& s, outcome& o) {
  if (o.wrong.empty() && s.after->called > 0)
    o.wrong = fmt::format("{} calls came behind finalize()", s.after->called.load());
}

outcome hold_caller(const deed& what, unsigned moment, const patience& p) {
  stage s(p.deadline, [](std::string_view) {});
  std::function<void()> act = what.prepare(s);
  std::atomic<bool> done{false};
  arm(party::caller, moment, p.hold_up);
  std::thread caller([&, act = std::move(act)]() mutable {
    {
      const as_caller c;
      act();
      act = nullptr;
    }
    done = true;
  });
  act = nullptr;
  while (!reached() && !done) std::this_thread::yield();
  outcome o{reached(), s.end()};
  if (!what.uses_runtime) s.destroy();
  let_go();
  caller.join();
  s.destroy();
  judge(s, o);
  return o;
}

outcome hold_worker(const char* phase, unsigned moment, const patience& p) {
  stage s(p.deadline, [=](std::string_view entered) {
    if (entered == phase) arm(party::workers, moment, p.hold_up);
  });
  outcome o;
  o.wrong = s.end();
  s.destroy();
  o.reached = reached();
  let_go();
  if (o.reached) std::this_thread::sleep_for(2ms); // who stood still goes on
  judge(s, o);
  return o;
}

/// Everybody who may stand still: a deed's thread, or the workers from a phase on.
struct part {
  std::string name;
  std::function<outcome(unsigned moment, const patience&)> play;
  unsigned moments = 1; // so many are known of
};

std::vector<part> all_parts() {
  std::vector<part> all;
  for (const deed& d : deeds())
    all.push_back({d.name, [&d](unsigned moment, const patience& p) { return hold_caller(d, moment, p); }});
  for (const char* phase : phases)
    all.push_back({fmt::format("workers from phase {} on", phase),
                   [phase](unsigned moment, const patience& p) { return hold_worker(phase, moment, p); }});
  return all;
}

[[noreturn]] void usage() {
  std::fputs("hold_ups [SECONDS] [--seed S] [--only TEXT]\n", stderr);
  std::exit(2); // NOLINT(concurrency-mt-unsafe): no thread yet
}

enum status { not_reached = 0, held = 1, failed = 3 };

class run {
public:
  /// True: the moment was reached.
  bool play(part& of, unsigned moment, const patience& p) {
    std::printf("%s, moment %u, %s\n", of.name.c_str(), moment, p.name);
    std::fflush(stdout);
    ++played_;
    const pid_t child = fork();
    if (child == 0) _exit(play_here(of, moment, p));
    int how = 0;
    if (child < 0 || waitpid(child, &how, 0) != child) how = failed << 8;
    if (WIFSIGNALED(how)) std::printf("wrong: it was ended by signal %d\n", WTERMSIG(how));
    right_ = WIFEXITED(how) && WEXITSTATUS(how) != failed;
    if (!right_ || WEXITSTATUS(how) != held) return false;
    of.moments = std::max(of.moments, moment + 2);
    return true;
  }
  bool right() const { return right_; }
  unsigned played() const { return played_; }

private:
  static status play_here(const part& of, unsigned moment, const patience& p) {
    alarm(60);
    const outcome o = of.play(moment, p);
    if (o.wrong.empty()) return o.reached ? held : not_reached;
    std::printf("wrong: %s\n", o.wrong.c_str());
    std::fflush(stdout);
    return failed;
  }

  bool right_ = true;
  unsigned played_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  double seconds = 0;
  std::string only;
  auto seed = drawn_seed();
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--seed") == 0)
      seed = static_cast<std::uint64_t>(number_argument(argv[++i], usage));
    else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc)
      only = argv[++i];
    else
      seconds = number_argument(argv[i], usage);
  }
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::vector<part> parts = all_parts();
  std::erase_if(parts, [&](const part& of) { return of.name.find(only) == std::string::npos; });
  if (parts.empty()) usage();
  run r;
  const auto start = clock::now();
  if (seconds == 0) {
    constexpr unsigned most = 400;
    for (part& of : parts)
      for (const patience& p : patiences)
        for (unsigned moment = 0; moment < most && r.right() && r.play(of, moment, p); ++moment) {
        }
  } else {
    std::mt19937_64 dice(seed);
    while (r.right() && clock::now() - start < std::chrono::duration<double>(seconds)) {
      part& of = parts[dice() % parts.size()];
      // Moments are found one by one: each that was reached lets the next be tried.
      r.play(of, static_cast<unsigned>(dice() % (2 * of.moments)), patiences[dice() % 8 == 0 ? 1 : 0]);
    }
  }
  std::printf("%u runtimes in %.1f s: %s\n", r.played(), std::chrono::duration<double>(clock::now() - start).count(),
              r.right() ? "all is well" : "something was wrong");
  return r.right() ? 0 : 1;
}
