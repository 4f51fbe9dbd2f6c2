// Gives the host program's port its turns, on CAF's workers.
// Ownership: counted by CAF; the core holds one count until its workers are joined.
// Threads: schedule() any thread; resume() one worker at a time (turn_state invariant 1).
#pragma once

#include <caf/all.hpp>

#include "actors/host_port.hpp"
#include "actors/interpreter_actor.hpp"

namespace Atoll {

class host_turn final : public caf::ref_counted, public caf::resumable, public waker {
public:
  host_turn(caf::actor_system& sys, std::shared_ptr<host_port> port) : sys_(sys), port_(std::move(port)) {}

  void schedule() noexcept override {
    if (!born_.forked()) schedule_on_caf(sys_, *this);
  }

  resume_result resume(caf::execution_unit* unit, size_t) override {
    const worker_scope scope(unit);
    if (!port_->turn()) return resume_result::done;
    return port_->box().turn().end() ? resume_result::awaiting_message : resume_result::resume_later;
  }
  void intrusive_ptr_add_ref_impl() override { ref(); }
  void intrusive_ptr_release_impl() override { deref(); }
  friend void intrusive_ptr_add_ref(host_turn* t) { t->ref(); }
  friend void intrusive_ptr_release(host_turn* t) { t->deref(); }

private:
  const birthplace born_;
  caf::actor_system& sys_;
  std::shared_ptr<host_port> port_;
};

} // namespace Atoll
