#include "actors/interpreter_actor.hpp"

namespace Atoll {

namespace {
thread_local caf::execution_unit* current_worker = nullptr;
}

worker_scope::worker_scope(caf::execution_unit* unit) noexcept : before_(std::exchange(current_worker, unit)) {}
worker_scope::~worker_scope() { current_worker = before_; }

bool on_worker_thread() noexcept { return current_worker != nullptr; }

void schedule_on_caf(caf::actor_system& sys, caf::resumable& what) noexcept {
  what.intrusive_ptr_add_ref_impl();
  if (current_worker != nullptr) {
    current_worker->exec_later(&what);
  } else {
    sys.scheduler().enqueue(&what);
  }
}

interpreter_actor::interpreter_actor(caf::actor_config& cfg, environment& env,
                                     const interpreter_config& config, interpreter_id id, interpreter_id parent,
                                     const spawn_options& options, const guest_factory& make_guest)
    : caf::monitorable_actor(cfg), shell_(env, config, id, parent, options, make_guest) {
  shell_.box().set_waker(*this);
}

void interpreter_actor::schedule() noexcept { schedule_on_caf(home_system(), *this); }

void interpreter_actor::enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) {
  if (what->content().match_elements<caf::exit_msg>()) shell_.set_controls({.kill = true});
  if (what->mid.is_request()) bounce(what);
  shell_.box().wake();
}

caf::resumable::resume_result interpreter_actor::resume(caf::execution_unit* unit, size_t) {
  const worker_scope scope(unit);
  switch (shell_.turn()) {
    case interpreter::turn_result::idle: return resume_result::awaiting_message;
    case interpreter::turn_result::again: return resume_result::resume_later;
    case interpreter::turn_result::done: break;
  }
  cleanup(caf::error{}, unit);
  return resume_result::done;
}

}  // namespace Atoll
