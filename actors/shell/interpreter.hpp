// An interpreter's shell: its heap, its tables, its inbox, and the turns in which its guest runs.
// Why: the guest knows a language, CAF knows threads; what lies between is here and knows neither.
// Ownership: the actor that schedules it (actors/interpreter_actor.hpp), or a test. The shell owns heap and guest.
// Threads: the owner's turn only, but for set_controls(), pending_controls(), box() and the counters of stats.
// Invariants: (1) every request taken is answered once (requests_).
//             (2) at the end of a turn nothing waits to be sent: protocol words and envelopes are out.
//             (3) finish() happens once, after the guest's last call returned; no guest code runs after it.
//             (4) whatever arrives after finish() is disposed of by whoever brings it.
//             (5) one that was abandoned (controls::abandoned) begins no turn, and ends the one it is in without another
//                 call into its guest, and without finish(): it stays as it is.
//
// A turn, in order (turn()):
//   1. take every envelope the inbox holds, free the buffers that came back;
//   2. handle their records, each followed by the drop of exported objects that came home; pending calls run behind
//      the messages that were sent before them;
//   3. waits on channels that were decided, timers that are due; 4. the guest's ready tasks;
//   5. send what waits: protocol words merged per owner, then the envelopes; tell those whom channels woke;
//   6. sleep, unless there is news or work was put off.
//
// The end of an interpreter, in order (finish()). A step that finds no memory is tried again, then left out; those behind it
// are done all the same:
//   0. pending calls accepted so far run, unless it was killed; no further ones are accepted;
//   1. the guest closes: its finalizers run, its objects die, its buffers end; 2. the heap is given back;
//   3. requests still open are answered interpreter_gone; 4. waits on channels end, items left in them become orphans;
//   imports are dropped, their credit goes home;
//   5. connections and listeners close, children are killed, monitors and links are told; 6. it leaves the directory, with tombstones
//   for loans still out; 7. the outbox is flushed: who hears of the end finds the name free; the inbox closes, what came
//   too late is disposed of; 8. the report.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "actors/shell/call_table.hpp"
#include "actors/shell/environment.hpp"
#include "actors/shell/link_table.hpp"
#include "actors/shell/pending_calls.hpp"
#include "actors/shell/request_table.hpp"
#include "actors/shell/sockets.hpp"
#include "actors/shell/timer_queue.hpp"
#include "channels/channel_desk.hpp"
#include "channels/on_demand.hpp"
#include "channels/outbox.hpp"
#include "runtime/heap.hpp"
#include "runtime/job.hpp"

namespace Atoll {

class population;

/// What interpreters are made with. Most of a runtime share one.
struct interpreter_config {
  credit_policy credit;
  std::size_t turn_messages = 4096;
  std::size_t pending_calls = 65536; // waiting at a time
  std::size_t protocol_words = 4096; // waiting above which they go out before the turn ends
  limits bounds;
  std::shared_ptr<population> children; // whom its children count among; for the runtime, may be null
};

class interpreter final : public host {
public:
  enum class turn_result : std::uint8_t { idle, again, done };

  /// `make_guest` is there until the interpreter has been started.
  interpreter(environment& env, std::shared_ptr<const interpreter_config> config, interpreter_id id,
              interpreter_id parent, std::string name, const guest_factory& make_guest);
  ~interpreter();

  /// One turn. The caller makes sure that turns do not overlap (turn_state).
  turn_result turn();

  inbox& box() noexcept { return *box_; }
  inbox_ptr shared_box() const noexcept { return box_; }
  /// Any thread: asks for the guest's attention; the caller wakes the inbox or ticks the guest.
  void set_controls(controls c) noexcept;
  /// Any thread: messages came in during this turn, or pending calls wait.
  bool has_news() const noexcept { return box_->turn().has_news() || pending_->waiting() > 0; }
  /// Any thread, when the clock brings a wake-up: a stop whose limit has passed kills, also in the middle of a turn.
  void alarm() {
    if (stop_deadline_.load(std::memory_order_relaxed) <= env_.now()) env_.control(id_, {.kill = true});
  }
  /// The thread that runs the turn, from a signal handler too: something of this turn waits behind what runs now, or for
  /// its end. A guess is enough.
  bool has_more() const noexcept {
    if (first_ != last_ || (first_ != nullptr && !(half_handled_ && current_.at_end()))) return true;
    if (const time_point due = unset_wake(); due != time_point::max() && due <= env_.now()) return true;
    if (desk_ && (desk_->has_woken() || desk_->has_ready())) return true;
    if (!outbox_.empty() || words_wait()) return true; // nobody has heard yet of what was said
    const guest* g = running_guest_.load(std::memory_order_relaxed);
    return g != nullptr && g->has_ready();
  }
  bool wants_tick() const noexcept {
    return controls_.load(std::memory_order_relaxed) != 0 || bounds().message_cpu.count() > 0;
  }
  /// Any thread: how long a turn lasts before it is asked to end.
  std::chrono::milliseconds time_slice() const noexcept { return config_->bounds.time_slice; }
  /// Any thread: whom its children count among.
  const std::shared_ptr<population>& children() const noexcept { return config_->children; }
  /// The thread that runs the turn, from a signal handler: what its guest is doing.
  activity doing() const noexcept {
    const guest* g = running_guest_.load(std::memory_order_relaxed);
    return g != nullptr ? g->doing() : activity{};
  }
  /// The thread that runs the turn, from a signal handler.
  void tick() noexcept {
    if (guest* g = running_guest_.load(std::memory_order_relaxed)) g->tick();
  }
  void sample() noexcept {
    if (guest* g = running_guest_.load(std::memory_order_relaxed)) g->sample();
  }
  /// Any thread: stats() as they were at the end of the last turn.
  figures shared_stats() const;
  std::uint64_t turns() const noexcept { return turns_.load(std::memory_order_relaxed); }
  /// Any thread: as the last turn ended, the clock was to give another one.
  bool waits_for_clock() const noexcept { return waits_for_clock_.load(std::memory_order_relaxed); }
  interpreter_info describe() const;

  // -- the supervisor's requests, each inside the owner's turn (by a job) --------------------------------------------
  /// Every open call and timer of the guest fails with `code`.
  void fail_waiting(errc code);
  /// Whether there are exit handlers or finalizers to run; and whether its close can be told from others'.
  bool acts_at_exit() const { return guest_ != nullptr && !exit_handlers_ran_ && guest_->acts_at_exit(); }
  bool acts_at_close() const {
    return !children_.empty() || pending_->waiting() > 0 || (guest_ != nullptr && guest_->acts_at_close());
  }
  /// Runs the exit handlers, then `done`.
  void run_exit_handlers(std::function<void()> done);
  /// Lets go of every import. References from here on are refused.
  void drop_imports();
  /// Ends the interpreter at the end of this turn.
  void end(end_kind outcome, error failure = {});
  /// What others hold of this interpreter's.
  std::vector<exported_object> exported();
  /// A connect() of the guest has its socket, or failed.
  void connected(guest_word token, const result<opened_socket>& socket);
  /// A receiver the guest waited for has room again.
  void room(interpreter_id receiver);
  std::size_t exports_live() const noexcept { return exports_.live(); }
  /// Between turns: calls f(wire_reader) for what was taken from the inbox and is not handled yet.
  template <class F>
  void for_each_unhandled(F&& f) const {
    for (envelope* e = first_; e != nullptr; e = e->next) f(e == first_ && half_handled_ ? current_ : e->reader());
    for (const envelope_ptr& e : early_) f(e->reader());
  }
  /// Any thread: what system::add_pending_call() asks this interpreter to run.
  const std::shared_ptr<pending_calls>& pending() const noexcept { return pending_; }

  // -- host ----------------------------------------------------------------------------------------------------------
  interpreter_id id() const noexcept override { return id_; }
  const std::string& name() const noexcept override { return name_; }
  guest* program() noexcept override { return guest_.get(); }
  heap& memory() noexcept override { return *heap_; }
  const limits& bounds() const noexcept override { return config_->bounds; }
  std::optional<std::uint64_t> seed() const noexcept override { return env_.seed(); }
  export_table& exports() noexcept override { return exports_; }
  import_table& imports() override;
  buffer_account& buffers() override;

  wire_writer& open_message(interpreter_id to, record_kind kind) override { return outbox_.open(to, kind); }
  send_status commit() override;
  void rollback() override;
  call_id open_call(guest_word token) override { return open_call_at(token, 1); }
  call_id open_call_at(guest_word token, std::uint32_t depth) override {
    const call_id call = calls_.open(token, depth);
    if (bounds().call_time.count() > 0) [[unlikely]]
      expire_later(call);
    return call;
  }
  void forget_call(call_id call) override { calls_.close(call); }
  void await_room(interpreter_id receiver, guest_word token) override;
  wire_writer& open_reply(request_id request) override;
  void reply_error(request_id request, const error& why) override;
  std::optional<received> receive_reference(const wire_ref& ref) override;
  void put_back(wire_reader values) override;
  void give_back(wire_reader values) override;

  channel_desk& channels() override;

  type_id type_named(std::string_view type) noexcept override { return env_.where().types()->id_of(type); }
  std::string_view type_name(type_id type) const noexcept override { return env_.where().types()->name_of(type); }

  time_point now() const noexcept override { return env_.now(); }
  std::uint64_t set_timer(time_point when, guest_word token) override {
    if (when < unset_wake()) set_unset_wake(when);
    return timers_.need().set(when, token);
  }
  void cancel_timer(std::uint64_t timer) override {
    if (timers_) timers_->cancel(timer);
  }

  result<interpreter_id> spawn(const spawn_options& options, const source& from,
                               const std::function<bool(wire_writer&)>& write_args, guest_word token) override;
  void monitor(interpreter_id target, guest_word token) override;
  void demonitor(interpreter_id target, guest_word token) override;
  result<guest_word> link(interpreter_id target, guest_word token) override;
  std::optional<guest_word> unlink(interpreter_id target) override;
  void fail_self(const error& why) override;
  result<void> interrupt(interpreter_id target) override { return end_other(target, {.interrupt = true}); }
  result<void> kill(interpreter_id target) override { return end_other(target, {.kill = true}); }
  bool finalizing() const noexcept override { return env_.finalizing(); }
  std::optional<interpreter_info> look_up(interpreter_id target) const override { return env_.where().look_up(target); }
  std::optional<interpreter_info> find(std::string_view name) const override { return env_.where().find(name); }
  std::vector<interpreter_info> list() const override { return env_.where().list(); }

  result<listening> listen(const std::string& address, guest_word token) override;
  void close_listener(std::uint64_t listener) override;
  void connect(const std::string& address, guest_word token) override;
  void adopt_connection(std::uint64_t connection, guest_word token) override;
  void consumed(std::uint64_t connection, std::size_t bytes) override;
  bool write(std::uint64_t connection, std::string_view bytes) override;
  void close_connection(std::uint64_t connection) override;

  controls pending_controls() const noexcept override;
  void came_back(std::string_view where) override;
  void exited() override;
  void request_exit(int status) override { env_.request_exit(status); }
  void log(log_level level, std::string_view text) override { env_.log(level, describe(), text); }
  void count_finalizer(const error* failure) override;
  figures stats() const override;
  figures system_stats() const override { return env_.stats(); }
  void survey_references(call_id call) override { env_.survey_references(id_, call); }

private:
  struct cargo;
  class putter;
  struct watcher {
    interpreter_id who{};
    std::uint64_t token = 0;
  };
  struct connection_state {
    guest_word token = 0;
    std::size_t unsent = 0;   // bytes written since the broker last said "drained"
    std::size_t consumed = 0; // bytes taken since the broker was last told
  };

  // The word under which the shell waits for its children to stop; a guest's words are its own business, but not this one.
  static constexpr guest_word child_token = ~guest_word{0};
  // And the word of the timer for calls whose time is up.
  static constexpr guest_word expiry_token = child_token - 1;

  static constexpr std::size_t figure_count = 11;

  bool work();
  void take_envelopes();
  bool handle_envelopes();
  void handle(record& r, interpreter_id from);
  void put_off(record& r, interpreter_id from);
  void take_early();
  void handle_start(wire_reader& in, interpreter_id from);
  void handle_guest_message(record& r, interpreter_id from);
  void handle_invoke(wire_reader& in, interpreter_id from);
  void handle_reply(record& r);
  void grant(const object_id& id, interpreter_id holder);
  void handle_decref(wire_reader& in);
  void handle_stop(wire_reader& in, interpreter_id from);
  void handle_stats(wire_reader& in, interpreter_id from);
  void handle_down(wire_reader& in);
  void handle_unlink(wire_reader& in, interpreter_id from);
  void handle_link_down(wire_reader& in);
  void handle_net(record& r);
  void run_job(wire_reader& in);
  bool note_calls() noexcept;
  bool run_calls();
  bool run_call();
  void take_back_open();
  void run_last_calls();
  void note_late_kill();
  void refuse(record& r, interpreter_id from, const error& why);

  void put_down(const cargo& carried);
  void tell_main_done(const error* failure);
  void post_job(std::unique_ptr<job> work);
  void started();
  void start_failed(const error& why);
  void child_stopped();
  void set_state(run_state state);
  result<void> end_other(interpreter_id target, controls what);
  error not_by_others() const;
  void fail_with_partner(const outcome& its_end, bool asked_for);
  void put_end(wire_writer& out) const;
  void forget_dead_children();
  std::string id_text() const { return number_and_name(id_, name_); }
  error make_error(errc code, std::string message) const;

  std::array<std::uint64_t, figure_count> count() const;
  void share_figures() noexcept;

  bool words_wait() const noexcept { return imports_ && imports_->queued() > 0; }
  link_table& links() { return links_.need(id_); }

  void look_at_controls();
  bool resume_ready();
  bool fire_timers();
  void expire_later(call_id call);
  void expire_calls();
  void renew_expiry_timer();
  void schedule_wake();
  time_point unset_wake() const noexcept {
    return time_point(time_point::duration(unset_wake_.load(std::memory_order_relaxed)));
  }
  void set_unset_wake(time_point t) noexcept {
    unset_wake_.store(t.time_since_epoch().count(), std::memory_order_relaxed);
  }
  void drop_due();
  void flush_protocol();
  void flush_early() noexcept;
  void end_for_memory() noexcept;
  void flush();
  void send_word(interpreter_id to, record_kind kind, const object_id& id, std::uint32_t count);
  bool commit_word();
  void answer(const request_table::request& to, const error& why);
  void begin_stopping();
  void finish() noexcept;
  void close_guest() noexcept;
  void answer_all() noexcept;
  void let_go_of_others() noexcept;
  void flush_all() noexcept;
  void dispose_of_rest() noexcept;
  void hand_in_report() noexcept;
  bool is_abandoned() const noexcept { return pending_controls().abandoned; }
  error gone_error() const;

  environment& env_;
  const std::shared_ptr<const interpreter_config> config_;
  const interpreter_id id_;
  const interpreter_id parent_;
  const std::string name_;
  const guest_factory& make_guest_;
  inbox_ptr box_;

  std::optional<heap> heap_;
  on_demand<buffer_account> buffers_; // ends before its heap
  std::unique_ptr<guest> guest_;
  std::atomic<guest*> running_guest_{nullptr}; // for tick(): same thread, from a signal handler
  export_table exports_;
  on_demand<import_table> imports_;
  outbox outbox_;
  call_table calls_;
  request_table requests_;
  on_demand<timer_queue> timers_;
  struct expiry {
    time_point when;
    call_id call = 0;
  };
  struct expiry_queue {
    std::deque<expiry> calls; // oldest first, answered or not
    bool timer = false;       // one for all of them, at the time of one that was the first
  };
  on_demand<expiry_queue> expiries_;
  on_demand<channel_desk> desk_;
  time_point wake_set_{}; // the earliest wake-up asked for and not come yet; epoch: none
  // When the next timer is due that no wake-up was asked for; max: none. Relaxed: for has_more(), on the same thread.
  std::atomic<time_point::rep> unset_wake_{time_point::max().time_since_epoch().count()};

  envelope* first_ = nullptr; // taken from the inbox, not handled yet
  envelope* last_ = nullptr;
  wire_reader current_; // the rest of *first_, when half handled
  bool half_handled_ = false;
  std::vector<envelope_ptr> early_; // messages that overtook the start

  const std::shared_ptr<pending_calls> pending_;
  std::size_t calls_due_ = 0;        // of what waits there: those that run once calls_behind_ is handled
  envelope* calls_behind_ = nullptr; // null: at once

  std::vector<watcher> watchers_; // who monitors this interpreter
  template <class Key, class Value>
  using rare_map = on_demand<std::unordered_map<Key, Value>>;
  rare_map<guest_word, interpreter_id> monitors_; // what the guest monitors
  rare_map<interpreter_id, std::vector<guest_word>> rooms_;
  rare_map<std::uint64_t, connection_state> connections_;
  rare_map<std::uint64_t, guest_word> listeners_;
  on_demand<link_table> links_;
  static constexpr std::size_t children_kept_min = 64;
  std::vector<interpreter_id> children_;          // in the order of their births
  std::size_t children_kept_ = children_kept_min; // beyond it, the dead are forgotten

  // Both words of controls and end are read by other threads or signal handlers: relaxed, the inbox's signal orders them.
  std::atomic<std::uint8_t> controls_{0};
  std::atomic<std::uint64_t> turns_{0};
  run_state state_ = run_state::starting;
  request_id start_request_ = no_request;
  bool start_answered_ = false;      // in this turn
  request_id replying_ = no_request; // the answer being written
  std::vector<request_id> stop_requests_;
  std::size_t children_stopping_ = 0;
  // relaxed: the clock's queue is between the owner's store and alarm().
  std::atomic<time_point> stop_deadline_{time_point::max()};
  bool main_done_told_ = false;
  std::function<void()> on_exited_;
  bool exit_handlers_ran_ = false;
  bool ending_ = false;
  bool finished_ = false;
  bool imports_dropped_ = false;
  end_kind outcome_ = end_kind::stopped;
  error failure_;

  // Relaxed: figures for others, each right by itself.
  std::array<std::atomic<std::uint64_t>, figure_count> shared_figures_{};
  std::atomic<bool> waits_for_clock_{false};

  std::uint64_t messages_in_ = 0;
  std::uint64_t releases_in_ = 0;
  std::uint64_t finalizers_run_ = 0;
  std::uint64_t finalizers_failed_ = 0;
  std::uint64_t turn_ticks_ = 0;
};

} // namespace Atoll
