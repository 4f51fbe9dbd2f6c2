// The pending calls of one interpreter: what any thread has asked to run in one of its turns.
// Why: beside the inbox, not in it: it has a bound of its own, closes before the guest does, and whoever closes it has
// what did not run. Messages pay nothing for that.
// Ownership: the shell's, shared with threads that add.
// Threads: next(), failed() the owner's turn; everything else any thread.
// Invariants: (1) accepted = started + refused + waiting, at any time. (2) after close() nothing is accepted.
//             (3) calls start in the order they were accepted in.
#pragma once

#include <list>
#include <mutex>
#include <optional>
#include <vector>

#include "actors/shell/pending_flag.hpp"
#include "channels/inbox.hpp"
#include "channels/on_demand.hpp"

namespace Atoll {

using pending_function = std::function<void(host&)>;

class pending_calls {
public:
  enum class answer : std::uint8_t { accepted, full, closed };
  struct figures {
    std::uint64_t started = 0;
    std::uint64_t failed = 0;
    std::uint64_t refused = 0; // accepted, and given up when the interpreter ended
  };

  /// `limit`: calls that wait at a time. `box` wakes the owner.
  pending_calls(inbox_ptr box, std::size_t limit) : box_(std::move(box)), limit_(limit) {}

  /// Takes `call` if it accepts it, and wakes the owner. Throws bad_alloc, then nothing was accepted.
  answer add(pending_function& call);
  std::size_t limit() const noexcept { return limit_; }

  /// A flag that runs `call` when it is raised; nothing when closed.
  std::optional<pending_flag> make_flag(pending_function call);
  /// The ticker: accepts the calls of raised flags; those that find no room stay raised. False: there are no flags, or no
  /// more: closed.
  bool look_at_flags() noexcept;

  // -- the owner's turn --------------------------------------------------------------------------------------------
  /// How many wait. Cheap, also in a signal handler.
  std::size_t waiting() const noexcept { return waiting_.load(std::memory_order_relaxed); }
  /// The oldest, which counts as started.
  std::optional<pending_function> next();
  void failed();

  // -- the end -----------------------------------------------------------------------------------------------------
  /// Nothing is accepted from here on. Flags raised by now are, whatever the bound. What waits can still be started.
  void close() noexcept;
  /// Gives up what waits; answers how many.
  std::size_t refuse_rest();
  figures count() const;
  /// "a pending call", "3 pending calls".
  static std::string text(std::size_t calls);

private:
  void accept_raised(std::size_t limit);
  void note_waiting() noexcept {
    // relaxed: the owner is woken behind it (turn_state); its own signal handler may look too late by one tick.
    waiting_.store(held_->queue.size(), std::memory_order_relaxed);
  }

  const inbox_ptr box_;
  const std::size_t limit_;
  mutable std::mutex mutex_;
  struct contents {
    std::list<pending_function> queue; // not a deque, which takes memory when it is made, in refuse_rest() too
    std::vector<std::shared_ptr<pending_flag::state>> flags;
    figures counts;
  };
  on_demand<contents> held_;            // under mutex_
  bool closed_ = false;                 // under mutex_
  std::atomic<std::size_t> waiting_{0}; // how many are in the queue, written under mutex_
};

} // namespace Atoll
