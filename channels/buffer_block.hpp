// One block of shared memory: its bytes, who holds them, and who looks at them right now.
// Why: an owner may end while another thread copies out of its block. So the bytes have a count of their own, of those
// who are in the middle of a copy, and whoever comes last frees them; no lock is taken for a copy.
// Ownership: itself. The last hold gives the bytes to their owner to free (channels/buffer_space.hpp).
// Threads: any thread; what the space's mutex guards is marked.
// Invariants: (1) bytes are freed once: by end(), or by the last unpin() after it. (2) never while pinned; after end()
//                 nobody pins. (3) a hold is another's handle, an occurrence in a message, or a tenure: all handles of an
//                 owner together. No hold is made of none. (4) the block itself, without bytes, lasts as long as any handle:
//                 holds have one reference together, each tenure one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "runtime/ids.hpp"

namespace Atoll {

class buffer_account;
class buffer_space;

/// One ownership of a block: all handles of the owner, which a move ends together.
struct buffer_tenure {
  std::atomic<std::uint64_t> handles{1}; // up relaxed, down acq_rel: whoever ends the tenure comes after all of them
  // The block is on its way, or was moved. Written under the mutex. Relaxed: who moved it knows, and who hears that the
  // move failed hears it by a message.
  std::atomic<bool> moved{false};
  /// False: its last handle is gone.
  [[nodiscard]] bool try_add_handle() noexcept {
    std::uint64_t seen = handles.load(std::memory_order_relaxed);
    while (seen != 0)
      if (handles.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed)) return true;
    return false;
  }
  bool over = false; // under the space's mutex: it has no hold any more
};

/// Zeroed memory of the system's. A page that nobody writes to costs nothing.
class block_bytes {
public:
  block_bytes() = default;
  /// Empty when the system has no memory.
  explicit block_bytes(std::size_t size) noexcept;
  block_bytes(block_bytes&& other) noexcept;
  block_bytes& operator=(block_bytes&& other) noexcept;
  ~block_bytes();

  char* data() const noexcept { return data_; }

private:
  char* data_ = nullptr;
  std::size_t size_ = 0;
};

class buffer_block {
public:
  buffer_block(std::shared_ptr<buffer_space> space, std::uint64_t id, std::size_t size, block_bytes bytes);
  buffer_block(const buffer_block&) = delete;
  buffer_block& operator=(const buffer_block&) = delete;

  std::uint64_t id() const noexcept { return id_; }
  std::size_t size() const noexcept { return size_; }
  /// While pinned.
  char* data() const noexcept { return bytes_.data(); }
  const std::shared_ptr<buffer_space>& space() const noexcept { return space_; }

  /// False: the owner has ended, and the bytes with it.
  bool pin() noexcept {
    std::uint64_t seen = state_.load(std::memory_order_relaxed);
    // acquire: nothing of the copy that follows moves before the pin.
    do {
      if ((seen & ended) != 0) return false;
    } while (!state_.compare_exchange_weak(seen, seen + one_pin, std::memory_order_acquire, std::memory_order_relaxed));
    return true;
  }
  void unpin() noexcept {
    // release: the copy is over before the pin is; acquire: the last one, who frees, comes after all other copies.
    if (state_.fetch_sub(one_pin, std::memory_order_acq_rel) == (one_pin | ended)) bytes_ = {};
  }
  /// Its owner's end, once. The bytes, if nobody looks at them; otherwise the last who does frees them.
  block_bytes end() noexcept {
    // acq_rel: as in unpin(), with which it decides who frees.
    return state_.fetch_or(ended, std::memory_order_acq_rel) == 0 ? std::move(bytes_) : block_bytes();
  }
  /// acquire: with end(), so that whose it was can be read without the mutex.
  bool has_ended() const noexcept { return (state_.load(std::memory_order_acquire) & ended) != 0; }

  /// By somebody who has a hold.
  void add_hold() noexcept { holds_.fetch_add(1, std::memory_order_relaxed); }
  /// By an owner's handle, whose tenure may end meanwhile. False: there is no hold any more.
  [[nodiscard]] bool try_add_hold() noexcept {
    std::uint64_t seen = holds_.load(std::memory_order_relaxed);
    while (seen != 0)
      if (holds_.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed)) return true;
    return false;
  }
  /// True: it was the last one. acq_rel: what follows comes after all who held it.
  [[nodiscard]] bool drop_hold() noexcept { return holds_.fetch_sub(1, std::memory_order_acq_rel) == 1; }
  void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  /// acq_rel: whoever destroys the block comes after all others.
  void drop_reference() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

private:
  ~buffer_block() = default; // drop_reference()
  friend class buffer_account;
  friend class buffer_space;
  friend class buffer;
  static constexpr std::uint64_t ended = 1;
  static constexpr std::uint64_t one_pin = 2;

  const std::shared_ptr<buffer_space> space_;
  const std::uint64_t id_;
  const std::size_t size_;
  block_bytes bytes_;

  std::atomic<std::uint64_t> holds_{1};
  std::atomic<std::uint64_t> references_{1}; // one for all holds
  std::atomic<std::uint64_t> state_{0};      // pins, and whether it has ended
  // Occurrences in messages. Up by a sender; down under the mutex. Relaxed: the message orders the two.
  std::atomic<std::uint64_t> in_flight_{0};

  // Under the space's mutex.
  buffer_account* owner_ = nullptr; // null: ended, or ended while the block was on its way to another
  interpreter_id owner_id_{};       // the owner's, or the last one's
  std::shared_ptr<const std::string> owner_text_;
  buffer_tenure* tenure_ = nullptr;  // null: the owner has no handle
  bool moving_ = false;              // on its way to another owner
  buffer_block* previous_ = nullptr; // in the owner's list
  buffer_block* next_ = nullptr;
};

} // namespace Atoll
