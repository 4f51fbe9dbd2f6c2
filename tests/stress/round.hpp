// One round of the stress: a runtime that is born, moves references about as fast as it can, and is finalized.
//
//   1. 64 interpreters start. Threads outside make them send references in rings and at random, call through them, let
//      go in bulk; hold ref<>s themselves, copy, move, exchange and drop them; another kills, stops and replaces.
//   2. The runtime is finalized: after the threads have let go (by the seed), while they go on, or before they let go.
//   3. The report must be true: nothing forced, nobody failed, one entry for each interpreter, and of each that nobody
//      ended every exported object released, but for those that threads outside still held. In the first case: clean.
#pragma once

#include <cstdint>
#include <string>

namespace Atoll::stress {

struct round_options {
  std::uint64_t seed = 1;
  unsigned workers = 2;
  double seconds = 2; // of motion
};

struct round_result {
  std::string wrong; // empty: all is well
  std::string end;   // how it was finalized
  std::uint64_t interpreters = 0;
  std::uint64_t moved = 0;    // references sent, at least: what the dead ones in Lua sent is not known
  std::uint64_t exported = 0; // objects
  std::uint64_t released = 0;
};

round_result run_round(const round_options& options);

} // namespace Atoll::stress
