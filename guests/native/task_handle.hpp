// A task that runs beside the one that spawned it, and how it is joined.
//
//   task_handle<int> sum = c.spawn(total(c, bank));     // begins when the running task waits, or ends
//   …
//   result<int> r = co_await sum.join().within(1s);     // what it returned, or what it threw
//
// Ownership: the task belongs to the interpreter and runs on without its handle; how it ended belongs to both.
// Threads: owner only.
// Invariants: (1) how it ended is given to one join(). A failure that nobody can ask for is logged.
#pragma once

#include <fmt/format.h>

#include <memory>

#include "guests/native/native_wait.hpp"

namespace Atoll {

namespace detail {

/// What joining gives: a task of result<T> gives its result, not a result in a result.
template <class T>
struct joined {
  using type = T;
};
template <class T>
struct joined<result<T>> {
  using type = T;
};

template <class T>
struct spawned {
  std::optional<result<T>> outcome; // until it is joined
  bool ended = false;
  bool joined = false;
  guest_word joining = 0; // who waits for it
};

/// Also what it threw. The task has ended.
template <class T>
auto outcome_of(native_task<T>& task) {
  using R = typename joined<T>::type;
  return guarded([&]() -> result<R> {
    if constexpr (!std::is_void_v<T>) return task.take();
    task.take();
    return result<R>();
  });
}

template <class T>
class join_operation {
public:
  using value_type = T;

  std::optional<result<T>> begin(native_tasks&, guest_word token, std::shared_ptr<spawned<T>> task) {
    task_ = std::move(task);
    if (!task_) return fail(errc::invalid_argument, "join: the handle is empty");
    if (task_->joined || task_->joining != 0)
      return fail(errc::invalid_argument, "join: the task is joined already, and only one gets what it returned");
    if (task_->ended) return outcome();
    task_->joining = token;
    return std::nullopt;
  }
  void withdraw(native_tasks&) noexcept { task_->joining = 0; }
  result<T> take(native_tasks&, const Atoll::outcome&) {
    task_->joining = 0;
    return outcome();
  }
  std::string text(native_tasks&) const { return "a task to end"; }

private:
  result<T> outcome() {
    task_->joined = true;
    result<T> r = std::move(*task_->outcome);
    task_->outcome.reset();
    return r;
  }

  std::shared_ptr<spawned<T>> task_;
};

template <class T>
class spawned_root final : public native_root {
public:
  using R = typename joined<T>::type;
  spawned_root(native_tasks& all, native_task<T> task) : all_(all), task_(std::move(task)) {}

  std::shared_ptr<spawned<R>> state() const noexcept { return state_; }

private:
  std::coroutine_handle<> begin(native_root*& ended) noexcept override { return task_.begin(*this, ended); }
  void ended() override {
    state_->outcome.emplace(outcome_of(task_));
    state_->ended = true;
    if (state_->joining != 0) return all_.wake(state_->joining, {.what = outcome::kind::values});
    const result<R>& r = *state_->outcome;
    if (!r && state_.use_count() == 1)
      all_.outside().log(log_level::warn, fmt::format("a task failed: {}", r.error().message));
  }

  native_tasks& all_;
  native_task<T> task_;
  std::shared_ptr<spawned<R>> state_ = std::make_shared<spawned<R>>();
};

} // namespace detail

template <class T>
class task_handle {
public:
  task_handle() = default;
  task_handle(native_tasks& all, std::shared_ptr<detail::spawned<T>> task) noexcept
      : all_(&all), task_(std::move(task)) {}

  explicit operator bool() const noexcept { return task_ != nullptr; }
  /// Whether it has ended, or was never begun because the interpreter was closing.
  bool done() const noexcept { return task_ != nullptr && task_->ended; }
  /// Waits for its end. Once: a join that was given up may be repeated. The handle must not be empty.
  awaited<detail::join_operation<T>> join() const { return awaited<detail::join_operation<T>>(*all_, task_); }

private:
  native_tasks* all_ = nullptr;
  std::shared_ptr<detail::spawned<T>> task_;
};

/// Begins the task in the next run_ready(). An interpreter that is closing begins none: the task is destroyed, and
/// joining tells so.
template <class T>
task_handle<typename detail::joined<T>::type> spawn_task(native_tasks& all, native_task<T> task) {
  auto root = std::make_unique<detail::spawned_root<T>>(all, std::move(task));
  const auto state = root->state();
  if (!all.closed()) all.put_off(std::move(root));
  return {all, state};
}

} // namespace Atoll
