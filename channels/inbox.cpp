#include "channels/inbox.hpp"

#include <new>

namespace Atoll {

inbox::~inbox() {
  while (envelope_ptr e = take()) {
  }
}

const epitaph& inbox::no_words() noexcept {
  static const epitaph none;
  return none;
}

bool inbox::push(envelope_ptr&& e) {
  last_sender_.store(e->from(), std::memory_order_relaxed);
  // seq_cst: pairs with handled(), see await_room().
  backlog_.fetch_add(e->count(), std::memory_order_seq_cst);
  if (!queue_.push(e.get())) {
    backlog_.fetch_sub(e->count(), std::memory_order_seq_cst);
    throw std::bad_alloc();
  }
  (void)e.release(); // the queue owns it now
  return wake();
}

bool inbox::wake() noexcept {
  switch (turn_.signal()) {
  case turn_state::signalled::schedule: waker_->schedule(); return true;
  case turn_state::signalled::noted: return true;
  case turn_state::signalled::closed: break;
  }
  return false;
}

bool inbox::push_ready(ready_link& one) noexcept {
  one.next_ready = ready_.load(std::memory_order_relaxed);
  while (!ready_.compare_exchange_weak(one.next_ready, &one, std::memory_order_release, std::memory_order_relaxed)) {
  }
  return wake();
}

void inbox::take_ready(ready_list& to) noexcept {
  ready_link* newest = ready_.exchange(nullptr, std::memory_order_acquire);
  ready_link* oldest = nullptr;
  while (newest != nullptr) oldest = std::exchange(newest, std::exchange(newest->next_ready, oldest));
  while (oldest != nullptr) to.append(*std::exchange(oldest, oldest->next_ready));
}

std::size_t inbox::backlog() const noexcept {
  const std::int64_t n = backlog_.load(std::memory_order_relaxed);
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

bool inbox::await_room(interpreter_id sender) {
  const std::scoped_lock lock(crowd_mutex_);
  // Either this load sees the owner's subtraction, or the owner's load in handled() sees the flag: both are seq_cst, and
  // each thread writes before it reads.
  crowd_waits_.store(true, std::memory_order_seq_cst);
  if (turn_.is_closed() || backlog_.load(std::memory_order_seq_cst) <= high_water_ / 2) return true;
  crowd_.push_back(sender);
  return false;
}

envelope_ptr inbox::take() {
  envelope* e = nullptr;
  // Where another thread took the last one meanwhile, pop() fails but has written to `e`.
  return envelope_ptr(queue_.pop(e) ? e : nullptr);
}

std::vector<interpreter_id> inbox::handled(std::uint32_t messages) {
  handled_.store(handled_.load(std::memory_order_relaxed) + messages, std::memory_order_relaxed);
  const std::int64_t left = backlog_.fetch_sub(messages, std::memory_order_seq_cst) - messages;
  if (left > high_water_ / 2 || !crowd_waits_.load(std::memory_order_seq_cst)) return {};
  return take_crowd();
}

std::vector<interpreter_id> inbox::take_crowd() {
  const std::scoped_lock lock(crowd_mutex_);
  crowd_waits_.store(false, std::memory_order_seq_cst);
  return std::exchange(crowd_, {});
}

} // namespace Atoll
