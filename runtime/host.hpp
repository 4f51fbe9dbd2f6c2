// The outside world as a guest sees it: send, call, reply, references, timers, spawn, TCP.
// Why: guests depend on this page alone; the shell implements it with inboxes and CAF, a test with vectors.
// Ownership: the shell; it outlives the guest.
// Threads: owner only, in the owner's turn. controls() alone may be read at any time by the owner's thread.
// Invariants: (1) between open_message() and commit() or rollback() no other message is opened.
//             (2) a message that was rolled back never happened: the credit its references took is put back.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/exports.hpp"
#include "runtime/guest.hpp"
#include "runtime/heap.hpp"
#include "runtime/imports.hpp"
#include "runtime/limits.hpp"

namespace Atoll {

class channel_desk;

using clock_type = std::chrono::steady_clock;
using time_point = clock_type::time_point;

/// How a send went.
enum class send_status : std::uint8_t {
  sent,
  crowded,   // sent, but the receiver is over its high-water mark: the sending task should wait (host::await_room)
  no_memory, // not sent: no memory for the envelope
  gone,      // not sent: no such interpreter, or it ended. What it carried is put back.
};

enum class run_state : std::uint8_t { starting, running, stopping, gone };
const char* name_of(run_state state) noexcept;

/// What may be said about an interpreter at its birth.
struct spawn_options {
  std::string name;             // empty: none; otherwise unique among the living
  std::size_t memory = 0;       // byte limit of its heap; 0: none
  std::string language = "lua"; // which guest
  // Limits that differ from the runtime's (runtime/limits.hpp); 0 lifts one.
  std::optional<std::chrono::microseconds> message_cpu;
  std::optional<std::chrono::milliseconds> call_time;
  std::optional<std::chrono::milliseconds> time_slice;
  std::optional<std::size_t> high_water;
  std::optional<std::size_t> interpreters;
  std::optional<std::uint32_t> call_depth;
};

/// The language of supervisors, which every runtime has (actors/supervision/supervisor_guest.hpp).
inline constexpr const char* supervisor_language = "supervisor";

/// What a listing shows of an interpreter.
struct interpreter_info {
  interpreter_id id{};
  std::string name;
  interpreter_id parent{};
  run_state state{};
};

/// Requests that reach a guest in the middle of its work; a guest looks at them after tick().
struct controls {
  bool yield = false;     // the turn has lasted long enough: suspend the running task if that is possible
  bool interrupt = false; // fail the running task with errc::interrupted
  bool kill = false;      // fail every task with errc::killed, now
  bool where = false;     // it could not be stopped for long: host::came_back() from where it is now
  bool abandoned = false; // with a kill: the runtime has ended without it, and no code of the guest's may run any more
};

enum class log_level : std::uint8_t { debug, info, warn, error };

class buffer_account; // channels/buffer_space.hpp

class host {
public:
  host() = default;
  host(const host&) = delete;
  host& operator=(const host&) = delete;

  virtual interpreter_id id() const noexcept = 0;
  virtual const std::string& name() const noexcept = 0;
  /// The guest itself, for jobs that speak its language; null before its start and after its end.
  virtual guest* program() noexcept { return nullptr; }
  virtual heap& memory() noexcept = 0;
  /// What it may use, for the limits that a guest looks after: message_cpu, call_depth.
  virtual const limits& bounds() const noexcept {
    static constexpr limits none;
    return none;
  }
  /// What the guest's random numbers start from, so that a run can be repeated; nothing: as the language does it.
  virtual std::optional<std::uint64_t> seed() const noexcept { return std::nullopt; }
  virtual export_table& exports() noexcept = 0;
  virtual import_table& imports() = 0;

  // -- messages ---------------------------------------------------------------------------------------------------
  /// Opens a record for another interpreter (or this one). The caller writes the record's body (runtime/records.hpp).
  virtual wire_writer& open_message(interpreter_id to, record_kind kind) = 0;
  /// Ends the record; it goes out at the end of the turn, or when its envelope is full. When it answers no_memory or
  /// gone, nothing was sent and the record is still open: the caller calls rollback().
  virtual send_status commit() = 0;
  /// Takes the record back, with the credit its references carried.
  virtual void rollback() = 0;

  /// A call's number for the body of call, eval, invoke, stop or stats; its end comes as resume(token, values|failed).
  virtual call_id open_call(guest_word token) = 0;
  /// The same for a call made on behalf of another: `depth` is that one's (incoming::depth) and one more.
  virtual call_id open_call_at(guest_word token, std::uint32_t /*depth*/) { return open_call(token); }
  /// Nobody waits for this call any more (a timeout, a dropped future): a late answer is thrown away, its credit goes
  /// home.
  virtual void forget_call(call_id call) = 0;
  /// Asks for resume(token, room) when `receiver` has room again.
  virtual void await_room(interpreter_id receiver, guest_word token) = 0;

  /// Opens the answer to a request; values follow, then commit(), or rollback() and reply_error() when the values cannot
  /// cross or memory is out. An answer to a caller that is gone counts as sent.
  virtual wire_writer& open_reply(request_id request) = 0;
  virtual void reply_error(request_id request, const error& why) = 0;

  // -- references -------------------------------------------------------------------------------------------------
  /// A reference read from a message. One's own object comes home as its word; another's becomes an import with one
  /// use for the caller. Nothing when the id is one's own but stale.
  struct received {
    bool own = false;
    guest_word object = 0; // own
    import_table::index import = import_table::none;
  };
  virtual std::optional<received> receive_reference(const wire_ref& ref) = 0;
  /// The number of a type's name, for export_table::add, and the name of a number (channels/type_names.hpp). Both take a
  /// lock: for new exports and for texts.
  virtual type_id type_named(std::string_view /*name*/) noexcept { return object_type; }
  virtual std::string_view type_name(type_id) const noexcept { return "object"; }
  /// Values that were written and did not go: what they took from this interpreter's tables returns there. Connections in
  /// them stay the guest's.
  virtual void put_back(wire_reader values) = 0;
  /// Values of a message that nobody will read: the references in them go home, connections close, holds on buffers end.
  virtual void give_back(wire_reader values) = 0;

  /// Shared memory: what of it is this interpreter's own, and how it enters and leaves messages.
  virtual buffer_account& buffers() = 0;

  // -- channels ---------------------------------------------------------------------------------------------------
  /// This interpreter's side of channels (channels/channel_desk.hpp).
  virtual channel_desk& channels() = 0;

  // -- time -------------------------------------------------------------------------------------------------------
  virtual time_point now() const noexcept = 0;
  /// resume(token, timer) once, at or after `when`. The number cancels it.
  virtual std::uint64_t set_timer(time_point when, guest_word token) = 0;
  virtual void cancel_timer(std::uint64_t timer) = 0;

  // -- interpreters -----------------------------------------------------------------------------------------------
  /// Starts a child. Its id is known at once; resume(token, values) when its chunk has returned, failed when it could
  /// not start. `write_args` encodes the chunk's arguments (it may be empty) and answers false to give up: the spawn
  /// then never happened and the answer is not_shareable.
  virtual result<interpreter_id> spawn(const spawn_options& options, const source& from,
                                       const std::function<bool(wire_writer&)>& write_args, guest_word token) = 0;
  /// resume(token, down) once, when `target` ends or if it already has.
  virtual void monitor(interpreter_id target, guest_word token) = 0;
  virtual void demonitor(interpreter_id target, guest_word token) = 0;
  /// Shares its fate with `target`, and the other way round, until one of them ends: when the other did not end in order,
  /// resume(token, down) once, or, with a token of 0, this interpreter fails too. In order it is told, or goes on. One link
  /// for two however often they ask: a later token takes the place of the earlier, which is the answer (0: none). Cut by the
  /// other side, the reason is "unlinked".
  /// interpreter_gone when the target is known to be gone; who is gone by the time it is asked is down at once.
  virtual result<guest_word> link(interpreter_id target, guest_word token);
  /// The link is over on both sides: its token. Nothing: there was none.
  virtual std::optional<guest_word> unlink(interpreter_id /*target*/) { return std::nullopt; }
  /// This interpreter fails, for `why`, as soon as its guest returns. In main that ends the program. During the
  /// finalization it is logged, as everybody ends in order then.
  virtual void fail_self(const error& why) { log(log_level::error, why.message); }
  /// Main is not ended by others: invalid_argument.
  virtual result<void> interrupt(interpreter_id target) = 0;
  virtual result<void> kill(interpreter_id target) = 0;
  /// Whether the runtime ends: no interpreter can be born any more.
  virtual bool finalizing() const noexcept { return false; }
  virtual std::optional<interpreter_info> look_up(interpreter_id target) const = 0;
  virtual std::optional<interpreter_info> find(std::string_view name) const = 0;
  virtual std::vector<interpreter_info> list() const = 0;

  // -- TCP --------------------------------------------------------------------------------------------------------
  /// Listens on "address:port" (port 0: any free one); resume(token, accepted) for each connection. Answers the
  /// listener's number, and the address it got.
  struct listening {
    std::uint64_t listener = 0;
    std::string address;
  };
  virtual result<listening> listen(const std::string& address, guest_word token) = 0;
  virtual void close_listener(std::uint64_t listener) = 0;
  /// Connects without holding the thread: resume(token, accepted) with the connection, or failed.
  virtual void connect(const std::string& address, guest_word token) = 0;
  /// This interpreter takes the connection: the broker starts to read, and data, closed and drained come to `token`.
  /// A new connection is not read from until somebody adopts it, so it can move to another interpreter before that.
  virtual void adopt_connection(std::uint64_t connection, guest_word token) = 0;
  /// The guest has handed out this many bytes of the connection's data: the broker may read on. A broker stops reading
  /// a connection whose data nobody consumes.
  virtual void consumed(std::uint64_t connection, std::size_t bytes) = 0;
  /// Queues bytes; false when they pile up (over a high-water mark): resume(token, drained) comes when they are out.
  virtual bool write(std::uint64_t connection, std::string_view bytes) = 0;
  /// Closes after everything written has gone out.
  virtual void close_connection(std::uint64_t connection) = 0;

  // -- the rest ---------------------------------------------------------------------------------------------------
  /// What asks for the guest's attention right now. Cheap: an atomic load.
  virtual controls pending_controls() const noexcept = 0;
  /// Exit handlers asked for by run_exit_handlers() are done.
  virtual void exited() = 0;
  /// Ends the program with this status, in order: finalization begins.
  virtual void request_exit(int status) = 0;
  virtual void log(log_level level, std::string_view text) = 0;
  /// Behind a stretch in which it could not be stopped (controls::where): where the guest's code is now.
  virtual void came_back(std::string_view /*where*/) {}
  /// A finalizer or exit handler ran; `failure` when it failed (it is reported, nothing else stops).
  virtual void count_finalizer(const error* failure) = 0;

  /// Figures of this interpreter by name (heap_bytes, turns, ...: DESIGN section 13), and of all summed.
  using figures = std::vector<std::pair<std::string, double>>;
  virtual figures stats() const = 0;
  virtual figures system_stats() const = 0;
  /// Answers the call with a list of all objects that are held by others than their owner: tables with type, owner,
  /// credit and holders (interpreters, or "host program"). It ends when everybody who lives has had a turn.
  virtual void survey_references(call_id call) = 0;

protected:
  ~host() = default;
};

inline result<guest_word> host::link(interpreter_id, guest_word) {
  return fail(errc::invalid_argument, "interpreters are not linked here");
}

/// Makes the guest of one interpreter, in its first turn.
using guest_factory = std::function<std::unique_ptr<guest>(host&)>;

} // namespace Atoll
