// A runtime: interpreters by the thousand, their workers, and one orderly end.
// Why: the one object an embedding program makes. Two of them in a process know nothing of each other.
// Ownership: the program's. finalize() ends it, at the latest in the destructor.
// Threads: every function any thread, except inside an interpreter's turn: a guest talks through its host.
// Invariants: (1) finalize() returns within its deadline, whatever guests do; what could not be ended is abandoned, its
//                 memory with it, and the report says so. (2) the first finalize() does the work, later ones wait for it
//                 and get the same report. (3) after it every operation answers runtime_finalized. (4) in a forked child every
//                 operation answers `forked` without waiting for anything, finalize() a report that says so, and the
//                 destructor returns; the parent's runtime goes on there. A new system can be made.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "actors/handle.hpp"
#include "actors/report.hpp"
#include "actors/shell/pending_flag.hpp"
#include "actors/supervision/supervisor_handle.hpp"
#include "channels/buffer.hpp"
#include "channels/channel.hpp"
#include "runtime/credit.hpp"
#include "runtime/host.hpp"
#include "runtime/job.hpp"

namespace Atoll {

struct system_config {
  /// Threads that run turns; 0: one for each core.
  unsigned workers = 0;
  /// For the whole finalization, all phases together.
  std::chrono::milliseconds deadline{5000};
  /// Byte limit of each interpreter's heap that does not say its own; 0: none.
  std::size_t memory = 0;
  // Limits of each interpreter that does not say its own at its spawn (runtime/limits.hpp); 0: none.
  std::chrono::microseconds message_cpu{0};
  std::chrono::milliseconds call_time{0};
  std::uint32_t call_depth = limits{}.call_depth;
  /// Interpreters that live at a time; 0: no limit.
  std::size_t interpreters = 1'000'000;
  /// Threads that take the place of workers whose turn does not end, at most; 0: none.
  std::size_t spare_workers = 64;
  /// Messages in an inbox above which its senders wait.
  std::size_t high_water = 65536;
  /// Messages an interpreter handles in a turn before others get its worker.
  std::size_t turn_messages = 4096;
  /// Pending calls that wait for an interpreter at a time; further ones are refused (mailbox_full) until some have run.
  std::size_t pending_calls = 65536;
  /// How long a turn may last before the guest is asked to yield, if something waits. At least 2 ms. Half of it is how often
  /// busy guests and pending flags are looked at.
  std::chrono::milliseconds time_slice{10};
  /// How long a message may wait for its receiver before a warning names both, once; 0: for ever.
  std::chrono::milliseconds stuck_after{10000};
  /// run_main() fails with errc::deadlock, within a second, when every task waits for another and nothing else can happen:
  /// no timer, socket or pending flag. Only for programs whose host threads do nothing but wait in run_main().
  bool end_deadlocks = false;
  /// How often guests that are profiled note where they are; 0: never.
  std::chrono::milliseconds sample_period{0};
  /// How many of the interpreters that ended as asked the report lists, and how many of the others; all are counted.
  std::size_t reported_ends = 10000;
  credit_policy credit;
  /// What random numbers of guests start from, together with the interpreter's id; nothing: each its own.
  std::optional<std::uint64_t> seed;
  /// Which guests there are, by language; spawn_options::language picks one.
  std::map<std::string, guest_factory> languages;
  /// Where log lines go: whole lines, from any thread, one at a time. Empty: standard error.
  std::function<void(std::string_view line)> log;
  log_level log_threshold = log_level::warn;
  /// Told when the finalization enters a phase, before anything of it is done: "close", "drain", "exit", "settle",
  /// "teardown", "seal", and "report" behind the last (actors/finalization.hpp). On a thread of the runtime's own; its time
  /// counts. It may use the runtime as any host thread, but waits neither for finalize() nor without a limit. What it throws
  /// is dropped.
  std::function<void(std::string_view phase)> on_phase;
};

class core;

class system {
public:
  explicit system(system_config config = {});
  ~system();
  system(const system&) = delete;
  system& operator=(const system&) = delete;

  /// Starts a program's first interpreter, `main`, and waits until it has nothing left to wait for, or exit or
  /// request_exit() was called. `write_args` encodes its arguments.
  /// Answers main's own failure, if it failed.
  result<void> run_main(const spawn_options& options, const source& from,
                        const std::function<bool(wire_writer&)>& write_args);

  /// Starts an interpreter and waits until its chunk has returned; or answers why it could not start.
  template <class... Args>
  result<interpreter_handle> spawn(const spawn_options& options, const source& from, Args&&... args) {
    return spawn_values(options, from, {to_value(std::forward<Args>(args))...}).get();
  }
  /// The same in a language of its own type (Atoll::lua, Atoll::native); `from` may be empty for native ones.
  template <class Language, class... Args>
  requires requires { Language::language; }
  result<interpreter_handle> spawn(spawn_options options, const source& from = {}, Args&&... args) {
    options.language = Language::language;
    return spawn(options, from, std::forward<Args>(args)...);
  }
  /// As spawn(), without waiting.
  template <class... Args>
  future<interpreter_handle> spawn_async(const spawn_options& options, const source& from, Args&&... args) {
    return spawn_values(options, from, {to_value(std::forward<Args>(args))...});
  }

  /// Starts a supervisor, and its children one after the other (actors/supervision/supervisor_options.hpp), and waits until
  /// the last has started. invalid_argument that names child and field; or why a child did not start: those before it are
  /// stopped then.
  result<supervisor_handle> supervise(const supervisor_options& options) {
    return spawn({.name = options.name, .language = supervisor_language}, {}, options).map([](interpreter_handle h) {
      return supervisor_handle(std::move(h));
    });
  }

  /// A living interpreter by its name; no_such_interpreter, or runtime_finalized.
  result<interpreter_handle> find(std::string_view name);
  /// The living, by id.
  std::vector<interpreter_handle> list();

  /// Runs `call` once, in a turn of the interpreter, behind what was sent to it before; `call` gets the interpreter's host
  /// (its guest may be null: before its start). Any thread, an interpreter's turn too, also for itself: it never runs
  /// inside another. One that throws is logged and counted, the rest run.
  /// Refused: mailbox_full (system_config::pending_calls wait; try again later), interpreter_gone (never was, or its guest
  /// closes), runtime_finalized, out_of_memory. What was accepted runs before the guest closes; if it is killed or
  /// abandoned first, it is logged and counted as refused.
  result<void> add_pending_call(interpreter_id who, std::function<void(host&)> call);
  result<void> add_pending_call(interpreter_id who, std::function<void()> call);

  /// A pending call made ahead, which a signal handler may ask for: pending_flag::raise(). It is looked at every half
  /// time_slice (up to two slices when nothing runs), then runs as any pending call. Errors as above.
  result<pending_flag> make_pending_flag(interpreter_id who, std::function<void(host&)> call);

  /// A channel; interpreters get it as a value. invalid_argument (options that contradict each other), runtime_finalized.
  template <class T = value>
  result<channel<T>> make_channel(channel_options options = {}) {
    return make_any_channel(std::move(options)).map([](any_channel c) { return channel<T>(std::move(c)); });
  }
  /// Shared memory that the host program owns, zeroed (channels/buffer.hpp); it ends with the runtime. Send it as a value.
  /// out_of_memory, runtime_finalizing, runtime_finalized.
  result<buffer> make_buffer(std::size_t bytes);

  /// Who holds what: every object that others than its owner hold, by id. Asks every interpreter, in a turn of its own;
  /// those who have no turn within `patience` are left out, what they own and what they hold. Takes time and memory for
  /// each reference there is. Any thread but an interpreter's (invalid_argument).
  result<std::vector<exported_object>> references(std::chrono::milliseconds patience = std::chrono::seconds(1));

  /// Any thread, a signal watcher's too: ends run_main(). The first status counts.
  void request_exit(int status);

  /// Brings everything down, in order, inside the deadline (phases: actors/finalization.hpp).
  finalization_report finalize();

  core& inside() noexcept { return *core_; }

private:
  result<any_channel> make_any_channel(channel_options options);
  future<interpreter_handle> spawn_values(const spawn_options& options, const source& from,
                                          const std::vector<value>& args);

  std::shared_ptr<core> core_;
};

} // namespace Atoll
