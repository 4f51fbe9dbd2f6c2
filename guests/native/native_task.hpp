// What a native function that waits returns: a C++20 coroutine, begun by whoever awaits it.
//
//   native_task<int> total(native_context& c, interpreter_id bank) {
//     const result<int> a = co_await c.call<int>(bank, "balance", "alice");
//     co_return a.value_or(0) + co_await fees(c);                              // another task
//   }
//
// Why: a wait must hold no thread; a coroutine keeps its variables in a frame while the interpreter does other things.
// Ownership: a task owns its frame and destroys it, finished or not: destructors of what is in it run, code after the wait
// does not. Frames of coroutines that take a native_context& lie in the interpreter's heap, within its limit; the others
// in the process's memory. Parameters by value live in the frame; what others refer to must outlive the task (arguments
// of a message do: native_call.hpp).
// Threads: owner only.
// Invariants: (1) a task runs only once it is awaited or started, and is awaited once. (2) awaiting one and returning
//             from one are jumps, not calls: a million in a row need no stack. (gcc and clang do so when they optimise;
//             at -O0 and -O1 a loop that awaits tasks which never wait takes stack for each, until one waits.)
#pragma once

#include <coroutine>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>
#include <variant>

#include "runtime/heap.hpp"

namespace Atoll {

class native_context;
class native_root;
template <class T>
class native_task;

namespace detail {

heap& memory_of(native_context& c) noexcept;

/// The heap of the first native_context among a coroutine's parameters, null without one.
inline heap* heap_among() noexcept { return nullptr; }
template <class First, class... Rest>
heap* heap_among(First& first, Rest&... rest) noexcept {
  if constexpr (std::is_same_v<First, native_context>)
    return &memory_of(first);
  else
    return heap_among(rest...);
}

/// A coroutine frame, with the heap it is to be given back to in front of it. Throws std::bad_alloc.
void* allocate_frame(heap* from, std::size_t bytes);
void free_frame(void* frame, std::size_t bytes) noexcept;

class task_promise_base {
public:
  template <class... Parameters>
  static void* operator new(std::size_t bytes, Parameters&&... all) {
    return allocate_frame(heap_among(all...), bytes);
  }
  static void operator delete(void* frame, std::size_t bytes) noexcept { free_frame(frame, bytes); }

  struct handover {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
      const task_promise_base& p = ended.promise();
      if (p.root_ != nullptr) *p.ended_ = p.root_;
      return p.continuation_ ? p.continuation_ : std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };
  std::suspend_always initial_suspend() const noexcept { return {}; }
  handover final_suspend() const noexcept { return {}; }

  void continue_with(std::coroutine_handle<> awaiting) noexcept { continuation_ = awaiting; }
  /// Nobody awaits it: at its end `ended` is to name its root.
  void report_to(native_root& root, native_root*& ended) noexcept {
    root_ = &root;
    ended_ = &ended;
  }

private:
  std::coroutine_handle<> continuation_;
  native_root* root_ = nullptr;
  native_root** ended_ = nullptr;
};

template <class T>
class task_promise final : public task_promise_base {
  static_assert(!std::is_reference_v<T>, "a task returns a value: what a reference names may be gone by then");

public:
  native_task<T> get_return_object() noexcept;
  template <class U = T>
  requires std::is_convertible_v<U&&, T>
  void return_value(U&& x) { outcome_.template emplace<1>(std::forward<U>(x)); }
  void unhandled_exception() noexcept { outcome_.template emplace<2>(std::current_exception()); }

  T take() {
    if (const auto* thrown = std::get_if<2>(&outcome_)) std::rethrow_exception(*thrown);
    return std::move(std::get<1>(outcome_));
  }

private:
  std::variant<std::monostate, T, std::exception_ptr> outcome_;
};

template <>
class task_promise<void> final : public task_promise_base {
public:
  native_task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void unhandled_exception() noexcept { thrown_ = std::current_exception(); }

  void take() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

private:
  std::exception_ptr thrown_;
};

} // namespace detail

template <class T = void>
class [[nodiscard]] native_task {
public:
  using value_type = T;
  using promise_type = detail::task_promise<T>;

  native_task() = default;
  native_task(native_task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  native_task& operator=(native_task other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  ~native_task() {
    if (frame_) frame_.destroy();
  }

  /// False: empty, or moved from.
  explicit operator bool() const noexcept { return static_cast<bool>(frame_); }

  /// Runs it; what it returns is the expression's value, what it throws comes out of it.
  auto operator co_await() && noexcept {
    struct running {
      std::coroutine_handle<promise_type> frame;
      bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) const noexcept {
        frame.promise().continue_with(awaiting);
        return frame;
      }
      T await_resume() const { return frame.promise().take(); }
    };
    return running{frame_};
  }

  // For who starts it without awaiting it (native_root).
  std::coroutine_handle<> begin(native_root& root, native_root*& ended) noexcept {
    frame_.promise().report_to(root, ended);
    return frame_;
  }
  /// Of a task that has ended: its value, or what it threw.
  T take() { return frame_.promise().take(); }

private:
  friend promise_type;
  explicit native_task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}

  std::coroutine_handle<promise_type> frame_;
};

template <class>
inline constexpr bool is_native_task = false;
template <class T>
inline constexpr bool is_native_task<native_task<T>> = true;
/// A function that is a coroutine of ours when called with these.
template <class F, class... Args>
concept makes_task = is_native_task<std::invoke_result_t<F&, Args...>>;

template <class T>
native_task<T> detail::task_promise<T>::get_return_object() noexcept {
  return native_task<T>(std::coroutine_handle<task_promise>::from_promise(*this));
}
inline native_task<void> detail::task_promise<void>::get_return_object() noexcept {
  return native_task<void>(std::coroutine_handle<task_promise>::from_promise(*this));
}

} // namespace Atoll
