// What native coroutines wait for: answers, room, time. The awaiter is awaited<> (native_wait.hpp); native_context makes them.
// Threads: owner only.
#pragma once

#include <span>
#include <string_view>

#include "guests/native/foreign_ref.hpp"
#include "guests/native/native_wait.hpp"
#include "runtime/value_cast.hpp"

namespace Atoll {

/// To whom a message goes: an interpreter, or an object of another.
class native_target {
public:
  native_target(interpreter_id to) noexcept : to_(to) {}
  native_target(const foreign_ref& to) noexcept : to_(to ? to.id().owner : interpreter_id{}), object_(&to) {}

  interpreter_id interpreter() const noexcept { return to_; }
  const foreign_ref* object() const noexcept { return object_; }

private:
  interpreter_id to_;
  const foreign_ref* object_ = nullptr;
};

/// Sends a message to a function, or a method of the object; a call when `call` is not 0. Fails with interpreter_gone,
/// reference_released, not_shareable or out_of_memory; nothing was sent then. Never gives a status other than sent, crowded.
result<send_status> send_message(native_tasks& from, const native_target& to, std::string_view name,
                                 std::span<const value> args, call_id call = 0);

/// The answer of a call, as values.
class answer_wait {
public:
  void withdraw(native_tasks& all) noexcept { all.outside().forget_call(call_); }
  std::string text(native_tasks& all) const;
  task_wait describe(native_tasks& all) const { return {{}, {}, text(all), {to_}}; }

protected:
  result<void> ask(native_tasks& all, guest_word token, const native_target& to, std::string_view name,
                   std::span<const value> args);

private:
  interpreter_id to_{};
  call_id call_ = 0;
};

template <class R>
class call_operation : public answer_wait {
public:
  using value_type = R;

  std::optional<result<R>> begin(native_tasks& all, guest_word token, const native_target& to, std::string_view name,
                                 std::span<const value> args) {
    result<void> asked = ask(all, token, to, name, args);
    if (!asked) return tl::unexpected<error>(std::move(asked.error()));
    return std::nullopt;
  }
  result<R> take(native_tasks& all, const outcome& what) {
    const result<std::vector<value>> values = decode_values(what.values, all.references());
    if (!values) return tl::unexpected<error>(values.error());
    return values_cast<R>(*values);
  }
};

/// A message is sent; it is over when its receiver is not crowded, or no more.
class room_operation {
public:
  using value_type = void;

  std::optional<result<void>> begin(native_tasks& all, guest_word token, const native_target& to, std::string_view name,
                                    std::span<const value> args);
  void withdraw(native_tasks&) noexcept {} // the host tells a token that is void by then
  result<void> take(native_tasks&, const outcome&) { return {}; }
  std::string text(native_tasks& all) const;

private:
  interpreter_id to_{};
};

/// The start of a child: its id, when its chunk has returned. Given up, the child lives on.
class birth_operation {
public:
  using value_type = interpreter_id;

  std::optional<result<interpreter_id>> begin(native_tasks& all, guest_word token, const spawn_options& options,
                                              const source& from, std::span<const value> args);
  void withdraw(native_tasks&) noexcept {} // a late answer finds nobody
  result<interpreter_id> take(native_tasks&, const outcome&) { return child_; }
  std::string text(native_tasks& all) const;

private:
  interpreter_id child_{};
};

class sleep_operation {
public:
  using value_type = void;

  std::optional<result<void>> begin(native_tasks& all, guest_word token, time_point until) {
    timer_ = all.outside().set_timer(until, token);
    return std::nullopt;
  }
  void withdraw(native_tasks& all) noexcept { all.outside().cancel_timer(timer_); }
  result<void> take(native_tasks&, const outcome&) { return {}; }
  std::string text(native_tasks&) const { return "a timer"; }

private:
  std::uint64_t timer_ = 0;
};

} // namespace Atoll
