// All shared memory of a runtime: blocks by number, and what each owner has of it.
// Why: a message carries a number and never a pointer, so bad bytes are an error and no crash. Who owns a block, and what
// becomes of it, is decided in one place, under one lock; reading and writing take none (buffer_block.hpp).
// Ownership: the directory's, shared with its blocks: handles may outlive the runtime. An account is its owner's.
// Threads: the space any thread; an account its owner's turn (the host program's: under its lock).
// Invariants: (1) ids are never reused. (2) a block's in_flight_ is the number of its occurrences in messages.
//             (3) a block whose last hold is gone has an owner, in whose turn it is freed, or is freed there and then.
//             (4) a block is charged to one heap: its owner's, or while it is on its way the former one's.
//             (5) the mutex is held while no other is taken, no inbox is woken, and no bytes are freed.
//
// A block's life:
//   1. make() charges the owner's heap and gives the first handle of a tenure.
//   2. buffer::put() counts an occurrence in a message; receive() makes it a handle, give_back() throws it away.
//   3. The last hold: the block joins the owner's list of returned blocks and the owner is woken (a wake-up alone: nothing is
//      allocated, so it cannot fail); settle(), in the owner's turn, frees it and gives the charge back.
//   4. A move: put() notes that the block is on its way; receive() charges the new owner, ends the old one's tenure and
//      tells it to give its charge back. Refused or unread, it is as it was: the old owner owns it still.
//   5. The owner's end(): its blocks end with it. Their bytes are freed at once, or by the last who is in the middle of a
//      copy; what is on its way to another owner is left alone. The last hold of an ended block forgets it.
#pragma once

#include <mutex>
#include <unordered_map>

#include "channels/buffer.hpp"
#include "channels/fork.hpp"
#include "channels/gate.hpp"
#include "channels/inbox.hpp"
#include "runtime/heap.hpp"

namespace Atoll {

class buffer_space : public std::enable_shared_from_this<buffer_space> {
public:
  explicit buffer_space(std::shared_ptr<gate> inside) noexcept : inside_(std::move(inside)) {}
  buffer_space(const buffer_space&) = delete;
  buffer_space& operator=(const buffer_space&) = delete;

  /// An occurrence in a message that nobody will read.
  void give_back(const wire_slice& s) noexcept;

  /// At the runtime's end: what messages held that were lost for want of memory is given back.
  void drop_lost() noexcept;

  /// Blocks that somebody holds or that wait to be freed, and occurrences in messages: for figures and audits.
  std::size_t blocks() const;
  std::uint64_t in_flight() const;

private:
  friend class buffer;
  friend class buffer_account;

  result<void> put(const buffer& b, wire_writer& w);
  bool begin_move(const buffer& b) noexcept;
  void last_released(buffer_block& block, buffer_account* by) noexcept;
  void last_of_tenure(buffer_block& block, buffer_tenure& tenure, buffer_account* by) noexcept;
  std::string owner_of(const buffer_block& block) const;
  // With the mutex held.
  buffer_block* take_off(const wire_slice& s) noexcept;
  block_bytes undo_move(buffer_block& block) noexcept;

  const std::shared_ptr<gate> inside_;
  const birthplace born_; // in a forked child the mutex may be held for ever: it is left alone
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, buffer_block*> blocks_; // under mutex_
  std::uint64_t last_id_ = 0;                               // under mutex_
};

/// What an interpreter or the host program owns, and how buffers come to it.
class buffer_account {
public:
  /// `memory` is charged for what it owns; null: nobody counts. `box` is woken when there is something to settle().
  buffer_account(std::shared_ptr<buffer_space> space, interpreter_id who, std::string_view name, heap* memory,
                 inbox_ptr box);
  ~buffer_account() { end(); }
  buffer_account(const buffer_account&) = delete;
  buffer_account& operator=(const buffer_account&) = delete;

  /// Zeroed. out_of_memory over the heap's limit, or when the system has none.
  result<buffer> make(std::size_t bytes);
  /// What stood in a message; when this fails, the occurrence has been given back. bad_message: bytes that are none;
  /// out_of_memory: a block that was to be this one's and does not fit its limit. It is still the sender's then.
  result<buffer> receive(const wire_slice& s);
  /// Ends a handle; a block of one's own that nobody holds any more is freed at once.
  void drop(buffer b) noexcept;

  /// Any thread.
  bool has_news() const noexcept { return news_.load(std::memory_order_relaxed); }
  /// Frees the blocks that came back, and gives back the charge of those that went to others.
  void settle() noexcept;
  /// The owner's end, before its heap's.
  void end() noexcept;

  /// Blocks that are this one's.
  std::size_t owned() const;

private:
  friend class buffer_space;
  struct list {
    buffer_block* first = nullptr;
    std::size_t size = 0;
    void push(buffer_block& b) noexcept;
    void remove(buffer_block& b) noexcept;
    buffer_block* pop() noexcept;
  };
  result<buffer> enter(std::size_t size);
  buffer_block* take_returned() noexcept;
  static void begin_tenure(buffer_block& block, std::unique_ptr<buffer_tenure> tenure) noexcept;
  static void become_own(buffer& hold, std::unique_ptr<buffer_tenure> fresh) noexcept;
  result<void> take_over(buffer_block& block, inbox_ptr& former);

  const std::shared_ptr<buffer_space> space_;
  const interpreter_id id_;
  const std::shared_ptr<const std::string> text_;
  heap* memory_;
  const inbox_ptr box_;
  bool ended_ = false;
  // Set under the mutex; relaxed: the inbox's signal after it gives the owner a turn that sees it.
  std::atomic<bool> news_{false};

  // Under the space's mutex.
  list owned_;
  list returned_;
  std::size_t moved_away_ = 0; // bytes whose charge is to be given back
};

} // namespace Atoll
