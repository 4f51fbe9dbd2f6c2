// How CAF is set up: its worker threads and what they do while there is no work.
// Ownership: the core holds the settings as long as its actor system.
// Threads: work_waits() any thread.
#pragma once

#include <caf/all.hpp>
#include <memory>

namespace Atoll {

/// CAF's configuration: no command line, no files. With a crank (core.hpp) its test coordinator takes the place of threads.
std::unique_ptr<caf::actor_system_config> settings_for_caf(unsigned workers, bool cranked);

/// Whether something waits in the queue of a worker. An estimate: workers take jobs meanwhile.
bool work_waits(caf::actor_system& sys);

} // namespace Atoll
