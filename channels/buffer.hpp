// Shared memory as everybody holds it: a handle to a part of a block.
// Why: messages copy; what is too large for that is shared instead. One interpreter owns the block (its heap is charged,
// and when it ends the bytes go), any number of others hold handles and see the same bytes.
// Ownership: a handle is a hold, or part of its owner's (buffer_block.hpp). The last hold gives the block back to its owner (buffer_space.hpp).
// Threads: any thread; one handle by one thread at a time. Nothing orders two who touch the same bytes at once: whoever
// writes says so in a message, or others may see half of it.
// Invariants: (1) offset + size lie inside the block. (2) a handle made by the owner is good for one ownership (tenure):
//                 once the block has been handed over it answers buffer_moved, and keeps no memory.
#pragma once

#include <cstring>
#include <string_view>
#include <utility>

#include "channels/buffer_block.hpp"
#include "runtime/errors.hpp"
#include "runtime/value_cast.hpp"
#include "runtime/wire.hpp"

namespace Atoll {

class buffer_view;
class writable_buffer_view;

class buffer {
public:
  buffer() = default;
  buffer(const buffer& other) noexcept : block_(other.block_), tenure_(other.tenure_), part_(other.part_) {
    if (tenure_ != nullptr)
      tenure_->handles.fetch_add(1, std::memory_order_relaxed);
    else if (block_ != nullptr)
      block_->add_hold();
  }
  buffer(buffer&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)),
        tenure_(std::exchange(other.tenure_, nullptr)),
        part_(other.part_) {}
  buffer& operator=(buffer other) noexcept {
    std::swap(block_, other.block_);
    std::swap(tenure_, other.tenure_);
    std::swap(part_, other.part_);
    return *this;
  }
  ~buffer() { release(nullptr); }

  explicit operator bool() const noexcept { return block_ != nullptr; }
  std::size_t size() const noexcept { return part_.length; }
  bool writable() const noexcept { return part_.writable; }
  /// Of the block: never used twice in a runtime.
  std::uint64_t id() const noexcept { return block_ != nullptr ? block_->id() : 0; }

  /// The bytes, which stay where they are as long as the view does, also if their owner ends. Keep it for a copy, no
  /// longer. interpreter_gone, buffer_moved, runtime_finalized, forked; read_only.
  result<buffer_view> look() const;
  result<writable_buffer_view> edit() const;
  /// Why look() would fail, if it would.
  result<void> usable() const;

  /// A part of this one; it keeps the whole block. invalid_argument: out of range, which counts from 0.
  result<buffer> slice(std::size_t offset, std::size_t bytes) const;
  /// The same bytes, for reading only.
  buffer read_only() const;
  /// A handle that hands the block over when it is sent: the receiver owns it then, and the sender's handles answer
  /// buffer_moved. A move that nobody receives, or that the receiver's limit refuses, never happened. Whole, writable buffers
  /// of one's own only.
  result<buffer> hand_over() const;
  bool hands_over() const noexcept { return part_.moved; }

  /// Writes it into a message, or says why it cannot cross; nothing was written or taken then.
  result<void> put(wire_writer& w) const;

  /// "buffer 3: 64 bytes of interpreter 2 'w'".
  std::string describe() const;
  /// "buffer 3", and its owner.
  std::string name() const;

  /// The same bytes of the same block.
  friend bool operator==(const buffer& a, const buffer& b) noexcept {
    return a.block_ == b.block_
           && (a.block_ == nullptr || (a.part_.offset == b.part_.offset && a.part_.length == b.part_.length));
  }

private:
  friend class buffer_account;
  friend class buffer_space;
  friend class buffer_view;
  struct part {
    std::size_t offset = 0;
    std::size_t length = 0;
    bool writable = false;
    bool moved = false; // hands over when sent
  };
  /// Takes a hold over, or one of the tenure's handles.
  buffer(buffer_block& block, buffer_tenure* tenure, const part& p) noexcept
      : block_(&block), tenure_(tenure), part_(p) {}
  /// `by`: whose turn this is, if it is an owner's.
  void release(buffer_account* by) noexcept;
  result<void> pin() const;
  bool was_moved() const noexcept { return tenure_ != nullptr && tenure_->moved.load(std::memory_order_relaxed); }

  buffer_block* block_ = nullptr;
  buffer_tenure* tenure_ = nullptr; // null: somebody else's handle, which is a hold
  part part_;
};

/// Bytes that cannot be freed while it stands.
class buffer_view {
public:
  buffer_view(buffer_view&& other) noexcept = default;
  buffer_view& operator=(buffer_view&& other) noexcept {
    std::swap(of_, other.of_);
    return *this;
  }
  ~buffer_view() {
    if (of_) of_.block_->unpin();
  }

  const char* data() const noexcept { return at(); }
  std::size_t size() const noexcept { return of_.size(); }
  std::string_view bytes() const noexcept { return {data(), size()}; }

protected:
  friend class buffer;
  /// Pinned already.
  explicit buffer_view(buffer of) noexcept : of_(std::move(of)) {}
  char* at() const noexcept { return of_.block_->data() + of_.part_.offset; }

private:
  buffer of_;
};

class writable_buffer_view : public buffer_view {
public:
  char* data() const noexcept { return at(); }

private:
  friend class buffer;
  using buffer_view::buffer_view;
};

/// A buffer in a value (runtime/value.hpp).
class buffer_in_value final : public buffer_holder {
public:
  explicit buffer_in_value(buffer b) noexcept : held(std::move(b)) {}
  bool same(const buffer_holder& other) const noexcept override {
    const auto* o = dynamic_cast<const buffer_in_value*>(&other);
    return o != nullptr && o->held == held;
  }
  std::string describe() const override { return held.describe(); }

  const buffer held;
};

/// As reference_codec::put_buffer wants it.
inline result<void> put_held(wire_writer& w, const buffer_holder& b) {
  const auto* held = dynamic_cast<const buffer_in_value*>(&b);
  return held != nullptr ? held->held.put(w) : fail(errc::not_shareable, "a buffer of an unknown kind");
}

template <>
struct value_traits<buffer> {
  static std::string name() { return "buffer"; }
  static result<buffer> from(const value& v) {
    const auto* b = dynamic_cast<const buffer_in_value*>(v.if_buffer());
    if (b == nullptr) return wrong_type(name(), v);
    return b->held;
  }
  static value to(buffer b) { return b ? value(std::make_shared<const buffer_in_value>(std::move(b))) : value(); }
};

} // namespace Atoll
