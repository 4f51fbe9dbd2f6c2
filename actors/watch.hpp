// Looks over a runtime now and then: does everybody wait for everybody, and does a message wait for too long?
// Why: a program that hangs says nothing; one that is watched says who waits for whom, and where.
// Ownership: the supervisor's thread makes one, and looks until the runtime is to end.
// Threads: that thread's alone.
// Invariants: (1) a deadlock is told only when nothing can happen any more: see look_for_deadlock(). (2) a message that
//                 waits is told once.
//
// A deadlock, in order:
//   1. for two looks in a row no turn has begun, and none goes on; main is not over;
//   2. nobody waits for the clock, no socket is open, nothing connects, there is no pending flag;
//   3. everybody is idle, by the two looks of is_quiet(). From here on nothing happens but by the host program: whoever
//      turns this on says that it only waits, in run_main();
//   4. everybody is asked what its tasks wait for, in a turn of its own;
//   5. the circle is looked for, told as main's failure, and noted for the report.
#pragma once

#include <chrono>
#include <optional>
#include <unordered_map>

#include "actors/report.hpp"
#include "runtime/host.hpp"

namespace Atoll {

class core;
class waiter;

class watch {
public:
  watch(core& runtime, waiter& wait) : core_(runtime), waiter_(wait) {}

  /// How often to look; nothing: there is nothing to watch.
  static std::optional<std::chrono::milliseconds> period(const core& runtime);
  void look();

private:
  struct waiting_message {
    interpreter_id sender{};
    std::uint64_t until = 0; // how many its receiver will have handled when it is through
    std::uint64_t turns = 0; // the receiver's, when it was noted
    time_point since;
    bool told = false;
  };

  void look_for_deadlock();
  void look_for_waiting_messages();
  std::optional<std::vector<deadlocked_task>> ask_everybody();

  core& core_;
  waiter& waiter_;
  std::optional<std::uint64_t> seen_;   // turns begun, at the last look
  std::optional<std::uint64_t> judged_; // at the last time it was found out that this is no deadlock
  time_point next_for_messages_{};
  std::unordered_map<interpreter_id, waiting_message> messages_; // by receiver
};

/// In the order of the circle, then the others; `in_circle` is set. Without a circle as they come.
void find_circle(std::vector<deadlocked_task>& tasks);
/// One line for each task, the circle first; at most 20.
std::string deadlock_text(const std::vector<deadlocked_task>& tasks);

} // namespace Atoll
