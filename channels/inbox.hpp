// An interpreter's incoming queue: any thread pushes envelopes, the owner takes them in its turn.
// Why: Boost.Lockfree's queue, filled in batches, with one wake-up for any number of senders (turn_state).
// Ownership: shared by everyone who ever sent to it; it outlives its interpreter as a closed shell.
// Threads: push(), backlog(), await_room() any thread; take(), handled(), close() the owner's turn.
// Invariants: (1) an envelope pushed is either taken by the owner, or left over after close() and given back to exactly
//                 one of the threads that find it (take_leftover()).
//             (2) envelopes of one sender come out in the order pushed.
//             (3) backlog() counts the messages pushed and not handled; it never drops below 0.
#pragma once

#include <atomic>
#include <boost/lockfree/queue.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <memory>
#include <mutex>
#include <vector>

#include "channels/envelope.hpp"
#include "channels/spin_mutex.hpp"
#include "channels/turn_state.hpp"

namespace Atoll {

/// In a list of what is ready: something the owner waited for.
struct ready_link {
  ready_link* next_ready = nullptr;
};

/// First come, first out. One thread's.
class ready_list {
public:
  bool empty() const noexcept { return first_ == nullptr; }
  void append(ready_link& one) noexcept {
    one.next_ready = nullptr;
    (last_ != nullptr ? last_->next_ready : first_) = &one;
    last_ = &one;
  }
  /// Null: empty.
  ready_link* take() noexcept {
    ready_link* one = first_;
    if (one == nullptr) return nullptr;
    first_ = one->next_ready;
    if (first_ == nullptr) last_ = nullptr;
    return one;
  }

private:
  ready_link* first_ = nullptr;
  ready_link* last_ = nullptr;
};

/// How an inbox gets its owner to run.
class waker {
public:
  /// Any thread. Called once for each turn_state::signalled::schedule.
  virtual void schedule() noexcept = 0;

protected:
  ~waker() = default;
};

/// What is said of an interpreter that ended, to those who ask too late.
struct epitaph {
  std::string name;
  std::string reason = "gone";
  error failure;
};

class inbox : public boost::intrusive_ref_counter<inbox, boost::thread_safe_counter> {
public:
  /// `high_water`: messages waiting above which senders are asked to wait.
  inbox(interpreter_id id, std::size_t high_water) : id_(id), high_water_(static_cast<std::int64_t>(high_water)) {}
  ~inbox();

  interpreter_id id() const noexcept { return id_; }
  /// Once, before the first push.
  void set_waker(waker& w) noexcept { waker_ = &w; }

  /// Hands an envelope over. False when the inbox is closed: the caller then disposes of whatever take_leftover() gives.
  /// Throws bad_alloc, the envelope still the caller's, when the queue has no memory for it.
  [[nodiscard]] bool push(envelope_ptr&& e);
  /// Gives the owner a turn without a message. False when closed.
  bool wake() noexcept;

  /// Any thread: something the owner waited for is there, and it gets a turn. take_ready() answers it once. False: the inbox
  /// is closed, and the caller takes what is there as the owner would, to throw it away.
  bool push_ready(ready_link& one) noexcept;

  bool crowded() const noexcept { return backlog_.load(std::memory_order_relaxed) > high_water_; }
  std::size_t backlog() const noexcept;
  /// Any thread, for a watch: messages handled so far, and who pushed last. What he pushed is handled when as many more are
  /// as backlog() said.
  std::uint64_t handled_so_far() const noexcept { return handled_.load(std::memory_order_relaxed); }
  interpreter_id last_sender() const noexcept { return last_sender_.load(std::memory_order_relaxed); }
  /// Any thread: after this inbox was seen crowded(), `sender` wants a room record. True: there is room already, and
  /// nothing was noted.
  bool await_room(interpreter_id sender);

  // -- the owner's turn --------------------------------------------------------------------------------------------
  turn_state& turn() noexcept { return turn_; }
  const turn_state& turn() const noexcept { return turn_; }
  envelope_ptr take();
  bool has_ready() const noexcept { return ready_.load(std::memory_order_relaxed) != nullptr; }
  /// Adds what was pushed, in the order pushed. After close() any thread.
  void take_ready(ready_list& to) noexcept;
  /// `messages` were handled. Answers the senders that wait for room, when there is room again.
  std::vector<interpreter_id> handled(std::uint32_t messages);

  /// No more envelopes from here on. What is inside is left over.
  void close(epitaph last_words = {}) noexcept {
    last_words_.reset(new (std::nothrow) epitaph(std::move(last_words)));
    turn_.close(); // releases the last words to whoever finds the inbox closed
  }
  /// After close(), any thread.
  const epitaph& last_words() const noexcept { return last_words_ != nullptr ? *last_words_ : no_words(); }
  /// After close(): the senders that wait for room; they are told at once, and find out then.
  std::vector<interpreter_id> take_crowd();
  /// After close(), any thread: an envelope nobody will read, or null.
  envelope_ptr take_leftover() { return take(); }

private:
  const interpreter_id id_;
  const std::int64_t high_water_;
  waker* waker_ = nullptr;
  turn_state turn_;
  // Owner and senders: relaxed counts; the await_room()/handled() pair is seq_cst.
  std::atomic<std::int64_t> backlog_{0};
  std::atomic<bool> crowd_waits_{false};
  std::atomic<std::uint64_t> handled_{0};     // relaxed: the owner's count, an estimate for others
  std::atomic<interpreter_id> last_sender_{}; // relaxed: as good as the moment
  boost::lockfree::queue<envelope*> queue_{1};
  // Newest first. push_ready() releases what it pushes to the acquire of take_ready().
  std::atomic<ready_link*> ready_{nullptr};
  static const epitaph& no_words() noexcept;
  std::unique_ptr<const epitaph> last_words_; // null: not closed, or no memory was left for them
  spin_mutex crowd_mutex_;
  std::vector<interpreter_id> crowd_; // under crowd_mutex_
};

using inbox_ptr = boost::intrusive_ptr<inbox>;

} // namespace Atoll
