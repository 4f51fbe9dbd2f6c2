#include "actors/interpreter_actor.hpp"

#include <caf/policy/work_stealing.hpp>
#include <caf/scheduler/coordinator.hpp>
#include <chrono>
#include <new>
#include <thread>

#include "runtime/turn_clock.hpp"

namespace Atoll {

namespace {

thread_local caf::execution_unit* current_worker = nullptr;
thread_local bool flushing = false;                    // the turn on this thread is in its last flush
thread_local interpreter_actor* next_to_run = nullptr; // owns one count

// How many turns may follow one another without CAF's queue having its say, and for how long.
constexpr int chain_max = 32;
constexpr std::uint64_t chain_ticks = 300'000; // 100 to 150 us on today's machines

/// CAF's queues take a little memory for each job. A turn that is due may not be lost: while there is none, this waits.
template <class F>
void with_memory(F&& enqueue) noexcept {
  for (;;) {
    try {
      return enqueue();
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

/// Puts a job behind those that wait for this worker already. CAF's own exec_later() puts it in front of them: two actors
/// that woke one another in turn would keep the others from ever being run.
void put_behind(caf::execution_unit& unit, caf::resumable& what) {
  using stealing = caf::scheduler::coordinator<caf::policy::work_stealing>;
  auto* worker = dynamic_cast<stealing::worker_type*>(&unit);
  if (worker == nullptr) return unit.exec_later(&what); // a spare worker, or a scheduler of another kind
  worker->external_enqueue(&what);
}

/// From a worker that has more to do itself: gives the job to another, one without a queue if there is one, and wakes it.
void give_away(caf::actor_system& sys, caf::resumable& what) {
  using stealing = caf::scheduler::coordinator<caf::policy::work_stealing>;
  auto* all = dynamic_cast<stealing*>(&sys.scheduler());
  auto* self = dynamic_cast<stealing::worker_type*>(current_worker);
  if (all == nullptr || self == nullptr) return sys.scheduler().enqueue(&what); // a scheduler of another kind
  if (all->num_workers() < 2) return self->external_enqueue(&what);
  const size_t n = all->num_workers();
  size_t chosen = (self->id() + 1) % n;
  for (size_t step = 1; step < n; ++step) {
    const size_t candidate = (self->id() + step) % n;
    if (!all->worker_by_id(candidate)->data().queue.empty()) continue;
    chosen = candidate;
    break;
  }
  all->worker_by_id(chosen)->external_enqueue(&what);
}

} // namespace

worker_scope::worker_scope(caf::execution_unit* unit) noexcept : before_(std::exchange(current_worker, unit)) {}

worker_scope::~worker_scope() {
  flushing = false;
  if (interpreter_actor* next = take_next()) with_memory([&] { put_behind(*current_worker, *next); });
  current_worker = before_;
}

void worker_scope::turn_flushes() noexcept { flushing = current_worker != nullptr; }

interpreter_actor* worker_scope::take_next() noexcept { return std::exchange(next_to_run, nullptr); }

bool on_worker_thread() noexcept { return current_worker != nullptr; }

bool on_worker_thread_of(const caf::actor_system& sys) noexcept {
  return current_worker != nullptr && &current_worker->system() == &sys;
}

void schedule_on_caf(caf::actor_system& sys, caf::resumable& what) noexcept {
  what.intrusive_ptr_add_ref_impl();
  with_memory([&] {
    if (current_worker != nullptr) {
      give_away(sys, what);
    } else {
      sys.scheduler().enqueue(&what);
    }
  });
}

interpreter_actor::interpreter_actor(caf::actor_config& cfg, environment& env,
                                     std::shared_ptr<const interpreter_config> config, interpreter_id id,
                                     interpreter_id parent, std::string name, const guest_factory& make_guest)
    : caf::monitorable_actor(cfg), shell_(env, std::move(config), id, parent, std::move(name), make_guest) {
  shell_.box().set_waker(*this);
}

void interpreter_actor::schedule() noexcept {
  if (born_.forked()) return; // nobody is there to run it, and a dead thread may hold the queue
  if (!flushing) return schedule_on_caf(home_system(), *this);
  intrusive_ptr_add_ref_impl();
  if (interpreter_actor* woken_before = std::exchange(next_to_run, this))
    with_memory([&] { give_away(home_system(), *woken_before); });
}

void interpreter_actor::enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) {
  if (what->content().match_elements<caf::exit_msg>()) shell_.set_controls({.kill = true});
  if (what->mid.is_request()) bounce(what);
  shell_.box().wake();
}

interpreter::turn_result interpreter_actor::run_turn(caf::execution_unit* unit) {
  const interpreter::turn_result result = shell_.turn();
  flushing = false;
  if (result == interpreter::turn_result::done) cleanup(caf::error{}, unit);
  return result;
}

caf::resumable::resume_result interpreter_actor::resume(caf::execution_unit* unit, size_t) {
  worker_scope scope(unit);
  const std::uint64_t start = turn_ticks();
  const interpreter::turn_result own = run_turn(unit);
  for (int turns = 1; turns < chain_max && turn_ticks() - start < chain_ticks; ++turns) {
    interpreter_actor* next = scope.take_next();
    if (next == nullptr) break;
    // As CAF's worker would: the count that came with `next` goes to a queue's end, behind those who wait, or is given up.
    if (next->run_turn(unit) == interpreter::turn_result::again) {
      with_memory([&] { home_system().scheduler().enqueue(next); });
    } else {
      next->intrusive_ptr_release_impl();
    }
  }
  switch (own) {
  case interpreter::turn_result::idle: return resume_result::awaiting_message;
  case interpreter::turn_result::again: return resume_result::resume_later;
  case interpreter::turn_result::done: break;
  }
  return resume_result::done;
}

} // namespace Atoll
