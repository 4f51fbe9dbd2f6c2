// An interpreter's side of its channels: what it sends and receives with, what it waits for, whom it wakes.
// Why: a party that is woken in the middle of a turn would run beside it, on another core, and the two would fight for the
// channel's lock after every item. So who is woken is told at the end of the turn, as with messages, and then often runs next
// on the same thread; or after `patience`, so that a long turn does not keep it waiting.
// Ownership: part of the shell; it outlives the guest.
// Threads: owner only, in its turn; has_woken() a signal handler on that thread too.
// Invariants: (1) after flush() nobody who was woken waits to be told. (2) every wait made here is ended by its guest, by
//                 fail_all() or by close(). (3) the channels in which this interpreter is an end are among used_.
#pragma once

#include <array>
#include <functional>
#include <unordered_set>

#include "channels/channel_space.hpp"

namespace Atoll {

/// A wait of a guest, which resumes under its token.
class guest_wait final : public channel_wait {
public:
  guest_wait(interpreter_id owner, inbox_ptr box) noexcept : channel_wait(owner), box_(std::move(box)) {}

  /// The count of whoever took it becomes the inbox's.
  void ready() noexcept override;

private:
  friend class channel_desk;
  const inbox_ptr box_;
  guest_word token_ = 0;
  std::size_t index_ = ~std::size_t{0}; // in channel_desk::waits_; all ones: in none
};

class channel_desk {
public:
  channel_desk(interpreter_id who, inbox_ptr box, std::shared_ptr<channel_space> space)
      : who_(who), box_(std::move(box)), space_(std::move(space)) {}
  ~channel_desk();
  channel_desk(const channel_desk&) = delete;
  channel_desk& operator=(const channel_desk&) = delete;

  channel_space& space() noexcept { return *space_; }

  // -- at once -------------------------------------------------------------------------------------------------------
  /// What the next send() sends; it is empty again after done. What could not be sent is still here: the caller gives back
  /// what it carries.
  channel_item& outgoing() noexcept { return outgoing_; }
  channel_status send(basic_channel& to) { return send(to, to.options().orphans); }
  /// With another orphan policy than the channel's.
  channel_status send(basic_channel& to, orphan_policy orphans);
  /// Throws bad_alloc, with nothing received.
  channel_status receive(basic_channel& from);
  /// What the last receive() brought; good until the next.
  wire_reader received() noexcept { return received_.bytes.reader(); }
  channel_item& received_item() noexcept { return received_; }

  bool close(basic_channel& c);
  bool destroy(basic_channel& c);
  void release(basic_channel& c, bool sender, bool receiver);

  // -- waits ---------------------------------------------------------------------------------------------------------
  /// A wait whose end comes as guest::resume(token, channel).
  boost::intrusive_ptr<guest_wait> make_wait();
  /// True: decided at once, and nothing comes. `random` chooses among several that are ready.
  bool decide(guest_wait& w, guest_word token, std::uint64_t random, bool patient = true);
  /// The guest waits no more. True: nothing happened. False: it was decided, and counts; resume() may still come.
  bool withdraw(guest_wait& w) noexcept;
  /// It was decided and resume() came: it leaves the other channels' lists.
  void finish(guest_wait& w) noexcept;
  /// The guest has read the result: the wait may serve again.
  void recycle(boost::intrusive_ptr<guest_wait> w) noexcept;
  /// Begun, and neither withdrawn nor finished.
  static bool is_waiting(const guest_wait& w) noexcept { return w.index_ != gone; }
  std::size_t waits() const noexcept { return waits_.size(); }

  // -- the shell -----------------------------------------------------------------------------------------------------
  /// Calls resume(token) for what became ready, in order, until `more` says no. True: some are left.
  template <class More, class Resume>
  bool take_ready(More&& more, Resume&& resume) {
    box_->take_ready(ready_);
    while (!ready_.empty() && more()) {
      auto* w = static_cast<guest_wait*>(ready_.take());
      const bool waits = w->index_ != gone; // otherwise its guest has seen it already
      const guest_word token = w->token_;
      intrusive_ptr_release(w);
      if (waits) resume(token);
    }
    return !ready_.empty();
  }
  bool has_ready() const noexcept { return !ready_.empty() || box_->has_ready(); }
  /// Tells everybody who was woken.
  void flush() noexcept;
  bool has_woken() const noexcept { return woken_since_.load(std::memory_order_relaxed) != 0; }
  /// Gives up every wait that is still open; answers their tokens.
  std::vector<guest_word> withdraw_all();
  /// The interpreter's end: its waits are over, its items are orphans.
  void close();
  /// After the inbox was closed.
  static void drop_ready(inbox& closed) noexcept;

private:
  static constexpr std::size_t gone = ~std::size_t{0};
  static constexpr std::size_t spare_max = 16;

  void settle(aftermath& after);
  void note_use(channel_number id) {
    if (recent_[id % recent_.size()] == id) [[likely]]
      return;
    recent_[id % recent_.size()] = id;
    use(id);
  }
  void use(channel_number id);
  void forget(guest_wait& w) noexcept;

  const interpreter_id who_;
  const inbox_ptr box_;
  const std::shared_ptr<channel_space> space_;
  channel_item outgoing_;
  channel_item received_;
  std::vector<boost::intrusive_ptr<guest_wait>> waits_; // not finished
  std::vector<boost::intrusive_ptr<guest_wait>> spare_; // at most spare_max, for which make_wait() reserves
  ready_list ready_;                                    // ours, told, and not resumed yet; each with one count
  ready_list woken_;                                    // others', not told yet; each with one count
  // When the first of woken_ was woken; 0: none. Relaxed: a signal handler on this thread looks at it.
  std::atomic<std::uint64_t> woken_since_{0};
  std::array<channel_number, 8> recent_{}; // in used_ for certain
  std::unordered_set<channel_number> used_;
  std::size_t used_kept_ = 64; // beyond it, those of dead channels are thrown away
};

} // namespace Atoll
