#include "actors/shell/pending_calls.hpp"

#include <limits>

namespace Atoll {

pending_calls::answer pending_calls::add(pending_function& call) {
  {
    const std::scoped_lock lock(mutex_);
    if (closed_) return answer::closed;
    std::list<pending_function>& queue = held_.need().queue;
    if (queue.size() >= limit_) return answer::full;
    queue.push_back(std::move(call));
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
  held_.need().flags.push_back(made);
  return pending_flag(std::move(made));
}

bool pending_calls::look_at_flags() noexcept {
  bool any = false;
  {
    const std::scoped_lock lock(mutex_);
    if (!held_ || held_->flags.empty()) return false;
    const std::size_t before = held_->queue.size();
    try {
      accept_raised(limit_);
    } catch (const std::bad_alloc&) {
      // What is raised stays raised: the next look tries again. Those before it were accepted.
    }
    any = held_->queue.size() > before;
  }
  if (any) box_->wake();
  return true;
}

void pending_calls::accept_raised(std::size_t limit) {
  for (const auto& flag : held_->flags) {
    if (held_->queue.size() >= limit) break;
    if (!flag->raised.load(std::memory_order_relaxed)) continue;
    held_->queue.emplace_back([flag](host& owner) { flag->call(owner); });
    note_waiting();
    // acq_rel: pairs with raise(). A raise from here on asks for another run.
    flag->raised.exchange(false, std::memory_order_acq_rel);
  }
}

std::optional<pending_function> pending_calls::next() {
  const std::scoped_lock lock(mutex_);
  if (!held_ || held_->queue.empty()) return std::nullopt;
  pending_function call = std::move(held_->queue.front());
  held_->queue.pop_front();
  ++held_->counts.started;
  note_waiting();
  return call;
}

void pending_calls::failed() {
  const std::scoped_lock lock(mutex_);
  ++held_->counts.failed;
}

void pending_calls::close() noexcept {
  std::vector<std::shared_ptr<pending_flag::state>> flags;
  const std::scoped_lock lock(mutex_);
  if (std::exchange(closed_, true) || !held_) return;
  try {
    accept_raised(std::numeric_limits<std::size_t>::max());
  } catch (const std::bad_alloc&) {
    for (const auto& flag : held_->flags) held_->counts.refused += flag->raised.exchange(false) ? 1 : 0;
  }
  flags.swap(held_->flags); // still owned by those who may raise them, or ended behind the lock
}

std::size_t pending_calls::refuse_rest() {
  std::list<pending_function> rest; // ends behind the lock: what the calls own may take locks itself
  const std::scoped_lock lock(mutex_);
  if (!held_) return 0;
  rest.swap(held_->queue);
  held_->counts.refused += rest.size();
  note_waiting();
  return rest.size();
}

std::string pending_calls::text(std::size_t calls) {
  return calls == 1 ? "a pending call" : std::to_string(calls) + " pending calls";
}

pending_calls::figures pending_calls::count() const {
  const std::scoped_lock lock(mutex_);
  return held_ ? held_->counts : figures{};
}

} // namespace Atoll
