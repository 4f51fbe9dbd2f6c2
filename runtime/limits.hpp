// What an interpreter may use: memory, processor time, waiting time, room, children.
// Why one struct: the command's flags, system_config and the options of a spawn all end here, and so does each check.
// Threads: plain values; an interpreter's own never change.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace Atoll {

/// Of one interpreter. 0: no limit, unless said.
struct limits {
  /// Bytes of its heap, with the blocks of the buffers it owns.
  std::size_t memory = 0;
  /// Processor time that one task may use: a message, a callback, the chunk. Its waits do not count, its exit handlers
  /// have the deadline of the finalization instead. Checked every half time slice.
  std::chrono::microseconds message_cpu{0};
  /// How long a call that it makes may stay unanswered; then it fails with `timeout`. The callee goes on.
  std::chrono::milliseconds call_time{0};
  /// How long a turn may last before the guest is asked to yield, if others wait.
  std::chrono::milliseconds time_slice{10};
  /// Messages in its inbox above which senders wait. At least 1.
  std::size_t high_water = 65536;
  /// How many interpreters below it may live at a time: its children, theirs, and so on.
  std::size_t interpreters = 0;
  /// Of how many calls, each made on behalf of the one before it, a chain that waits may consist. At most 4095.
  std::uint32_t call_depth = 1000;
};

} // namespace Atoll
