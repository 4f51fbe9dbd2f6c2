// What a language has to do to live in an interpreter: start, take messages, be interrupted, end.
// Why: the shell (actors/shell/interpreter.hpp) knows turns, inboxes and the reference protocol and no language; a guest
// knows its language and sees the outside only through host (runtime/host.hpp).
// Ownership: the shell owns its guest and destroys it before the interpreter's heap.
// Threads: owner only, in the owner's turn; tick() alone is a signal handler's, on the thread that runs the guest.
// Invariants: (1) every request_id handed in is answered once by the guest (host::reply...), or by the shell when the
//                 guest is closed. (2) no call into the guest comes after close().
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/records.hpp"
#include "runtime/task_wait.hpp"

namespace Atoll {

/// An incoming call that wants an answer; no_request for one that does not.
using request_id = std::uint64_t;
inline constexpr request_id no_request = 0;

/// A send, call, eval or invoke on its way into the guest.
struct incoming {
  record_kind kind{}; // send, call, eval or invoke
  interpreter_id from{};
  request_id request = no_request;
  invoke_op op{};          // invoke only
  guest_word target = 0;   // invoke only: the exported object
  std::string_view name;   // function or method; the code of an eval
  wire_reader args;        // values to the end
  std::uint32_t depth = 0; // how many calls wait for this one; 0: a send
};

/// Where a program comes from.
struct source {
  source_kind kind = source_kind::code;
  std::string text;  // the code, or the file's path
  std::string chunk; // the name errors show; empty: made from the above
};

/// How something the guest waited for ended.
struct outcome {
  enum class kind : std::uint8_t {
    values,   // a reply: `values` hold the results
    failed,   // an error reply: `failure`
    timer,    // a timer of host::set_timer went off
    room,     // a receiver that was over its high-water mark has room again
    down,     // a monitored interpreter ended: `down_id`, `name`, `reason`, `failure`
    accepted, // a listener took a connection: `connection`, `name` (the peer)
    data,     // bytes of a connection: `bytes`
    closed,   // a connection ended: `reason`, empty when in order
    drained,  // what was written to a connection has gone out
    channel,  // a wait on channels was decided (channels/channel_desk.hpp)
  };
  kind what{};
  wire_reader values{};
  const error* failure = nullptr;
  interpreter_id down_id{};
  std::uint64_t connection = 0;
  std::string_view name{};
  std::string_view reason{};
  std::string_view bytes{};
};

/// What a guest is doing, for a log that another thread writes; good also when the guest is gone.
struct activity {
  char what[48] = {}; // the function, method or task
  /// How the language calls a C function that starts there, or is called `symbol` where that is known; null: it does not
  /// know it. Any thread, any time.
  const char* (*name_of)(const void* function, const char* symbol) = nullptr;
};

class guest {
public:
  guest() = default;
  guest(const guest&) = delete;
  guest& operator=(const guest&) = delete;
  virtual ~guest() = default;

  /// Loads and runs the program; `args` are its arguments. Answers `request` when its chunk has returned (no values),
  /// or with the error that stopped it.
  virtual void start(request_id request, const source& from, wire_reader args) = 0;
  /// A message for the guest.
  virtual void deliver(const incoming& message) = 0;
  /// Something the guest waits for under `token` (its own word, as given to host) has happened.
  virtual void resume(guest_word token, const outcome& what) = 0;
  /// Runs what is ready but was preempted or put off; true when more is left for the next turn.
  virtual bool run_ready() = 0;
  /// Whether run_ready() would find something. Async-signal-safe, on the thread that is running this guest: a guess is
  /// enough.
  virtual bool has_ready() const noexcept { return false; }

  /// The last credit of an exported object came home: let go of it.
  virtual void drop(guest_word object) = 0;
  /// An exported object's type, for reports ("table", a class name).
  virtual std::string describe(guest_word object) = 0;

  /// Whether the program still waits for something that keeps it alive: tasks, timers, listeners.
  virtual bool waiting() const = 0;
  virtual std::size_t tasks() const = 0;
  /// What its tasks wait for, each with one entry. For people: asked when nothing goes on any more.
  virtual std::vector<task_wait> waits() { return {}; }

  /// Runs exit handlers (last in, first out) and finalizers with priority >= 0, then calls host::exited(). They may
  /// wait for other interpreters meanwhile.
  virtual void run_exit_handlers() = 0;
  /// Whether run_exit_handlers() ends the interpreter's children, in its order and each within a time of its own: the shell
  /// leaves them alone then, and a stop without a limit takes as long as they do.
  virtual bool stops_children() const noexcept { return false; }
  /// Whether run_exit_handlers() would run anything, and close() anything of the program's. Who says no is ended beside
  /// others instead of in its order.
  virtual bool acts_at_exit() const { return true; }
  virtual bool acts_at_close() const { return true; }
  /// Makes every running and waiting task fail with `code` (interrupted, killed) as soon as it can.
  virtual void interrupt(errc code) = 0;
  /// Every foreign reference is over: proxies answer reference_released from now on. host's imports are dropped after.
  virtual void drop_imports() = 0;
  /// The end: remaining finalizers, then every object dies and all memory is given back. Nothing is called after it.
  virtual void close() = 0;

  /// On the thread that is running this guest, from a signal handler, when its turn has lasted long or a control waits:
  /// arranges that guest code soon stops to look at host::controls(). Async-signal-safe.
  virtual void tick() noexcept = 0;
  /// The same, at the profiler's rate: a guest that is profiled notes where it is. Async-signal-safe.
  virtual void sample() noexcept {}
  /// What runs. Async-signal-safe, on the thread that is running this guest.
  virtual activity doing() const noexcept { return {}; }
};

} // namespace Atoll
