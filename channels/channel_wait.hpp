// Somebody who waits on channels: for one receive or send, or for the first of several (select).
// Why: one shape for a Lua task, a coroutine and a host thread; whoever finds it in a channel's list decides it, once.
// Ownership: counted: by its owner, and by the lists of channels through it; from decision to ready() by whoever decided.
// Threads: decide(), withdraw(), finish() its owner; take() and the fields of a case under the lock of the case's channel.
// Invariants: (1) phase goes from open to taken or to withdrawn, once: exactly one case takes effect, or none.
//             (2) whoever takes it holds the lock of the case's channel until the case's result is written; the owner sees
//                 it after ready(), or after withdraw() went through those locks.
//             (3) ready() is called once for each wait that another party took, when no lock is held.
//             (4) a case stands in its channel's list from decide() until it is taken or unlinked, never longer than its owner
//                 keeps the wait.
//
// A wait, in order:
//   1. the owner adds cases and calls decide(): it locks all channels involved, in the order of their ids, and takes one of
//      the cases that are ready, each with the same chance; then it is over;
//   2. otherwise every case enters its channel's list, and the locks are let go of;
//   3. a party that brings what a case waits for finds it there, under that channel's lock, takes it and fills it in;
//   4. ready() tells the owner, which calls finish(): the other cases leave their lists. Entries of a taken wait that
//      others find meanwhile are passed over;
//   5. or the owner gives up: withdraw(). False: it was taken already, and counts.
#pragma once

#include <boost/container/small_vector.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include "channels/channel_handle.hpp"
#include "channels/inbox.hpp"
#include "channels/item.hpp"

namespace Atoll {

class basic_channel;
class channel_wait;
using channel_wait_ptr = boost::intrusive_ptr<channel_wait>;

/// How an operation on a channel went.
enum class channel_status : std::uint8_t {
  done,
  full,     // nothing was sent: no room, and nobody receives
  empty,    // nothing was received
  closed,   // nothing was sent, or nothing is left to receive
  orphaned, // an item was received whose sender is gone, under orphan_policy::error
  dropped,  // nothing was sent: full_policy::drop_newest threw the new item away
  no_memory // nothing was sent
};
const char* name_of(channel_status status) noexcept;

/// What an operation leaves to be done when no lock is held: parties to tell, items that nobody will receive.
/// Whoever makes one hands it to channel_space::settle(), or takes out both by hand.
struct aftermath {
  struct undelivered {
    channel_item item;
    channel_ptr from;
  };
  aftermath() = default;
  aftermath(const aftermath&) = delete;
  aftermath& operator=(const aftermath&) = delete;

  ready_list woken; // of channel_wait, each with one count
  std::vector<undelivered> dropped;

  bool empty() const noexcept { return woken.empty() && dropped.empty(); }
};

/// One thing that is waited for. In the list of its channel while `linked`.
struct channel_case {
  channel_case(channel_ptr c, bool s) noexcept : where(std::move(c)), sends(s) {}
  channel_ptr where;
  bool sends;
  channel_item item; // what is to be sent, or what was received
  channel_wait* wait = nullptr;
  channel_case* previous = nullptr;
  channel_case* next = nullptr;
  bool linked = false;
};

/// The cases that wait in a channel, first come first. Under the channel's lock.
class case_list {
public:
  bool empty() const noexcept { return first_ == nullptr; }
  channel_case* first() const noexcept { return first_; }
  void append(channel_case& c) noexcept;
  void remove(channel_case& c) noexcept;

private:
  channel_case* first_ = nullptr;
  channel_case* last_ = nullptr;
};

class channel_wait : public ready_link, public boost::intrusive_ref_counter<channel_wait, boost::thread_safe_counter> {
public:
  /// `owner`: who sends and receives here.
  explicit channel_wait(interpreter_id owner) noexcept : owner_(owner) {}
  virtual ~channel_wait() = default;

  /// Before decide(). A send's item is written into the case.
  channel_case& add(channel_ptr where, bool sends);
  std::size_t size() const noexcept { return cases_.size(); }
  channel_case& at(std::size_t i) noexcept { return cases_[i]; }

  /// Steps 1 and 2. True: decided. `random` chooses among the ready; with `patient` false it never waits, and when nothing
  /// is ready the answer is false.
  bool decide(std::uint64_t random, bool patient, aftermath& after);
  /// Step 5. True: nothing has happened, and nothing will; also when it is called again.
  bool withdraw() noexcept;
  /// Step 4: after ready().
  void finish() noexcept;
  /// For another use.
  void reset() noexcept;

  // The decision: which case, and how it went.
  std::size_t fired() const noexcept { return fired_; }
  channel_status status() const noexcept { return status_; }
  channel_case& fired_case() noexcept { return cases_[fired_]; }
  bool is_open() const noexcept { return phase_.load(std::memory_order_relaxed) == phase::open; }

  /// Any thread: it was taken.
  virtual void ready() noexcept = 0;

private:
  friend class basic_channel;
  enum class phase : std::uint32_t { idle, open, taken, withdrawn };

  /// Whoever holds the lock of a case's channel: makes it the one that takes effect. False: too late.
  bool take() noexcept {
    phase expected = phase::open;
    // acq_rel: against a taker under another channel's lock, and against withdraw().
    return phase_.compare_exchange_strong(expected, phase::taken, std::memory_order_acq_rel);
  }
  void decided(std::size_t which, channel_status how) noexcept {
    fired_ = which;
    status_ = how;
  }
  void decided(const channel_case& which, channel_status how) noexcept {
    decided(static_cast<std::size_t>(&which - cases_.data()), how);
  }
  class locks;
  bool look(std::uint64_t& random, aftermath& after);
  void unlink_all() noexcept;

  const interpreter_id owner_;
  std::atomic<phase> phase_{phase::idle};
  boost::container::small_vector<channel_case, 1> cases_;
  std::size_t fired_ = 0;
  channel_status status_ = channel_status::empty;
};

} // namespace Atoll
