// What a system is inside: CAF's actor system, the directory, the ticker, and who is alive.
// Ownership: the system's. What host threads keep, those that connect for it among them, holds the port alone.
// Threads: any thread, except where said.
// Invariants: (1) an interpreter is in living_ from its creation until ended() or abandon(), which hand in its one
//                 report. (2) lock order: none is held while another is taken, nor while an inbox is pushed to. The host
//                 port's lock comes before all of these.
#pragma once

#include <caf/all.hpp>
#include <condition_variable>
#include <mutex>
#include <set>

#include "actors/host_turn.hpp"
#include "actors/interpreter_actor.hpp"
#include "actors/net_broker.hpp"
#include "actors/population.hpp"
#include "actors/spare_workers.hpp"
#include "actors/supervisor.hpp"
#include "actors/survey.hpp"
#include "actors/system.hpp"
#include "actors/ticker.hpp"
#include "channels/fork.hpp"

namespace Atoll {

class waiter;

class core final : public environment, public std::enable_shared_from_this<core> {
public:
  /// With a crank: no threads at all. CAF's test coordinator keeps who is to run, its clock stands still, and whoever
  /// waits for the runtime (run_main, finalize) waits through the crank, which gives the turns. No TCP. For simulations.
  explicit core(system_config config, waiter* crank = nullptr);
  ~core();

  result<void> run_main(const spawn_options& options, const source& from,
                        const std::function<bool(wire_writer&)>& write_args);
  future<interpreter_handle> spawn(const spawn_options& options, const source& from, const std::vector<value>& args);
  result<interpreter_handle> find(std::string_view name);
  std::vector<interpreter_handle> list();
  result<void> add_pending_call(interpreter_id who, pending_function call);
  result<pending_flag> make_pending_flag(interpreter_id who, pending_function call);
  finalization_report finalize();
  result<std::vector<exported_object>> references(std::chrono::milliseconds patience);
  /// Asks everybody; `told` comes on the thread of the last who answers.
  std::shared_ptr<survey> survey_all(survey::listener told);
  host_port& port() noexcept { return *port_; }
  caf::actor_system& caf() noexcept { return *caf_; }
  const system_config& config() const noexcept { return config_; }

  /// Sends a job into an interpreter's turn; abandoned at once when it is gone.
  void post(interpreter_id to, std::unique_ptr<job> work);

  // -- for the finalization ------------------------------------------------------------------------------------------
  /// Behind it nobody enters living_.
  void close_for_new() {
    const std::scoped_lock lock(mutex_);
    finalizing_.store(true, std::memory_order_relaxed);
  }
  std::vector<caf::intrusive_ptr<interpreter_actor>> living() const;
  std::size_t alive() const;
  /// Until its report is in: it leaves the directory before that.
  bool lives(interpreter_id who) const { return find(who) != nullptr; }
  void close_listeners();
  void close_connections();
  bool net_idle() const;
  ends take_ends();
  void abandon(interpreter_id who);
  bool abandoned_any() const;
  /// Somebody is still inside who did not come out in time: the core is kept.
  void leave_behind();
  /// Tells system_config::on_phase.
  void enter_phase(const char* name) noexcept;
  /// When finalize() was called first, and when the phases must be over, so that it returns inside the deadline.
  time_point finalize_asked() const;
  time_point phases_end() const;
  void tell_supervisor() noexcept;
  /// Whoever ends while more than this many are alive does not wake the supervisor.
  void tell_of_ends_at(std::size_t alive);
  void set_report(finalization_report report);
  int exit_status() const noexcept { return exit_status_.load(std::memory_order_relaxed); }

  // -- for the watch -------------------------------------------------------------------------------------------------
  /// run_main() waits.
  bool main_goes_on() const;
  /// How many turns of interpreters have begun; nothing while one goes on.
  std::optional<std::uint64_t> turns_at_rest() { return ticker_->turns_at_rest(); }
  /// Something may happen by itself: somebody waits for the clock, a socket is in use or connects, there is a pending flag.
  bool awaits_outside();
  /// Main fails.
  void deadlocked(std::vector<deadlocked_task> tasks);
  std::vector<deadlocked_task> take_deadlock();

  // -- environment ---------------------------------------------------------------------------------------------------
  directory& where() noexcept override { return directory_; }
  time_point now() const noexcept override;
  void wake_at(interpreter& who, time_point when) override;
  /// Any thread: what who asked to be woken for is due.
  void ring(interpreter_id who);
  result<interpreter_id> create(const spawn_options& options, interpreter_id parent) override;
  void control(interpreter_id target, controls what) override;
  std::uint64_t next_socket_number() noexcept override { return sockets_.fetch_add(1, std::memory_order_relaxed) + 1; }
  void need_net() override;
  void connect(const std::string& address, interpreter_id receiver, guest_word token) override;
  void turn_begins(interpreter& who) noexcept override { ticker_->enter(who); }
  void turn_ends() noexcept override { ticker_->leave(); }
  std::optional<std::uint64_t> seed() const noexcept override { return config_.seed; }
  void turn_flushes() noexcept override {
    if (forked()) leave_child(0); // a guest forked: the child ends with the turn, as there is nobody to go on with
    if (crank_ == nullptr) worker_scope::turn_flushes(); // a crank gives every turn by itself
  }
  bool finalizing() const noexcept override { return finalizing_.load(std::memory_order_relaxed); }
  void request_exit(int status) override;
  void main_done(const error* failure) override;
  void log(log_level level, const interpreter_info& who, std::string_view text) override;
  host::figures stats() const override;
  void survey_references(interpreter_id asker, call_id call) override;
  void ended(const interpreter& who, interpreter_report report) override;

  bool forked() const noexcept { return born_.forked(); }
  /// Nobody destroys it: a thread may come back to it, or this is a forked child, where its threads are not.
  void keep_for_good() noexcept { kept_ = shared_from_this(); }

private:
  using actor_ptr = caf::intrusive_ptr<interpreter_actor>;
  actor_ptr find(interpreter_id id) const;
  /// Why a start record could not be sent, if it could not.
  std::optional<error> start_refused(interpreter_id id, const answer& started);
  result<std::shared_ptr<pending_calls>> pending_of(interpreter_id who) const;
  error takes_no_call(interpreter_id who) const;
  /// Whether there are any.
  bool look_at_flags() noexcept;
  result<interpreter_id> create_as(interpreter_id id, const spawn_options& options, interpreter_id parent);
  /// `listed`: it has entered living_, and leaves its population with that.
  result<void> bear(interpreter_id id, const spawn_options& options, interpreter_id parent,
                    const guest_factory& make_guest, const std::shared_ptr<population>& above, bool& listed);
  std::shared_ptr<const interpreter_config> usual_config() const;
  std::shared_ptr<const interpreter_config> config_of(interpreter_id id, const spawn_options& options,
                                                      const std::shared_ptr<population>& above) const;
  result<std::shared_ptr<population>> enter_population(interpreter_id parent);
  static void leave_population(const interpreter& who);
  void on_stuck(std::size_t threads, bool work_waits);
  void tell_stuck(const stuck_report& what);
  void write_log(log_level level, std::string_view text);

  /// On a worker's thread in a forked child: ends the process.
  void leave_child(int status) noexcept;
  finalization_report lost_report() const;
  void wait_for_report(std::unique_lock<std::mutex>& lock);

  const birthplace born_;
  std::shared_ptr<core> kept_; // itself, for good
  system_config config_;
  waiter* const crank_; // null: CAF's workers and the supervisor's thread
  directory directory_;
  std::unique_ptr<caf::actor_system_config> caf_config_;
  std::unique_ptr<caf::actor_system> caf_;
  caf::strong_actor_ptr alarm_;         // whom CAF's clock tells
  std::optional<spare_workers> spares_; // none with a crank; the ticker's callbacks know it
  bool short_of_spares_ = false;        // the ticker's: it has been told
  std::shared_ptr<host_port> port_;
  caf::intrusive_ptr<host_turn> host_turn_;
  std::optional<supervisor> supervisor_; // none with a crank; from its making on under mutex_

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<interpreter_id, actor_ptr> living_; // under mutex_
  ends ends_;                                            // under mutex_
  std::size_t tell_at_ = ~std::size_t{0};                // under mutex_: tell_of_ends_at
  const std::shared_ptr<population> everybody_;          // counts under mutex_
  std::shared_ptr<const interpreter_config> usual_;      // of those that were born without limits of their own
  bool main_over_ = false;                               // under mutex_
  std::vector<deadlocked_task> deadlock_;                // under mutex_
  std::optional<error> main_failure_;                    // under mutex_
  std::optional<finalization_report> report_;            // under mutex_
  std::optional<time_point> finalize_asked_;             // under mutex_
  bool abandoned_any_ = false;                           // under mutex_
  inbox_ptr net_box_;                                    // under mutex_, set once
  caf::actor net_;                                       // under mutex_
  std::mutex log_mutex_;
  bool log_over_ = false; // under log_mutex_
  std::mutex flags_mutex_;
  std::vector<std::shared_ptr<pending_calls>> flagged_; // under flags_mutex_: whose flags the ticker looks at

  std::atomic<bool> finalizing_{false}; // set under mutex_; relaxed: others may see it a little later
  std::atomic<bool> main_asked_{false};
  std::atomic<int> exit_status_{0};
  std::atomic<bool> exit_status_set_{false};
  std::atomic<std::uint64_t> sockets_{0};
  // Subtracted from with release, behind what was told; the watch's load acquires (awaits_outside).
  std::atomic<std::size_t> sockets_in_use_{0}; // the broker's
  const std::shared_ptr<std::atomic<std::size_t>> connecting_ = std::make_shared<std::atomic<std::size_t>>(0);
  std::unique_ptr<ticker> ticker_; // last: its thread looks at what stands before it
};

} // namespace Atoll
