// The host program as a participant of its runtime: host threads call, hold references and let go through it.
// Why: C++ threads outside of every interpreter have no turn of their own; they share one inbox, one import table and one
// outbox under a lock, and the runtime's workers take what comes in.
// Ownership: shared by the core, and by every handle, reference and future's call that host threads keep. It outlives the
// core as a closed shell that answers runtime_finalized.
// Threads: any thread, interpreters' turns included; turn() one worker at a time; close() the supervisor.
// Invariants: (1) every call opened is answered once: by its callee, by whoever disposes of it, by fail_waiting() or close().
//             (2) after close() nothing here touches the core, its directory or an inbox.
//             (3) each imported stands for one use of its import entry; the last copy's end is one drop.
//             (4) callbacks never run under mutex_, nor do the destructors of what users sent along. Letting go of a
//                 reference and giving up a call take late_mutex_ alone, so they may happen anywhere, under mutex_ too.
//             (5) what a thread does here for the runtime, jobs that it abandons behind the lock included, it does inside the
//                 directory's gate; callbacks run inside callbacks_.
//             (6) where memory is out a host thread may see std::bad_alloc; the port stays as it was. Calls are answered
//                 out_of_memory then, records that nobody waits for are lost.
// Lock order: mutex_, then late_mutex_, the core's locks, or an answer's.
//
// A reference's life here: a reply brings it (receive, one use) -> host threads copy it (a shared count) -> the last copy
// goes: drop() notes it and signals the inbox -> the turn drops the uses, and sends one decref for each owner.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "actors/future.hpp"
#include "actors/handle.hpp"
#include "actors/shell/environment.hpp"
#include "channels/channel_value.hpp"
#include "channels/disposal.hpp"
#include "channels/fork.hpp"
#include "channels/gate.hpp"
#include "channels/outbox.hpp"
#include "runtime/guest.hpp"
#include "runtime/job.hpp"
#include "runtime/value_codec.hpp"

namespace Atoll {

class host_port;
class thread_wait;

/// What whoever uses something of a runtime that has ended is told.
error finalized();

/// A host thread's hold on an object of some interpreter.
class imported final : public reference_holder {
public:
  imported(std::shared_ptr<host_port> port, import_table::index at, object_id id, std::string_view type,
           std::shared_ptr<const std::string> owner) noexcept
      : port_(std::move(port)), at_(at), id_(id), type_(type), owner_(std::move(owner)) {}
  ~imported() override;

  const std::shared_ptr<host_port>& port() const noexcept { return port_; }
  import_table::index at() const noexcept { return at_; }
  const object_id& id() const noexcept { return id_; }
  bool same_object(const reference_holder& other) const noexcept override;
  std::string describe() const override;

private:
  std::shared_ptr<host_port> port_;
  import_table::index at_;
  object_id id_;
  std::string_view type_; // in the table of names, which the port keeps
  std::shared_ptr<const std::string> owner_;
};

/// A job that is a call of the host's: run() sends the answer as any interpreter does; nobody to run it is an answer too.
class call_job : public job {
public:
  void abandon(const error& why) noexcept final;

protected:
  friend class host_port;
  /// The call's number, and the object it is for: an occurrence of the reference, with credit or a loan (DESIGN rule 7).
  call_id call_ = 0;
  std::optional<wire_ref> target_;

private:
  std::shared_ptr<host_port> port_;
};

class host_port final : public std::enable_shared_from_this<host_port> {
public:
  using answer_ptr = std::shared_ptr<answer>;
  /// Writes a record's body; an error takes the record back.
  using body_function = std::function<result<void>(wire_writer&)>;

  host_port(environment& env, const credit_policy& credit, std::size_t high_water);
  ~host_port();
  /// Once, before anybody else knows the port: enters the host program in the directory.
  void open(waker& w);

  // -- host threads --------------------------------------------------------------------------------------------------
  // What cannot be sent is an answer given at once.
  answer_ptr call(interpreter_id to, std::string_view function, const std::vector<value>& args);
  answer_ptr invoke(const imported& target, invoke_op op, std::string_view method, const std::vector<value>& args);
  answer_ptr start(interpreter_id who, const source& from, const body_function& write_args);
  answer_ptr stop(interpreter_id who, std::chrono::milliseconds timeout);
  answer_ptr ask_stats(interpreter_id who);
  /// Sends the job into the turn of `to`, or of the target's owner. Its results come as the answer.
  answer_ptr run(interpreter_id to, std::unique_ptr<call_job> work);
  answer_ptr run(const imported& target, std::unique_ptr<call_job> work);
  /// Sends a job into the turn of `to`; abandoned at once when that, or the runtime, is gone.
  void post(interpreter_id to, std::unique_ptr<job> work);
  /// One-way. Waits while the receiver is over its high-water mark, unless a worker asks.
  result<void> send(interpreter_id to, std::string_view function, const std::vector<value>& args);
  result<void> send(const imported& target, std::string_view method, const std::vector<value>& args);

  result<void> control(interpreter_id who, controls what);
  result<void> monitor(interpreter_id who, down_callback told);
  run_state state_of(interpreter_id who) const;

  // Channels (hosted_channel.hpp): a value into an item, and out of one; what was written and not sent; what was received
  // and is not wanted. The item is empty after the last three, unless the port was closed: then it is as it was.
  result<void> write_item(const value& v, item_bytes& item);
  result<value> read_item(item_bytes& item);
  void put_back_item(item_bytes& item);
  void give_back_item(item_bytes& item);
  /// runtime_finalizing, or runtime_finalized.
  result<channel_handle> make_channel(channel_options options);
  /// `why` a channel is closed, or that the runtime ends or has ended, when all of them are.
  error unless_ended(error why) const;
  /// As thread_wait::await(); but the end of the runtime is the end of the wait.
  bool await(thread_wait& w, wait_limit until);
  /// Shared memory that the host program owns. runtime_finalized, out_of_memory.
  result<buffer> make_buffer(std::size_t bytes);

  /// Writes values as start() wants them.
  body_function writer_of(const std::vector<value>& args);

  // -- from anywhere -------------------------------------------------------------------------------------------------
  /// One use of an import is over.
  void drop(import_table::index at) noexcept;
  /// A call that nobody will answer; what its target carries goes back to its entry.
  void give_up(call_id call, const std::optional<wire_ref>& target, const error& why) noexcept;

  // -- the runtime ---------------------------------------------------------------------------------------------------
  inbox& box() noexcept { return *box_; }
  /// Handles what the inbox holds. False when the port is closed: no turn follows.
  bool turn();
  std::uint64_t turns() const noexcept { return turns_.load(std::memory_order_relaxed); }

  // The finalization, in this order: no new messages from host threads; open calls fail; the end.
  void refuse_new();
  void fail_waiting(errc code);
  void close();
  /// Inside, callbacks of the user's run; once it is closed, none begins.
  gate& callbacks() noexcept { return callbacks_; }
  /// What host threads hold.
  void with_imports(const std::function<void(const import_table&)>& f) const;
  bool closed() const;

private:
  class codec;
  /// What happened in a turn for user code to see, once the lock is let go.
  struct news {
    std::vector<std::pair<answer_ptr, call_results>> answers;
    std::vector<std::pair<down_callback, down>> downs;
  };
  /// What drop() and give_up() left.
  struct late {
    import_table::index dropped = import_table::none;
    call_id given_up = 0;
    std::optional<wire_ref> target;
    error why;
  };
  struct watch {
    interpreter_id who{};
    down_callback told;
  };
  /// mutex_ held. Jobs that were thrown away meanwhile are abandoned behind it, and the thread is inside until then: if the
  /// port is still open, as close() comes before the gate is closed. Then the jobs are deleted, which is the user's affair.
  class lock_type {
  public:
    explicit lock_type(const host_port& p) : lock_(p.mutex_) {
      if (p.env_ != nullptr) inside_.emplace(*p.inside_);
    }
    ~lock_type() {
      lock_.unlock();
      jobs_.abandon_all();
    }
    lock_type(const lock_type&) = delete;
    lock_type& operator=(const lock_type&) = delete;

  private:
    deferred_jobs jobs_; // ends last
    std::optional<gate::visit> inside_;
    std::unique_lock<std::mutex> lock_;
  };

  // All of these with mutex_ held.
  std::optional<error> refusal() const;
  result<send_status> put_message(interpreter_id to, record_kind kind, const body_function& body);
  void flush();
  void put_back(wire_ref ref);
  class putter;
  void work(news& out);
  void handle(wire_reader& records, interpreter_id from, news& out);
  void handle_reply(record& r, news& out);
  void handle_down(wire_reader& in, news& out);
  void take_late(news& out);
  void give_back(wire_reader values);
  void finish_call(call_id call, call_results results, news& out);
  void room(interpreter_id receiver, news& out);

  answer_ptr ask(interpreter_id to, record_kind kind, const body_function& body);
  answer_ptr run(interpreter_id to, std::unique_ptr<call_job> work, const imported* target);
  result<void> send(interpreter_id to, record_kind kind, const body_function& body);
  void add_late(late what) noexcept;
  void tell(news& what);

  bool forked() const noexcept { return born_.forked(); }

  const birthplace born_; // asked before a lock is taken
  const std::shared_ptr<gate> inside_;
  gate callbacks_;
  const inbox_ptr box_;
  std::atomic<std::uint64_t> turns_{0}; // relaxed: the inbox's turn state orders it (finalization::quiet)

  mutable std::mutex mutex_;
  environment* env_; // null: closed
  const std::shared_ptr<type_names> types_;
  std::unique_ptr<codec> codec_;
  import_table imports_;
  std::unique_ptr<outbox> outbox_; // null: closed
  buffer_account buffers_;
  std::unordered_map<call_id, answer_ptr> calls_;
  std::unordered_map<std::uint64_t, watch> watches_;
  std::unordered_map<interpreter_id, answer_ptr> rooms_;
  std::uint64_t last_number_ = 0; // of calls and monitors
  bool refusing_ = false;

  std::mutex late_mutex_;
  std::vector<late> late_;                   // under late_mutex_
  std::unordered_set<thread_wait*> blocked_; // under late_mutex_; each until its thread has left await()
  bool late_closed_ = false;                 // under late_mutex_
};

} // namespace Atoll
