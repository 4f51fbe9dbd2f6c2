// All channels of a runtime, by id.
// Why: a channel crosses as a number; who reads it finds the same channel, and a number that lies finds nothing.
// Ownership: the directory's, shared with every channel, so that handles may outlive the runtime.
// Threads: any thread.
// Invariants: (1) a channel is in the table while it has handles; a handle in a message counts (in_flight_).
//             (2) take() answers a handle only for one that hold() put into a message: bad bytes cannot make one.
//             (3) a channel whose last handle is gone gives back what is in it.
//             (4) after close_all() every channel is destroyed, and none is made; after seal() nothing here uses the
//                 directory, whatever handles are still about.
#pragma once

#include <mutex>
#include <unordered_map>

#include "channels/basic_channel.hpp"
#include "channels/fork.hpp"
#include "channels/gate.hpp"

namespace Atoll {

class buffer_space;
class directory;

/// A channel that held items when the runtime ended.
struct channel_leftover {
  channel_number id = 0;
  std::size_t items = 0;
  std::vector<interpreter_id> senders;
};

class channel_space : public std::enable_shared_from_this<channel_space> {
public:
  channel_space(directory& where, std::shared_ptr<buffer_space> buffers, std::shared_ptr<gate> inside) noexcept
      : where_(&where), buffers_(std::move(buffers)), inside_(std::move(inside)) {}

  /// invalid_argument: drop_oldest without room for an item. not_shareable: an heir of another runtime. runtime_finalizing: after close_all().
  result<channel_handle> make(channel_options options);
  /// Empty: no such channel (any more).
  channel_handle find(channel_number id) const;
  std::size_t size() const;
  /// In a forked child nothing here is to be touched: a lock may be held for ever.
  bool forked() const noexcept { return born_.forked(); }
  /// close_all() has begun.
  bool is_closed() const;

  // A channel in a message: a handle goes in, and comes out once, or is dropped with the message.
  void hold(const channel_handle& channel);
  /// Empty: no message carries it.
  channel_handle take(channel_number id);
  void drop_held(channel_number id) { take(id); }

  /// Ends what an operation left: tells who was woken, gives items that nobody received to the channel that wants them, or
  /// their credit home. No lock is held.
  void settle(aftermath& after);
  /// The second half of it.
  void give_up(std::vector<aftermath::undelivered>&& dropped);

  /// Every channel is destroyed; answers those that held items.
  std::vector<channel_leftover> close_all();
  /// Returns when no other thread uses the directory from here any more.
  void seal() noexcept;

private:
  friend class channel_handle;
  void retire(channel_ptr channel) noexcept;
  void end(basic_channel& channel);
  void dispose(item_bytes& bytes);

  const birthplace born_;
  mutable std::mutex mutex_;
  std::unordered_map<channel_number, basic_channel*> living_; // under mutex_
  channel_number last_id_ = 0;                                // under mutex_
  bool closed_ = false;                                       // under mutex_

  directory* const where_; // used inside the gate alone
  const std::shared_ptr<buffer_space> buffers_;
  const std::shared_ptr<gate> inside_;
};

} // namespace Atoll
