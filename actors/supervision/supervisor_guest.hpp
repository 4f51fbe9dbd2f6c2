// A supervisor: an interpreter whose program is to start others, watch them, and start them again.
// Why an interpreter of its own: it is its children's parent, so that whatever ends it ends them; others call it as any; and
// a tree of them is nothing more than children of this language. Written against host alone.
// Ownership: the shell's guest.
// Threads: owner only.
// Invariants: (1) one thing at a time: while children are being started or stopped (plan_), ends and requests wait their
//                 turn (events_). Only the end of the supervisor itself does not wait.
//             (2) a child that is to be started again has ended: its name is free.
//             (3) once the runtime is being finalized nothing is started, stopped or counted any more.
//
// A child that ended unasked:
//   1. temporary: it is forgotten. Transient and in order: it stays stopped. Else:
//   2. it is counted (restart_window). One too many: give_up().
//   3. the strategy says who is stopped, the last one first, and who is started, the first one first (plan_);
//   4. a start that fails is an end again: back to 2. A name that a dying descendant of the former child still has is
//      waited for, up to `name_patience`.
//
// The end of a supervisor: whatever is under way is dropped; children that live stop, the last one first, each within its
// time; then a first start that failed is answered (start()), or the exit handlers are done, or it fails (give_up).
#pragma once

#include <deque>
#include <functional>
#include <unordered_map>

#include "actors/supervision/kept_references.hpp"
#include "actors/supervision/restart_window.hpp"
#include "actors/supervision/supervisor_options.hpp"
#include "runtime/guest.hpp"

namespace Atoll {

std::unique_ptr<guest> make_supervisor_guest(host& outside);

class supervisor_guest final : public guest {
public:
  explicit supervisor_guest(host& outside) : out_(outside), references_(outside) {}
  ~supervisor_guest() override { close(); }

  void start(request_id request, const source& from, wire_reader args) override;
  void deliver(const incoming& message) override;
  void resume(guest_word token, const outcome& what) override;
  bool run_ready() override { return false; }
  void drop(guest_word) override {}
  std::string describe(guest_word) override { return "object"; }
  bool waiting() const override { return false; }
  std::size_t tasks() const override { return plan_.size() + events_.size(); }
  void run_exit_handlers() override;
  bool stops_children() const noexcept override { return true; }
  void interrupt(errc code) override;
  void drop_imports() override { references_.drop_imports(); }
  void close() override;
  void tick() noexcept override {}

private:
  /// How long a name may be taken by what a killed child leaves behind.
  static constexpr std::chrono::milliseconds name_patience{1000};
  static constexpr std::chrono::milliseconds name_pause{5};

  struct child {
    child_options options;
    std::uint64_t serial = 0; // of this incarnation: its words
    interpreter_id id{};      // 0: it does not live
    run_state state = run_state::gone;
    std::size_t restarts = 0;
    std::string reason;   // of the last end
    error failure;        // the same
    bool fell = false;    // it ended unasked, and that was not looked at yet
    bool by_hand = false; // it was stopped by request: others' restarts leave it alone
    bool again = false;   // it has lived before
    time_point started{}; // when its name was first tried
  };
  using child_ptr = std::shared_ptr<child>;
  /// What a token of ours says.
  enum class word : std::uint8_t { started, down, name_free };
  struct step {
    bool start = false; // or stop
    child_ptr whom;
  };
  struct demand {
    request_id number = no_request;
    std::string name;
    std::vector<value> args;
  };
  struct event {
    child_ptr fell; // or a request
    demand asked;
  };

  // The plan, and what comes after it.
  void go_on();
  void take_step();
  void begin_start(const child_ptr& c);
  void begin_stop(const child_ptr& c);
  void start_failed(const child_ptr& c, error why);
  void step_done();
  void plan_stop(std::size_t from, std::size_t to);
  void plan_start(std::size_t from, std::size_t to);
  void stop_all(std::function<void()> then);
  void begin_ending();
  void freeze();
  void shut_down();

  // Ends.
  void ended(const child_ptr& c, const outcome& o);
  void look_at_end(const child_ptr& c);
  void restart(const child_ptr& c, const error& why, std::string_view how);
  void give_up(const child& c, const error& why, std::string_view how);
  void forget(const child_ptr& c);

  // Requests.
  void begin_request(demand r);
  void start_child(demand r);
  void stop_child(demand r);
  void restart_child(demand r);
  void delete_child(demand r);
  void run_by_hand(const child_ptr& c, request_id number, bool new_one);
  result<child_ptr> child_of(const demand& r) const;
  void answer(request_id number, std::vector<value> values);
  void refuse(request_id number, error why);
  void refuse(request_id number, errc code, std::string why);
  value listing() const;

  guest_word token(const child& c, word w) const noexcept { return c.serial << 2U | static_cast<guest_word>(w); }
  std::size_t position(const child_ptr& c) const;
  std::string text_of(const child& c) const;
  std::string own_text() const { return number_and_name(out_.id(), out_.name()); }

  host& out_;
  kept_references references_;
  supervisor_options options_; // but for the children, which are below
  restart_window window_{0, std::chrono::milliseconds(1)};
  std::vector<child_ptr> children_;                           // in the order of their start
  std::unordered_map<std::uint64_t, child_ptr> incarnations_; // by serial, the living
  std::uint64_t last_serial_ = 0;
  request_id start_request_ = no_request;

  std::deque<step> plan_;
  child_ptr at_;                                            // whose start or end the plan waits for
  std::function<void()> done_;                              // once the plan is through
  std::function<void(const child_ptr&, error)> on_failure_; // a start of the plan failed
  std::deque<event> events_;
  bool stepping_ = false;
  bool ending_ = false;  // the end of the supervisor: no more events
  bool exiting_ = false; // run_exit_handlers() waits for the children
};

} // namespace Atoll
