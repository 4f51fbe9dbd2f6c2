// A channel: items in order between any number of senders and receivers, in interpreters and on host threads.
// Why: what lies between two interpreters without an owner: a stream with a bound, that whoever has work takes from.
// Ownership: counted as memory (channel_ptr); alive while somebody holds a channel_handle (channel_space.hpp).
// Threads: any thread. One lock each, held for a few instructions and never while another thing is called; several are
// taken in the order of ids (channel_wait::decide).
// Invariants: (1) who waits to receive finds no item, and no other party that waits to send: each is taken as it comes.
//             (2) who waits to send finds no room. (3) items come out in the order sent; a sender that waited is behind all
//                 that was in the channel when it came. (4) what leaves without a receiver goes into the aftermath:
//                 nothing that carries credit is thrown away under the lock.
//
//   open --close(): senders are refused--> draining --the last item--> (empty: receivers are told closed)
//     \------------------- destroy(): items dropped ----------------------/
#pragma once

#include "channels/channel_handle.hpp"
#include "channels/channel_wait.hpp"
#include "channels/item_ring.hpp"
#include "channels/spin_mutex.hpp"

namespace Atoll {

class channel_space;

/// What becomes of an item for which there is no room.
enum class full_policy : std::uint8_t {
  block,       // its sender waits
  drop_oldest, // the item that has waited longest makes room
  drop_newest, // it is dropped itself
  fail,        // its sender is told
};
const char* name_of(full_policy policy) noexcept;

struct channel_options {
  static constexpr std::size_t unbounded = ~std::size_t{0};

  std::size_t capacity = 16; // items; 0: a sender waits until a receiver takes its item
  full_policy full = full_policy::block;
  orphan_policy orphans = orphan_policy::keep;
  bool stay_open = false;        // when the last sender has ended
  channel_handle undelivered;    // where items go that nobody will receive; empty: nowhere
  bool owns_undelivered = false; // that one serves this channel alone, and closes with it
};

/// Since the channel was made, but for `items`.
struct channel_figures {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t dropped = 0;  // by drop_oldest, drop_newest, or a forced close
  std::uint64_t refused = 0;  // by full_policy::fail
  std::uint64_t orphaned = 0; // taken out, or made errors, because their sender ended
  std::size_t items = 0;
  std::size_t senders_waiting = 0;
  std::size_t receivers_waiting = 0;
};

/// Who used an end and has not let go of it.
enum class channel_end : std::uint8_t { both, sender, receiver };
struct channel_ends {
  std::vector<interpreter_id> senders;
  std::vector<interpreter_id> receivers;
};

class basic_channel : public boost::intrusive_ref_counter<basic_channel, boost::thread_safe_counter> {
public:
  basic_channel(channel_number id, channel_options options, std::shared_ptr<channel_space> space)
      : id_(id), options_(std::move(options)), space_(std::move(space)) {}

  channel_number id() const noexcept { return id_; }
  const channel_options& options() const noexcept { return options_; }
  channel_space& space() const noexcept { return *space_; }

  /// Sends the item if that can be done at once: done, and the item is empty; else it is as it was.
  /// full: only under full_policy::block and fail.
  channel_status send(channel_item& item, aftermath& after);
  /// The same with what another channel could not deliver: its sender does not become one here, and may be gone.
  channel_status inherit(channel_item& item, aftermath& after);
  /// Receives into an item that has room for item_ring::inline_max bytes.
  channel_status receive(interpreter_id by, channel_item& into, aftermath& after);

  /// No more items; what is there can be received. False: it was closed before.
  bool close(aftermath& after);
  /// What is there is dropped, too. False: it was destroyed before.
  bool destroy(aftermath& after);
  /// The interpreter uses these ends no more. With the last sender the channel closes, unless it is to stay open.
  void release(interpreter_id who, bool sender, bool receiver, aftermath& after);
  /// The interpreter has ended: its items are treated by their policies, its ends are released.
  void leave(interpreter_id who, aftermath& after);

  std::size_t size() const;
  bool is_closed() const;
  /// Whether a send or a receive would be decided now; an estimate, as others go on.
  bool is_ready(bool sends);
  channel_ends ends() const;
  channel_figures figures() const;

private:
  friend class channel_wait;
  friend class channel_handle;
  friend class channel_space;
  enum class state : std::uint8_t { open, draining, destroyed };
  using lock_type = std::lock_guard<spin_mutex>;

  // All with mutex_ held.
  channel_status send_now(channel_item& item, aftermath& after);
  channel_status put(channel_item& item, aftermath& after);
  channel_status receive_now(interpreter_id by, channel_item& into, aftermath& after);
  bool ready(bool sends) noexcept;
  channel_status perform(channel_case& c, interpreter_id by, aftermath& after);
  void wait_here(channel_case& c, interpreter_id who);
  void unlink(channel_case& c) noexcept {
    if (c.linked) (c.sends ? senders_waiting_ : receivers_waiting_).remove(c);
  }
  /// The first that can still be taken, taken out of its list; null: none. Entries of waits taken elsewhere are removed.
  channel_case* take_first(case_list& list, channel_status how, aftermath& after);
  static bool has_open(case_list& list) noexcept;
  void let_senders_in(aftermath& after);
  void drop_items(aftermath& after);
  void wake_all(case_list& list, aftermath& after);
  void close_now(aftermath& after);
  void release_now(interpreter_id who, bool sender, bool receiver, aftermath& after);
  void note(std::vector<interpreter_id>& users, interpreter_id& last, interpreter_id who);

  const channel_number id_;
  const channel_options options_;
  const std::shared_ptr<channel_space> space_;

  mutable spin_mutex mutex_; // all below, but for the counts of holders
  state state_ = state::open;
  interpreter_id last_sender_{~std::uint64_t{0} - 1};   // who is in senders_ for certain
  interpreter_id last_receiver_{~std::uint64_t{0} - 1}; // in receivers_
  item_ring ring_;
  case_list receivers_waiting_;
  case_list senders_waiting_;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t dropped_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t orphaned_ = 0;
  std::vector<interpreter_id> senders_;
  std::vector<interpreter_id> receivers_;

  std::atomic<std::uint32_t> handles_{0}; // channel_space.hpp
  std::uint32_t in_flight_ = 0;           // under the space's mutex: of handles_, those in messages
};

} // namespace Atoll
