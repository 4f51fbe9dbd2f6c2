// Spare workers: threads that run turns in the place of workers that are stuck in one.
// Why: CAF's workers are as many as they were at the start. A guest inside a C function cannot be preempted; what waits in
// its worker's queue, or for any worker when all are stuck, would wait for it.
// Ownership: the core; a thread that was begun stays, asleep, until stop().
// Threads: look() the ticker's; stop() one thread, once; the rest is the spare workers' own.
// Invariants: (1) as many spares run as threads are stuck, spares among them, at most `bound`: so never more than
//                 `workers` threads run what can be preempted. (2) a spare takes jobs from CAF's queues as a thief does,
//                 and runs them as a worker does; it has no queue of its own.
//             (3) they end before CAF's scheduler, whose last jobs are for its own workers only.
#pragma once

#include <caf/all.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace Atoll {

class spare_workers {
public:
  spare_workers(caf::actor_system& sys, std::size_t bound) : sys_(sys), bound_(bound) {}
  ~spare_workers() { stop(); }

  /// So many threads are stuck now, and, if `work_waits`, something is in a queue. True: there are enough spares for it.
  bool look(std::size_t stuck, bool work_waits);
  /// Waits for those that run something.
  void stop();
  std::size_t bound() const noexcept { return bound_; }

private:
  void run();
  void work(std::unique_lock<std::mutex>& lock);
  bool begin_one();

  caf::actor_system& sys_;
  const std::size_t bound_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // All under mutex_, but threads_ in stop():
  std::size_t wanted_ = 0;  // how many may run
  std::size_t running_ = 0; // how many do, those that found nothing to do among them; the others are asleep
  std::size_t begun_ = 0;   // of those, who have still to wake up
  std::uint64_t looks_ = 0; // that saw work
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

} // namespace Atoll
