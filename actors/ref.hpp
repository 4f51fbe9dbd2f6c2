// References that host threads hold to objects of interpreters: ref<> to any object, ref<T> to a native one of class T.
// Why: a smart pointer whose last copy's end is one message to the owner, and nothing else (DESIGN section 5, rule 6).
// Ownership: copies share one hold on the object. It outlives the runtime harmlessly: what is called then answers
// runtime_finalized, and letting go does nothing.
// Threads: any thread, at any time: before, during and after the finalization. One ref object is as a shared_ptr: two
// threads that use it at once, one of them writing, need a lock of their own.
// Invariants: (1) while a ref is held, its object lives, or its owner has ended.
#pragma once

#include <memory>

#include "actors/future.hpp"
#include "runtime/records.hpp"

namespace Atoll {

class host_port;
class imported;
class call_job;

template <class T = void>
class ref;

template <>
class ref<void> {
public:
  ref() = default;
  /// Empty when `held` is not one of a host thread's.
  explicit ref(const reference& held);

  explicit operator bool() const noexcept { return static_cast<bool>(held_); }
  interpreter_id owner() const noexcept;
  /// Lets go of this copy.
  void reset() noexcept { held_ = {}; }
  std::string describe() const { return held_.describe(); }

  /// Calls a method in the owner's turn. An empty ref answers reference_released.
  template <class R = value, class... Args>
  future<R> call(std::string_view method, Args&&... args) const {
    return future<R>(invoke(invoke_op::method, method, {to_value(std::forward<Args>(args))...}));
  }
  /// Calls the object itself: r(...) in Lua.
  template <class R = value, class... Args>
  future<R> apply(Args&&... args) const {
    return future<R>(invoke(invoke_op::apply, "", {to_value(std::forward<Args>(args))...}));
  }
  template <class R = value>
  future<R> get(std::string_view key) const {
    return future<R>(invoke(invoke_op::get, key, {value(key)}));
  }
  template <class V>
  future<void> set(std::string_view key, V&& to) const {
    return future<void>(invoke(invoke_op::set, key, {value(key), to_value(std::forward<V>(to))}));
  }
  /// One-way; waits while the owner is over its high-water mark.
  template <class... Args>
  result<void> send(std::string_view method, Args&&... args) const {
    return send_values(method, {to_value(std::forward<Args>(args))...});
  }

  /// The same object of the same runtime.
  friend bool operator==(const ref& a, const ref& b) noexcept { return a.held_ == b.held_; }

  // For what is built on top (value_traits, ref<T>).
  const reference& held() const noexcept { return held_; }
  std::shared_ptr<answer> run(std::unique_ptr<call_job> work) const;

private:
  const imported* hold() const noexcept;
  std::shared_ptr<answer> invoke(invoke_op op, std::string_view name, const std::vector<value>& args) const;
  result<void> send_values(std::string_view method, const std::vector<value>& args) const;

  reference held_;
};

template <>
struct value_traits<ref<>> {
  static std::string name() { return "reference"; }
  static result<ref<>> from(const value& v) {
    const reference* r = v.if_reference();
    if (r == nullptr) return wrong_type(name(), v);
    return ref<>(*r);
  }
  static value to(const ref<>& r) { return r ? value(r.held()) : value(); }
};

} // namespace Atoll
