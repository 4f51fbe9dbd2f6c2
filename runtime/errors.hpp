// Errors as values: one code, one sentence, and where it came from.
// Why: no exception crosses an interpreter (DESIGN section 12); a guest error travels as a snapshot of itself.
// Threads: plain values.
#pragma once

#include <string>
#include <string_view>
#include <system_error>
#include <tl/expected.hpp>

#include "runtime/ids.hpp"

namespace Atoll {

/// What went wrong. The names are the `.code` that Lua programs see.
enum class errc {
  ok = 0,
  guest_error,         // the callee's own error
  load_error,          // a source that cannot be read or compiled
  unknown_function,    // the interface or object has nothing of that name
  interpreter_gone,    // the target ended before it could answer
  no_such_interpreter, // an id or a name nobody has
  reference_released,  // the reference was let go, or its owner no longer knows the object
  not_shareable,       // a value that cannot cross between interpreters
  mailbox_full,        // the receiver is over its high-water mark and the sender would not wait
  timeout,
  out_of_memory, // the interpreter's byte limit, or the machine's memory
  interrupted,
  killed,
  runtime_finalizing,
  runtime_finalized,
  invalid_argument,
  name_taken,
  address_unavailable, // cannot listen or connect; the message names the address
  connection_closed,
  bad_message, // bytes that are not a message
  forked,
  channel_closed,
  channel_full,  // under full_policy::fail or drop_newest
  buffer_moved,  // the buffer was handed over: its new owner has it
  read_only,     // a write to a buffer that may only be read here
  cpu_limit,     // a task used the processor time of a message (limits::message_cpu)
  limit_reached, // too many interpreters, or calls that wait for each other too deep
  deadlock,      // every task waits for another, and nothing else can happen
};

const std::error_category& error_category() noexcept;
std::error_code make_error_code(errc code) noexcept;
/// The code's name, as in `interpreter_gone`.
const char* name_of(errc code) noexcept;
/// The inverse of name_of; guest_error for a name that is none.
errc errc_of(std::string_view name) noexcept;

/// An error as it crosses between interpreters.
struct error {
  errc code = errc::guest_error;
  std::string message;
  std::string traceback;        // the guest's, empty where there is none
  interpreter_id interpreter{}; // where it happened
  std::string interpreter_name;
  std::string payload; // the guest's error value, encoded (wire.hpp); empty: the message is all there is
};

template <class T>
using result = tl::expected<T, error>;

/// How texts name an interpreter: its number, and its name if it has one, as in (interpreter) 2 'bank'.
std::string number_and_name(interpreter_id who, std::string_view name);

inline tl::unexpected<error> fail(errc code, std::string message) {
  return tl::unexpected<error>(error{code, std::move(message), {}, {}, {}, {}});
}

} // namespace Atoll

template <>
struct std::is_error_code_enum<Atoll::errc> : std::true_type {};
