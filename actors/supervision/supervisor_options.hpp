// What a supervisor is told: its children, in the order of their start, and what it does when one of them ends.
// The model is OTP's supervisor; the names are its own.
// Threads: plain values.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/host.hpp"
#include "runtime/value_cast.hpp"

namespace Atoll {

/// Who is started again when a child is: it alone; all; it and those that were started after it. The others are stopped
/// before, the last one first.
enum class restart_strategy : std::uint8_t { one_for_one, one_for_all, rest_for_one };
const char* name_of(restart_strategy s) noexcept;

/// When a child is started again: always; when it did not end in order (failed, killed); never, it is forgotten.
enum class restart_kind : std::uint8_t { permanent, transient, temporary };
const char* name_of(restart_kind k) noexcept;

/// How long a child may take to stop before it is killed.
using shutdown_time = std::chrono::milliseconds;
inline constexpr shutdown_time shutdown_default{-1}; // five seconds; of a supervisor, as long as it takes
inline constexpr shutdown_time shutdown_kill{0};     // at once
inline constexpr shutdown_time shutdown_unlimited = shutdown_time::max();

struct supervisor_options;

struct child_options {
  std::string name{}; // empty: it is found by its handle alone
  std::string language = "lua";
  std::size_t memory = 0; // this and the others: as spawn_options
  std::optional<std::chrono::microseconds> message_cpu{};
  std::optional<std::chrono::milliseconds> call_time{};
  std::optional<std::chrono::milliseconds> time_slice{};
  std::optional<std::size_t> high_water{};
  std::optional<std::size_t> interpreters{};
  std::optional<std::uint32_t> call_depth{};
  source from{};
  std::vector<value> args{};
  restart_kind restart = restart_kind::permanent;
  shutdown_time shutdown = shutdown_default;
  std::shared_ptr<const supervisor_options> supervise{}; // a supervisor itself; language, source and args are not used
};

struct supervisor_options {
  std::string name{};
  restart_strategy strategy = restart_strategy::one_for_one;
  /// More restarts than these within the period, and it gives up: it stops its children, the last one first, and fails.
  std::size_t intensity = 3;
  std::chrono::milliseconds period{5000};
  std::vector<child_options> children{};
};

/// A child that is a supervisor, for child_options::supervise.
inline std::shared_ptr<const supervisor_options> nested(supervisor_options o) {
  return std::make_shared<const supervisor_options>(std::move(o));
}

// As tables, as Lua writes them and messages carry them. from(): invalid_argument that names the child and the field.
template <>
struct value_traits<child_options> {
  static std::string name() { return "options of a child"; }
  static result<child_options> from(const value& v);
  static value to(const child_options& o);
};
template <>
struct value_traits<supervisor_options> {
  static std::string name() { return "options of a supervisor"; }
  static result<supervisor_options> from(const value& v);
  static value to(const supervisor_options& o);
};

/// A child as its supervisor sees it.
struct child_info {
  std::string name;
  interpreter_id id{}; // 0: it does not run
  run_state state = run_state::gone;
  restart_kind restart{};
  std::size_t restarts = 0; // so often its supervisor started it again
  std::string reason;       // of its last end; empty: it never ended
};
template <>
struct value_traits<child_info> {
  static std::string name() { return "child"; }
  static result<child_info> from(const value& v);
  static value to(const child_info& c);
};

} // namespace Atoll
