// What co_await takes in a native interpreter: an operation that ends with an outcome of the host, and its ends.
//
// An operation is small. It says what it asks for, how that is taken back, and what an outcome means:
//
//   struct receive {
//     using value_type = value;                                       // co_await gives a result<value>
//     std::optional<result<value>> begin(native_tasks&, guest_word token, channel&);   // a result: it is over at once
//     void withdraw(native_tasks&) noexcept;                          // the host shall forget the token, if it can
//     result<value> take(native_tasks&, const outcome&);              // of whatever kind but failed, or too late
//     std::string text(native_tasks&) const;                          // "channel 3": what errors say was waited for
//   };
//   awaited<receive> recv(native_context& c) { return awaited<receive>(c.tasks(), *this); }
//
//   task_wait describe(native_tasks&) const;                        // if there is more to say than its text
//   // Where it may have happened already, at the moment it is given up for `why`: its result then.
//   std::optional<result<value>> withdraw(native_tasks&, errc why) noexcept;
//
// It begins when it is made, not when it is awaited: two calls made and then awaited run side by side. All ends are here:
// the outcome; an error as the outcome (finalization: runtime_finalizing); a deadline (timeout); an interrupt
// (interrupted); and destruction, which has no result. After all but the first the operation is withdrawn.
// Ownership: who made it, mostly a coroutine's frame. It stays where it was made.
// Threads: owner only.
// Invariants: (1) begin() is followed by one of: its own result, take(), withdraw().
#pragma once

#include <chrono>
#include <coroutine>
#include <optional>

#include "guests/native/native_tasks.hpp"
#include "runtime/guarded.hpp"

namespace Atoll {

/// Now and `how_long` more, which may be as long as it likes.
inline time_point time_after(const host& outside, clock_type::duration how_long) noexcept {
  const time_point now = outside.now();
  return how_long > time_point::max() - now ? time_point::max() : now + how_long;
}

class native_wait {
public:
  native_wait(const native_wait&) = delete;
  native_wait& operator=(const native_wait&) = delete;

  /// Whether its result is there: co_await would not suspend.
  bool done() const noexcept { return token_ == over; }

  // For native_tasks: both answer who is to go on, if anybody suspended here.
  std::coroutine_handle<> finish(const outcome& what);
  std::coroutine_handle<> break_off(errc code);
  /// Whether a coroutine waits here; it may have only begun yet.
  bool is_awaited() const noexcept { return waiting_ != nullptr; }
  virtual task_wait describe() const = 0;

protected:
  void suspend(std::coroutine_handle<> waiting) noexcept { waiting_ = waiting; }

  explicit native_wait(native_tasks& all) : tasks_(all), token_(all.enter(*this)) {}
  ~native_wait() { settle(); }

  native_tasks& tasks() const noexcept { return tasks_; }
  guest_word token() const noexcept { return token_; }
  /// At `when` it fails with timeout; instead of an earlier deadline.
  void set_deadline(time_point when);
  /// No longer waits: the token is void, a timer cancelled.
  void settle() noexcept;

private:
  static constexpr guest_word over = 0;

  virtual void take(const outcome& what) noexcept = 0;
  /// Withdraws, and `why` is the result.
  virtual void give_up(error why) noexcept = 0;
  virtual std::string text() const = 0;
  error broken_off(errc code) const;

  native_tasks& tasks_;
  guest_word token_;
  std::coroutine_handle<> waiting_;
  std::optional<time_point> deadline_;
  std::uint64_t timer_ = 0; // of the deadline, while there is one
};

template <class Operation>
class [[nodiscard]] awaited final : public native_wait {
public:
  using value_type = typename Operation::value_type;

  template <class... Args>
  explicit awaited(native_tasks& all, Args&&... args) : native_wait(all) {
    if (all.closed())
      result_.emplace(fail(errc::runtime_finalizing, "the interpreter is closing: nothing can be waited for"));
    else
      result_ = operation_.begin(all, token(), std::forward<Args>(args)...);
    if (result_) settle();
  }
  ~awaited() {
    if (!done()) withdraw(errc::ok);
  }

  /// Fails with timeout when it takes longer: co_await c.call<int>(…).within(1s).
  awaited& within(clock_type::duration how_long) { return until(time_after(tasks().outside(), how_long)); }
  awaited& until(time_point when) {
    set_deadline(when);
    return *this;
  }
  /// Once: the result is moved out.
  auto operator co_await() noexcept {
    struct waiting {
      awaited& on;
      bool await_ready() const noexcept { return on.done(); }
      void await_suspend(std::coroutine_handle<> here) const noexcept { on.suspend(here); }
      result<value_type> await_resume() const { return std::move(*on.result_); }
    };
    return waiting{*this};
  }

private:
  void take(const outcome& what) noexcept override {
    result_.emplace(guarded([&] { return operation_.take(tasks(), what); }));
  }
  void give_up(error why) noexcept override {
    result_ = withdraw(why.code);
    if (!result_) result_.emplace(tl::unexpected<error>(std::move(why)));
  }
  std::optional<result<value_type>> withdraw(errc why) noexcept {
    if constexpr (requires { operation_.withdraw(tasks(), why); }) {
      return operation_.withdraw(tasks(), why);
    } else {
      operation_.withdraw(tasks());
      return std::nullopt;
    }
  }
  std::string text() const override { return operation_.text(tasks()); }
  task_wait describe() const override {
    if constexpr (requires { operation_.describe(tasks()); }) {
      return operation_.describe(tasks());
    } else {
      return {{}, {}, text(), {}};
    }
  }

  Operation operation_;
  std::optional<result<value_type>> result_;
};

} // namespace Atoll
