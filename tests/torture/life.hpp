// One life in the torture of finalization: a runtime with a few interpreters is made, used by threads that never stop, and
// finalized, while at the boundary of each phase something is done that does harm. What must hold whatever was done:
//
//   it ends         finalize() returns inside its deadline (and a margin for the machine)
//   all are told of every interpreter that started has one entry in the report; every pending call that was accepted ran or
//                   was refused
//   it stays over   no guest code runs and nothing is logged when finalize() has returned
//   handles outlive it: they answer runtime_finalized, and let go of nothing that is there
//   the verdict     is "forced" only if somebody computed without end, blocked, or found no memory
//
// Threads: live() one thread; the crowd is its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace Atoll::torture {

struct life_result {
  std::string wrong; // empty: all held
  std::string verdict;
  double seconds = 0;     // of finalize()
  double over = 0;        // by which it passed the deadline
  bool abandoned = false; // its threads are left behind
};

/// The host threads: they use whatever life there is, and what they kept of earlier ones.
class crowd {
public:
  crowd(unsigned threads, std::uint64_t seed);
  ~crowd();
  crowd(const crowd&) = delete;
  crowd& operator=(const crowd&) = delete;

  struct state;
  state& shared() noexcept { return *state_; }

private:
  std::unique_ptr<state> state_;
};

/// Lives one life; the seed says which. `harmless`: without blocks and endless loops, which take their time.
life_result live(std::uint64_t seed, crowd& with, bool harmless);

} // namespace Atoll::torture
