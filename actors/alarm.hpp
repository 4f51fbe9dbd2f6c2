// What CAF's clock tells when an interpreter is to have a turn: it finds the interpreter by its number.
// Why: the clock keeps whoever is to be told until the time has come. Of an interpreter that ends before, only a number
// stays there.
// Ownership: the core's, and the clock's while there is anything to tell.
// Threads: enqueue() the clock's; of a crank, whoever moves the clock.
#pragma once

#include <caf/all.hpp>

#include "runtime/ids.hpp"

namespace Atoll {

class core;

class alarm final : public caf::monitorable_actor {
public:
  using signatures = caf::none_t;

  alarm(caf::actor_config& cfg, core& of) : caf::monitorable_actor(cfg), core_(of) {}

  const char* name() const override { return "alarm"; }
  using caf::abstract_actor::enqueue;
  void enqueue(caf::mailbox_element_ptr what, caf::execution_unit* host) override;

  /// What is to be told: that `who` is due.
  static caf::mailbox_element_ptr message_for(interpreter_id who) {
    return caf::make_mailbox_element(nullptr, caf::make_message_id(), {}, number(who));
  }

private:
  core& core_;
};

} // namespace Atoll
