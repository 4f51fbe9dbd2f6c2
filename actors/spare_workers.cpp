#include "actors/spare_workers.hpp"

#include <caf/policy/work_stealing.hpp>
#include <caf/scheduler/coordinator.hpp>

#include <algorithm>
#include <system_error>
#include <utility>

namespace Atoll {

namespace {

using stealing = caf::scheduler::coordinator<caf::policy::work_stealing>;

/// What a job run by a spare thinks it runs on. What it wants to have run goes to the queues of CAF's workers.
class spare_unit final : public caf::execution_unit {
public:
  explicit spare_unit(caf::actor_system& sys) : caf::execution_unit(&sys) {}
  void exec_later(caf::resumable* what) override { system().scheduler().enqueue(what); }
};

/// The oldest job in one of the queues; they are looked at in turn.
caf::resumable* take_job(caf::actor_system& sys, std::size_t& next) {
  auto* const all = dynamic_cast<stealing*>(&sys.scheduler());
  if (all == nullptr) return nullptr;
  for (std::size_t n = all->num_workers(), i = 0; i < n; ++i)
    if (caf::resumable* job = all->worker_by_id(next++ % n)->data().queue.take_head()) return job;
  return nullptr;
}

void run_job(caf::actor_system& sys, spare_unit& unit, caf::resumable& job) {
  switch (job.resume(&unit, caf::defaults::scheduler::max_throughput)) {
  case caf::resumable::resume_later: return sys.scheduler().enqueue(&job);
  case caf::resumable::shutdown_execution_unit: return; // meant for a worker: invariant 3
  case caf::resumable::done:
  case caf::resumable::awaiting_message: break;
  }
  job.intrusive_ptr_release_impl();
}

// How often a spare that found nothing looks again before it waits to be woken by the ticker, and how long it sleeps.
constexpr int eager_looks = 20;
constexpr std::chrono::microseconds nap{200};

} // namespace

bool spare_workers::look(std::size_t stuck, bool work_waits) {
  const std::scoped_lock lock(mutex_);
  if (stop_) return true;
  const std::size_t before = std::exchange(wanted_, std::min(stuck, bound_));
  if (work_waits) ++looks_;
  while (work_waits && running_ < wanted_ && begin_one()) {
  }
  if (running_ > 0 && (work_waits || wanted_ != before)) changed_.notify_all();
  return !work_waits || running_ >= stuck;
}

/// One of those asleep, or a new one. False: the system has no thread for it.
bool spare_workers::begin_one() {
  if (threads_.size() == running_) {
    try {
      threads_.emplace_back([this] { run(); });
    } catch (const std::system_error&) {
      return false;
    }
  }
  ++running_;
  ++begun_;
  return true;
}

void spare_workers::run() {
  sys_.thread_started();
  {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stop_ || begun_ > 0; });
      if (stop_) break;
      --begun_;
      work(lock);
      --running_;
    }
  }
  sys_.thread_terminates();
}

/// Until fewer are wanted than run. The lock is held, but while a job runs.
void spare_workers::work(std::unique_lock<std::mutex>& lock) {
  spare_unit unit(sys_);
  std::size_t next = 0;
  int idle = 0;
  while (!stop_ && running_ <= wanted_) {
    const std::uint64_t seen = looks_;
    lock.unlock();
    caf::resumable* const job = take_job(sys_, next);
    if (job != nullptr) run_job(sys_, unit, *job);
    lock.lock();
    idle = job != nullptr ? 0 : idle + 1;
    if (idle == 0) continue;
    if (idle < eager_looks) {
      changed_.wait_for(lock, nap);
    } else {
      changed_.wait(lock, [&] { return stop_ || running_ > wanted_ || looks_ != seen; });
      idle = 0;
    }
  }
}

void spare_workers::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& t : threads_) t.join();
  threads_.clear();
}

} // namespace Atoll
