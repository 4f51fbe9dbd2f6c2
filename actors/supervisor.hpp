// The supervisor: an actor that looks over the runtime (watch.hpp) until it is to end, then runs the phases (finalization.hpp).
// Why: a thread of its own, as on a worker it would wait behind the stuck guests it is there to end.
// Ownership: the core; its thread ends with the finalization it ran, or with CAF.
// Threads: any thread.
#pragma once

#include <caf/all.hpp>

namespace Atoll {

class core;

class supervisor {
public:
  /// The core outlives the thread: it waits for CAF to end.
  supervisor(caf::actor_system& sys, core& runtime);

  /// The runtime is to end. The report goes to core::set_report.
  void finalize();
  /// What it waits for may have happened. Throws bad_alloc: then it looks a little later by itself.
  void wake();

private:
  caf::actor actor_;
};

} // namespace Atoll
