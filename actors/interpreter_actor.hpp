// An interpreter on CAF: what schedules its turns.
// Why: CAF's workers run any resumable; the interpreter's own inbox and its one state word (channels/turn_state.hpp)
// decide when, so a message costs no CAF message. What CAF delivers besides (exit messages) only gives it a turn; its
// clock wakes through an alarm (actors/alarm.hpp).
// Ownership: counted by CAF; the runtime holds one count until the interpreter has ended.
// Threads: schedule() and enqueue() any thread; resume() one worker at a time (turn_state invariant 1).
#pragma once

#include <caf/all.hpp>

#include "actors/shell/interpreter.hpp"
#include "channels/fork.hpp"

namespace Atoll {

class interpreter_actor;

/// Schedules a resumable on a worker; a worker that is busy with a turn gives it to another.
void schedule_on_caf(caf::actor_system& sys, caf::resumable& what) noexcept;

/// Whether the calling thread is one of CAF's workers in the middle of a turn: it must not wait for another's.
bool on_worker_thread() noexcept;
/// The same, of this actor system's.
bool on_worker_thread_of(const caf::actor_system& sys) noexcept;

/// Marks the calling thread as a CAF worker while it lives, and keeps whom it runs next.
//
// A turn that ends by waking somebody usually waits for the answer: who is woken last by its final flush runs next on the
// same thread, straight after it, without a way through CAF's queue. Everybody else, and who is woken in the middle of a
// turn, goes to another worker's queue.
class worker_scope {
public:
  explicit worker_scope(caf::execution_unit* unit) noexcept;
  ~worker_scope();
  worker_scope(const worker_scope&) = delete;
  worker_scope& operator=(const worker_scope&) = delete;

  static void turn_flushes() noexcept;
  /// Who was woken to run next; null: nobody. The caller owns one count of it.
  interpreter_actor* take_next() noexcept;

private:
  caf::execution_unit* before_;
};

class interpreter_actor final : public caf::monitorable_actor,
                                public caf::resumable,
                                public caf::dynamically_typed_actor_base,
                                public waker {
public:
  using signatures = caf::none_t;

  interpreter_actor(caf::actor_config& cfg, environment& env, std::shared_ptr<const interpreter_config> config,
                    interpreter_id id, interpreter_id parent, std::string name, const guest_factory& make_guest);

  interpreter& shell() noexcept { return shell_; }

  // waker
  void schedule() noexcept override;

  // caf::abstract_actor
  const char* name() const override { return "interpreter"; }
  using caf::abstract_actor::enqueue;
  void enqueue(caf::mailbox_element_ptr what, caf::execution_unit* host) override;

  // caf::resumable
  // Not a caf::scheduled_actor: what CAF's shutdown finds with that subtype it casts to one.
  subtype_t subtype() const override { return caf::resumable::unspecified; }
  resume_result resume(caf::execution_unit* unit, size_t max_throughput) override;
  /// One turn, and the end of the CAF actor when it was the last.
  interpreter::turn_result run_turn(caf::execution_unit* unit);
  void intrusive_ptr_add_ref_impl() override { intrusive_ptr_add_ref(ctrl()); }
  void intrusive_ptr_release_impl() override { intrusive_ptr_release(ctrl()); }
  friend void intrusive_ptr_add_ref(interpreter_actor* a) { intrusive_ptr_add_ref(a->ctrl()); }
  friend void intrusive_ptr_release(interpreter_actor* a) { intrusive_ptr_release(a->ctrl()); }

private:
  const birthplace born_;
  interpreter shell_;
};

} // namespace Atoll
