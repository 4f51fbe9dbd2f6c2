// What a thread is doing that has been in one turn for too long: noted by a signal handler on it, told by the ticker.
// Why: the log is to name the C function that cannot be preempted. Lua's own state may be looked at only when it rests, so
// the answer comes from the processor's stack: addresses are noted, and named later on another thread.
// Threads: note() the thread itself, from a signal handler; everything else the ticker's, when `noted` says so.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "actors/shell/interpreter.hpp"

namespace Atoll {

struct stuck_turn {
  // release in note(), acquire by the ticker: what is below is then as note() left it. Which turn it is of; 0: none.
  std::atomic<std::uint64_t> noted{0};
  interpreter_id who{};
  char name[48] = {};
  activity doing;
  std::array<void*, 48> stack{}; // addresses, innermost first
  int depth = 0;

  /// Async-signal-safe after prepare().
  void note(std::uint64_t turn, const interpreter& of) noexcept;
  /// "string.rep, called by 'grow'", "'compute'"; empty when nothing is known.
  std::string text() const;
  /// Once, before any note(): what the unwinder would otherwise load in the handler.
  static void prepare() noexcept;
};

} // namespace Atoll
