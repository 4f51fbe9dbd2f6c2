#include "actors/shell/pending_calls.hpp"

#include <limits>

namespace Atoll {

pending_calls::answer pending_calls::add(pending_function& call) {
  {
    const std::scoped_lock lock(mutex_);
    if (closed_) return answer::closed;
    if (queue_.size() >= limit_) return answer::full;
    queue_.push_back(std::move(call));
    note_waiting();
  }
  box_->wake();
  return answer::accepted;
}

std::optional<pending_flag> pending_calls::make_flag(pending_function call) {
  auto made = std::make_shared<pending_flag::state>();
  made->call = std::move(call);
  const std::scoped_lock lock(mutex_);
  if (closed_) return std::nullopt;
  flags_.push_back(made);
  return pending_flag(std::move(made));
}

bool pending_calls::look_at_flags() noexcept {
  bool any = false;
  {
    const std::scoped_lock lock(mutex_);
    if (flags_.empty()) return false;
    const std::size_t before = queue_.size();
    try {
      accept_raised(limit_);
    } catch (const std::bad_alloc&) {
      // What is raised stays raised: the next look tries again. Those before it were accepted.
    }
    any = queue_.size() > before;
  }
  if (any) box_->wake();
  return true;
}

void pending_calls::accept_raised(std::size_t limit) {
  for (const auto& flag : flags_) {
    if (queue_.size() >= limit) break;
    if (!flag->raised.load(std::memory_order_relaxed)) continue;
    queue_.emplace_back([flag](host& owner) { flag->call(owner); });
    note_waiting();
    // acq_rel: pairs with raise(). A raise from here on asks for another run.
    flag->raised.exchange(false, std::memory_order_acq_rel);
  }
}

std::optional<pending_function> pending_calls::next() {
  const std::scoped_lock lock(mutex_);
  if (queue_.empty()) return std::nullopt;
  pending_function call = std::move(queue_.front());
  queue_.pop_front();
  ++figures_.started;
  note_waiting();
  return call;
}

void pending_calls::failed() {
  const std::scoped_lock lock(mutex_);
  ++figures_.failed;
}

void pending_calls::close() noexcept {
  std::vector<std::shared_ptr<pending_flag::state>> flags;
  const std::scoped_lock lock(mutex_);
  if (std::exchange(closed_, true)) return;
  try {
    accept_raised(std::numeric_limits<std::size_t>::max());
  } catch (const std::bad_alloc&) {
    for (const auto& flag : flags_) figures_.refused += flag->raised.exchange(false) ? 1 : 0;
  }
  flags.swap(flags_); // still owned by those who may raise them, or ended behind the lock
}

std::size_t pending_calls::refuse_rest() {
  std::list<pending_function> rest; // ends behind the lock: what the calls own may take locks itself
  const std::scoped_lock lock(mutex_);
  rest.swap(queue_);
  figures_.refused += rest.size();
  note_waiting();
  return rest.size();
}

std::string pending_calls::text(std::size_t calls) {
  return calls == 1 ? "a pending call" : std::to_string(calls) + " pending calls";
}

pending_calls::figures pending_calls::count() const {
  const std::scoped_lock lock(mutex_);
  return figures_;
}

} // namespace Atoll
