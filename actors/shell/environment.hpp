// What an interpreter's shell needs from its runtime: a directory, a clock, births and deaths.
// Why: the shell (actors/shell/interpreter.hpp) knows neither CAF nor threads; tests and simulations supply their own.
// Threads: any thread, except where said.
#pragma once

#include <string>

#include "channels/directory.hpp"
#include "runtime/host.hpp"

namespace Atoll {

enum class end_kind : std::uint8_t { exited, stopped, failed, interrupted, killed, abandoned };
inline constexpr std::size_t end_kinds = 6;
const char* name_of(end_kind kind) noexcept;
/// Of an end's name, as monitors and links are told it.
inline bool ended_in_order(std::string_view reason) noexcept {
  return reason == name_of(end_kind::exited) || reason == name_of(end_kind::stopped);
}

/// An object that others hold, as its owner and they say.
struct exported_object {
  object_id id;
  std::string owner_name;
  std::string type;
  std::uint64_t credit = 0;            // given away and not come home
  std::vector<interpreter_id> holders; // whose tables have it, the host program's too; none: it is in a message
};

/// What is known of an interpreter when it ends. Exactly one for each that ever started.
struct interpreter_report {
  interpreter_id id{};
  std::string name;
  end_kind outcome{};
  error failure;              // meaningful when failed, interrupted or killed
  std::uint64_t exported = 0; // objects that were exported, and that came home
  std::uint64_t released = 0;
  std::uint64_t messages = 0; // messages handled
  std::uint64_t finalizers_run = 0;
  std::uint64_t finalizers_failed = 0;
  std::uint64_t pending_calls_run = 0;
  std::uint64_t pending_calls_failed = 0;
  std::uint64_t pending_calls_refused = 0; // accepted, but not run before the end
};

class interpreter;

class environment {
public:
  virtual directory& where() noexcept = 0;
  virtual time_point now() const noexcept = 0;
  /// Gives the interpreter a turn at `when`, or soon after.
  virtual void wake_at(interpreter& who, time_point when) = 0;
  /// Makes an interpreter that waits for its start record. runtime_finalizing once finalization has begun.
  virtual result<interpreter_id> create(const spawn_options& options, interpreter_id parent) = 0;
  /// Sets controls on another interpreter (all bits of it), and makes sure that it sees them soon.
  virtual void control(interpreter_id target, controls what) = 0;
  /// The number of a new listener or connection.
  virtual std::uint64_t next_socket_number() noexcept = 0;
  /// Makes sure that somebody serves TCP.
  virtual void need_net() = 0;
  /// Connects on a thread of its own and hands the socket to the broker for `receiver`.
  virtual void connect(const std::string& address, interpreter_id receiver, guest_word token) = 0;

  /// The calling thread runs `who` from here on, and does not any more: between the two, and only there, the runtime may
  /// tick it. The second comes before anybody else can run the next turn.
  virtual void turn_begins(interpreter& who) noexcept = 0;
  virtual void turn_ends() noexcept = 0;
  /// The turn's work is done, only its envelopes are still to go out: whoever is woken from here on may run next on this
  /// thread.
  virtual void turn_flushes() noexcept {}

  virtual bool finalizing() const noexcept = 0;
  virtual std::optional<std::uint64_t> seed() const noexcept { return std::nullopt; }
  /// The main interpreter has nothing left to wait for, or somebody called exit.
  virtual void request_exit(int status) = 0;
  virtual void main_done(const error* failure) = 0;
  virtual void log(log_level level, const interpreter_info& who, std::string_view text) = 0;
  virtual host::figures stats() const = 0;

  /// Looks who exports and who holds what (actors/survey.hpp), and answers the call with it.
  virtual void survey_references(interpreter_id asker, call_id call) = 0;

  /// The owner's last turn is over; its memory is given back.
  virtual void ended(const interpreter& who, interpreter_report report) = 0;

protected:
  ~environment() = default;
};

} // namespace Atoll
