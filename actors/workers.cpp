#include "actors/workers.hpp"

#include <caf/io/all.hpp>
#include <caf/policy/work_stealing.hpp>
#include <caf/scheduler/coordinator.hpp>

namespace Atoll {

namespace {

struct caf_settings : caf::actor_system_config {
  caf_settings(unsigned workers, bool cranked) {
    if (cranked) {
      set("scheduler.policy", caf::atom("testing"));
      return;
    }
    load<caf::io::middleman>();
    if (workers > 0) set("scheduler.max-threads", static_cast<size_t>(workers));
    // An idle worker looks around a little and then sleeps until it is woken. CAF's middle way, naps of 50 us, would make
    // it miss work that came meanwhile, and cost the time of others: the key-value server answered 30 % less with it.
    set("work-stealing.moderate-poll-attempts", static_cast<size_t>(1));
  }
};

} // namespace

std::unique_ptr<caf::actor_system_config> settings_for_caf(unsigned workers, bool cranked) {
  return std::make_unique<caf_settings>(workers, cranked);
}

bool work_waits(caf::actor_system& sys) {
  using stealing = caf::scheduler::coordinator<caf::policy::work_stealing>;
  auto* scheduler = dynamic_cast<stealing*>(&sys.scheduler());
  if (scheduler == nullptr) return true;
  for (size_t i = 0; i < scheduler->num_workers(); ++i)
    if (!scheduler->worker_by_id(i)->data().queue.empty()) return true;
  return false;
}

} // namespace Atoll
