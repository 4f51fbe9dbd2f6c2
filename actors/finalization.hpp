// How a runtime ends: seven phases, each with its share of one deadline.
// Why: comparable systems crash, hang or lie at shutdown. Here the order is written down, counted, and reported.
// Ownership: the supervisor makes one, runs it once.
// Threads: the supervisor's.
// Invariants: (1) the total deadline holds: no wait here is without bound. (2) every interpreter gets exactly one outcome.
//             (3) no interpreter is torn down while another still runs exit handlers.
//             (4) quiescence is counted: see is_quiet().
//
// The phases, in order:
//   1. close     no new interpreters; listeners close, and connections are read no more; host threads' new calls are refused.
//   2. drain     until no message is in flight, or the phase's deadline: then the busy are interrupted. Calls and timers
//                still open fail with runtime_finalizing. Connections are closed behind their last written byte.
//   3. exit      exit handlers and finalizers of priority >= 0, in reverse start order, every peer still alive:
//                a. one interpreter after the other. Each may take what is left of the phase divided by those still to
//                   come, at least a quarter of it and at most three quarters: an endless one does not take the time
//                   of those behind it. Who has not finished then is named and interrupted, and the next one is asked.
//                   Neighbours in this order that have nothing to run are asked together (acts_at_exit).
//                b. Those go on with what they have left, interrupted again whenever that lasts.
//                c. Until no message is in flight: what was sent up to here still finds everybody.
//   4. settle    every channel is closed and what is in it goes home; every import is dropped; owners handle the decrefs until every `out` is 0, or what remains is a leak.
//   5. teardown  guests close, in reverse start order, neighbours of whose close nothing can be seen together (acts_at_close).
//                Who does not come to its end in time is killed, then abandoned.
//   6. seal      what is late finds closed inboxes: its credit goes to tombstones, its callers get an answer.
//   7. report.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "actors/report.hpp"

namespace Atoll {

class core;
class interpreter;

/// Waits in the supervisor's way (a mailbox with a timeout; a simulation turns the crank instead).
class waiter {
public:
  /// Returns when something may have changed, at `until` at the latest.
  virtual void wait(time_point until) = 0;

protected:
  ~waiter() = default;
};

/// Whether nothing runs and nothing is in flight, by two looks: all idle, and no turn begun between them.
bool is_quiet(core& runtime);

class finalization {
public:
  finalization(core& runtime, waiter& wait);

  finalization_report run();

private:
  struct asked;
  struct roll;
  using question = std::function<void(interpreter&, std::function<void()> done)>;

  void close();
  void drain();
  void exit();
  void settle();
  void teardown();
  void seal();

  void phase(const char* name, double share, void (finalization::*step)());
  /// Waits for the condition within the phase; false when time is up.
  bool wait_for(const std::function<bool()>& condition, time_point until);
  bool wait_for(const std::function<bool()>& condition) { return wait_for(condition, phase_end_); }
  bool quiet() { return is_quiet(core_); }
  /// Asks interpreters: a job in their turn. The gone count as done.
  std::shared_ptr<asked> ask(const std::vector<interpreter_id>& whom, const question& what);
  /// Waits for all of them; answers those that did not do it in time.
  std::vector<interpreter_id> await(asked& board, time_point until);
  void run_exit_handlers(const std::vector<interpreter_id>& whom, std::size_t still_to_come,
                         std::vector<std::shared_ptr<asked>>& late, const question& how);
  void interrupt_again(const std::vector<std::shared_ptr<asked>>& late);
  std::vector<interpreter_id> newest_first() const;
  void force(interpreter_id who);
  time_point now() const;

  core& core_;
  waiter& waiter_;
  time_point start_;
  time_point end_;
  time_point phase_end_;
  // As they said when they were asked last, and those who said nothing.
  std::set<interpreter_id> act_at_exit_;
  std::set<interpreter_id> act_at_close_;
  finalization_report report_;
};

} // namespace Atoll
