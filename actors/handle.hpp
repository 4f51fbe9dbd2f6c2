// An interpreter as host threads see it: call, send, stop, watch.
// Why: it names an interpreter and owns nothing of it; an interpreter lives by its own rules, not by who knows its name.
// Ownership: plain values; they outlive the interpreter (interpreter_gone) and the runtime (runtime_finalized).
// Threads: any thread. In a turn or a callback a handle may send and call, but no future may be waited for.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "actors/future.hpp"
#include "actors/ref.hpp"
#include "runtime/host.hpp"

namespace Atoll {

/// How an interpreter came to its end, as a monitor is told.
struct down {
  interpreter_id id{};
  std::string name;
  std::string reason; // "exited", "killed", ...; "gone" when it was gone already
  error failure;
};
using down_callback = std::function<void(const down&)>;

class interpreter_handle {
public:
  interpreter_handle() = default;
  interpreter_handle(std::shared_ptr<host_port> port, interpreter_id id, std::string name) noexcept
      : port_(std::move(port)), id_(id), name_(std::move(name)) {}

  interpreter_id id() const noexcept { return id_; }
  const std::string& name() const noexcept { return name_; }
  run_state state() const;

  /// Calls a function of its interface. R: value (the first result), a type of value_cast.hpp, a std::tuple for several
  /// results, or void.
  template <class R = value, class... Args>
  future<R> call(std::string_view function, Args&&... args) const {
    return future<R>(call_values(function, {to_value(std::forward<Args>(args))...}));
  }
  /// One-way; waits while the receiver is over its high-water mark.
  template <class... Args>
  result<void> send(std::string_view function, Args&&... args) const {
    return send_values(function, {to_value(std::forward<Args>(args))...});
  }
  /// A new T in the heap of a native interpreter (include <atoll/native.hpp>).
  template <class T, class... Args>
  future<ref<T>> make(Args&&... args) const;

  /// Asks it to end: exit handlers run, then it is gone and the future is ready. Past `timeout` (0: none) it is killed.
  future<void> stop(std::chrono::milliseconds timeout = {}) const;
  /// Its running and waiting tasks fail with errc::interrupted.
  result<void> interrupt() const;
  result<void> kill() const;
  /// `told` is called once, on a thread of the runtime, when it ends, or soon if it has already. It must not wait.
  result<void> monitor(down_callback told) const;
  /// Its figures by name (DESIGN section 13).
  future<std::map<std::string, double>> stats() const;

  friend bool operator==(const interpreter_handle& a, const interpreter_handle& b) noexcept {
    return a.id_ == b.id_ && a.port_ == b.port_;
  }

  // For what is built on top.
  std::shared_ptr<answer> run(std::unique_ptr<call_job> work) const;

protected:
  std::shared_ptr<answer> call_values(std::string_view function, const std::vector<value>& args) const;
  result<void> send_values(std::string_view function, const std::vector<value>& args) const;

  std::shared_ptr<host_port> port_; // null: names nothing

private:
  interpreter_id id_{};
  std::string name_;
};

/// As an argument it names its interpreter.
template <>
struct value_traits<interpreter_handle> {
  static std::string name() { return "interpreter"; }
  static value to(const interpreter_handle& h) { return h.id(); }
};

} // namespace Atoll
