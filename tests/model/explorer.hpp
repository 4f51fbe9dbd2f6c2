// Visits every state of a configuration, breadth first, and checks each.
// Why breadth first: the first violation is one of the shortest, and its trace can be read.
// Ownership: an explorer keeps all states it has seen, packed, whole: no state is taken for another by its hash alone.
// Threads: one.
// Invariants: (1) states stand in the arena in the order they were found; each names the state it was found from.
//             (2) of alike states (renamings) one is kept; traces are told with one set of names all the same.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/model/protocol.hpp"

namespace Atoll::model {

struct findings {
  std::uint64_t states = 0;
  std::uint64_t steps = 0;        // transitions looked at
  std::uint64_t quiet = 0;        // states in which only guests could act
  std::uint64_t final_states = 0; // states without any step
  int depth = 0;                  // of the longest shortest way; with a violation: its steps
  std::uint32_t events = 0;
  double seconds = 0;
  std::string violation; // the invariant; empty when all hold
  std::string trace;
};

/// Packed states, each once, in the order they were added.
class state_set {
public:
  using position = std::uint32_t;
  static constexpr position none = ~position{0};

  state_set();
  /// True: it is new, and has been added.
  bool add(const packed& state, position found_from);
  const std::uint32_t* words(position at) const { return &chunks_[at >> chunk_bits][(at & chunk_mask) + 1]; }
  position found_from(position at) const { return chunks_[at >> chunk_bits][at & chunk_mask]; }
  /// The state behind this one; end() behind the last.
  position next(position at) const;
  position end() const noexcept { return end_; }
  std::uint64_t size() const noexcept { return size_; }

private:
  static constexpr unsigned chunk_bits = 18;
  static constexpr std::uint32_t chunk_mask = (1U << chunk_bits) - 1;
  struct slot {
    std::uint32_t tag = 0;
    position at = none;
  };

  void grow();
  position append(const packed& state, position found_from);

  std::vector<std::unique_ptr<std::uint32_t[]>> chunks_; // each state: found_from, words
  std::vector<slot> table_;
  std::uint64_t size_ = 0;
  position end_ = 0;
};

class explorer {
public:
  explicit explorer(configuration c);
  /// Every state, until one is broken. More than `most` states are a violation too: the configuration is too large.
  findings explore(std::uint64_t most = 40'000'000);

private:
  bool look_at(const successor& s, state_set::position from, int measure_before);
  void violated(std::string why, state_set::position from, const world& last);
  std::string tell(state_set::position to, const world& last);

  configuration c_;
  protocol rules_;
  symmetry alike_;
  state_set seen_;
  findings found_;
};

} // namespace Atoll::model
