// Runs a few parties in every order their steps allow.
// Why: the real code of the channels, not a model of it; its lock and its atomic are steps (stepped.hpp).
// How: each run starts anew and repeats a prefix of choices, then goes on as the next choice says (depth first). Of runs that
// differ only in the order of independent steps one is made (sleep sets, Godefroid 1996): every state is still seen.
// Ownership: the schedule has the fibers; a world has what its parties share.
// Threads: one.
// Invariants: (1) two steps are independent when they are of different things, or both only read: what else a step touches is
//                 guarded by locks its party holds.
#pragma once

#include <ucontext.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/interleavings/stepped.hpp"

namespace Atoll::stepped {

inline constexpr int parties_max = 4;

/// What is run: made once, begun anew for each run.
class world {
public:
  world() = default;
  world(const world&) = delete;
  world& operator=(const world&) = delete;
  virtual ~world() = default;

  virtual int parties() const = 0;
  virtual void begin() = 0;
  /// A party's life, in its fiber.
  virtual void live(int party) = 0;
  /// After each step: what is broken; null: nothing.
  virtual const char* look() = 0;
  /// Nobody can go on. `over`: by party, whether its life is over.
  virtual const char* quiet(const std::array<bool, parties_max>& over) = 0;
  /// Parties that wait to be told go on all the same, as this run is over.
  virtual void let_go() = 0;
  /// Everybody has ended.
  virtual const char* end() = 0;
  virtual std::string name_of(const void* thing) const = 0;
};

struct findings {
  std::uint64_t runs = 0;  // to their end
  std::uint64_t steps = 0; // of all runs
  std::uint64_t most = 0;  // steps of a run
  std::string violation;   // and the way there; empty when all is well
};

class schedule {
public:
  schedule();
  schedule(const schedule&) = delete;
  schedule& operator=(const schedule&) = delete;
  ~schedule();

  /// Every run of the world, until one is broken.
  findings explore(world& w);

private:
  friend void about_to(step, const void*, const bool*) noexcept;
  using set = unsigned; // of parties

  struct move {
    step kind = step::begin;
    const void* what = nullptr;
    const bool* blocked = nullptr;
  };
  struct fiber {
    ucontext_t context{};
    std::unique_ptr<char[]> stack;
    move next;
    bool over = true;
  };
  /// A state on the way of the present run.
  struct choice {
    std::array<move, parties_max> next;
    set possible = 0;
    set sleeping = 0; // nothing new is behind their steps
    set done = 0;     // looked at already
    int taken = 0;
  };

  [[gnu::noinline]] void make(fiber& f);
  static void enter(unsigned high, unsigned low);
  static bool independent(const move& a, const move& b) noexcept {
    return a.what != b.what || (a.kind == step::read && b.kind == step::read);
  }
  set possible() const noexcept;
  void take(int party);
  /// False: nothing new is behind here.
  bool choose();
  /// What is broken; null: nothing.
  const char* run(findings& f);
  const char* finish_run();
  bool back();
  std::string tell(const char* why) const;

  world* world_ = nullptr;
  std::array<fiber, parties_max> fibers_;
  ucontext_t home_{};
  int running_ = -1;
  std::vector<choice> way_;
  std::size_t depth_ = 0;
};

} // namespace Atoll::stepped
