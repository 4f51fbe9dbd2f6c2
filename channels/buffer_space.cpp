#include "channels/buffer_space.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>

namespace Atoll {

// -- handles -----------------------------------------------------------------------------------------------------------

namespace {

std::string bytes_text(std::size_t n) { return fmt::format("{} byte{}", n, n == 1 ? "" : "s"); }

tl::unexpected<error> moved(std::uint64_t id) {
  return fail(errc::buffer_moved, fmt::format("buffer {} was moved: it belongs to its receiver now", id));
}

} // namespace

void buffer::release(buffer_account* by) noexcept {
  buffer_block* block = std::exchange(block_, nullptr);
  buffer_tenure* tenure = std::exchange(tenure_, nullptr);
  if (block == nullptr) return;
  const bool last =
      tenure != nullptr ? tenure->handles.fetch_sub(1, std::memory_order_acq_rel) == 1 : block->drop_hold();
  if (!last || block->space()->born_.forked()) return;
  const std::shared_ptr<buffer_space> space = block->space(); // it may be the last that keeps it
  if (tenure != nullptr)
    space->last_of_tenure(*block, *tenure, by);
  else
    space->last_released(*block, by);
}

std::string buffer::name() const {
  if (block_ == nullptr) return "an empty buffer";
  return fmt::format("buffer {} of {}", block_->id(), block_->space()->owner_of(*block_));
}

std::string buffer::describe() const {
  if (block_ == nullptr) return name();
  std::string text = fmt::format("{}: {}", name(), bytes_text(part_.length));
  if (part_.length != block_->size()) text += fmt::format(" from {} on", part_.offset + 1);
  if (!part_.writable) text += ", read-only";
  if (was_moved())
    text += ", moved";
  else if (block_->has_ended())
    text += ", ended";
  return text;
}

result<void> buffer::usable() const {
  if (block_ == nullptr) return fail(errc::invalid_argument, "an empty buffer");
  if (block_->space()->born_.forked()) return tl::unexpected<error>(forked_error());
  if (was_moved()) return moved(block_->id());
  if (!block_->has_ended()) return {};
  if (block_->owner_id_ == host_interpreter)
    return fail(errc::runtime_finalized,
                fmt::format("the runtime has been finalized, and buffer {} of the host program with it", block_->id()));
  error gone{errc::interpreter_gone, {}, {}, block_->owner_id_, {}, {}};
  gone.message = fmt::format("{} is gone, and buffer {} with it", block_->space()->owner_of(*block_), block_->id());
  return tl::unexpected<error>(std::move(gone));
}

result<void> buffer::pin() const {
  if (auto ok = usable(); !ok) return ok;
  if (block_->pin()) return {};
  return usable(); // it has ended meanwhile
}

result<buffer_view> buffer::look() const {
  if (auto ok = pin(); !ok) return tl::unexpected<error>(std::move(ok.error()));
  return buffer_view(*this);
}

result<writable_buffer_view> buffer::edit() const {
  if (block_ != nullptr && !part_.writable)
    return fail(errc::read_only, fmt::format("{} may only be read here", name()));
  if (auto ok = pin(); !ok) return tl::unexpected<error>(std::move(ok.error()));
  return writable_buffer_view(*this);
}

result<buffer> buffer::slice(std::size_t offset, std::size_t bytes) const {
  if (const auto ok = usable(); !ok) return tl::unexpected<error>(ok.error());
  if (offset > part_.length || bytes > part_.length - offset)
    return fail(errc::invalid_argument, fmt::format("{}: {} at offset {} are out of range: it has {}", name(),
                                                    bytes_text(bytes), offset, bytes_text(part_.length)));
  buffer b(*this);
  b.part_.offset += offset;
  b.part_.length = bytes;
  b.part_.moved = false;
  return b;
}

buffer buffer::read_only() const {
  buffer b(*this);
  b.part_.writable = false;
  b.part_.moved = false;
  return b;
}

result<buffer> buffer::hand_over() const {
  if (const auto ok = usable(); !ok) return tl::unexpected<error>(ok.error());
  const char* why = nullptr;
  if (tenure_ == nullptr)
    why = "only its owner can move it";
  else if (part_.length != block_->size())
    why = "a slice cannot be moved; move the whole buffer";
  else if (!part_.writable)
    why = "a read-only handle cannot be moved; move the buffer it was made of";
  if (why != nullptr) return fail(errc::not_shareable, fmt::format("{}: {}", name(), why));
  buffer b(*this);
  b.part_.moved = true;
  return b;
}

result<void> buffer::put(wire_writer& w) const {
  if (const auto ok = usable(); !ok) return ok;
  return block_->space()->put(*this, w);
}

// -- the space ---------------------------------------------------------------------------------------------------------

result<void> buffer_space::put(const buffer& b, wire_writer& w) {
  buffer_block& block = *b.block_;
  const wire_slice s{block.id(), b.part_.offset, b.part_.length, b.part_.writable, b.part_.moved};
  // Another handle may have been first, on another thread of the host program.
  if (!block.try_add_hold()) return moved(block.id());
  block.in_flight_.fetch_add(1, std::memory_order_relaxed);
  if (!s.moved || begin_move(b)) {
    if (w.put_slice(s)) return {};
    give_back(s);
    return fail(errc::out_of_memory, "no memory for the message");
  }
  give_back({s.block, s.offset, s.length, s.writable, false});
  return moved(block.id());
}

bool buffer_space::begin_move(const buffer& b) noexcept {
  const std::scoped_lock lock(mutex_);
  buffer_block& block = *b.block_;
  if (block.owner_ == nullptr || b.was_moved()) return false;
  b.tenure_->moved.store(true, std::memory_order_relaxed);
  return block.moving_ = true;
}

/// The block that an occurrence names, its count lowered and its hold the caller's; null when there is no such occurrence.
buffer_block* buffer_space::take_off(const wire_slice& s) noexcept {
  const auto at = blocks_.find(s.block);
  if (at == blocks_.end()) return nullptr;
  buffer_block& block = *at->second;
  if (block.in_flight_.load(std::memory_order_relaxed) == 0) return nullptr;
  block.in_flight_.fetch_sub(1, std::memory_order_relaxed);
  return &block;
}

/// A move that nobody received. The bytes, if their owner is gone meanwhile: to be freed without the lock.
block_bytes buffer_space::undo_move(buffer_block& block) noexcept {
  if (!std::exchange(block.moving_, false)) return {};
  if (block.tenure_ != nullptr) block.tenure_->moved.store(false, std::memory_order_relaxed);
  return block.owner_ == nullptr ? block.end() : block_bytes();
}

void buffer_space::give_back(const wire_slice& s) noexcept {
  if (born_.forked()) return;
  block_bytes freed;
  buffer hold;
  const std::scoped_lock lock(mutex_);
  buffer_block* block = take_off(s);
  if (block == nullptr) return;
  if (s.moved) freed = undo_move(*block);
  hold = buffer(*block, nullptr, {}); // ends behind the lock
}

void buffer_space::drop_lost() noexcept {
  while (!born_.forked()) {
    wire_slice lost;
    {
      const std::scoped_lock lock(mutex_);
      const auto at = std::find_if(blocks_.begin(), blocks_.end(), [](const auto& b) {
        return b.second->in_flight_.load(std::memory_order_relaxed) > 0;
      });
      if (at == blocks_.end()) return;
      lost.block = at->first;
      lost.moved = at->second->moving_;
    }
    give_back(lost);
  }
}

void buffer_space::last_released(buffer_block& block, buffer_account* by) noexcept {
  inbox_ptr wake;
  bool owned = false;
  const gate::visit inside(*inside_); // from where an owner is found that lives until it has been woken
  {
    const std::scoped_lock lock(mutex_);
    buffer_account* owner = block.owner_;
    owned = owner != nullptr;
    if (owned) {
      owner->owned_.remove(block);
      owner->returned_.push(block);
      owner->news_.store(true, std::memory_order_relaxed);
      if (owner != by) wake = owner->box_;
    } else {
      blocks_.erase(block.id());
    }
  }
  if (wake != nullptr) wake->wake();
  if (!owned) block.drop_reference();
}

void buffer_space::last_of_tenure(buffer_block& block, buffer_tenure& tenure, buffer_account* by) noexcept {
  const std::unique_ptr<buffer_tenure> done(&tenure);
  bool last = false;
  {
    const std::scoped_lock lock(mutex_);
    if (block.tenure_ == &tenure) block.tenure_ = nullptr;
    last = !tenure.over && block.drop_hold();
  }
  if (last) last_released(block, by);
  block.drop_reference();
}

std::string buffer_space::owner_of(const buffer_block& block) const {
  if (born_.forked()) return "a parent process";
  const std::scoped_lock lock(mutex_);
  return *block.owner_text_;
}

std::size_t buffer_space::blocks() const {
  const std::scoped_lock lock(mutex_);
  return blocks_.size();
}

std::uint64_t buffer_space::in_flight() const {
  const std::scoped_lock lock(mutex_);
  std::uint64_t n = 0;
  for (const auto& [id, block] : blocks_) n += block->in_flight_.load(std::memory_order_relaxed);
  return n;
}

// -- accounts ----------------------------------------------------------------------------------------------------------

void buffer_account::list::push(buffer_block& b) noexcept {
  b.previous_ = nullptr;
  b.next_ = first;
  if (first != nullptr) first->previous_ = &b;
  first = &b;
  ++size;
}

void buffer_account::list::remove(buffer_block& b) noexcept {
  (b.previous_ != nullptr ? b.previous_->next_ : first) = b.next_;
  if (b.next_ != nullptr) b.next_->previous_ = b.previous_;
  --size;
}

buffer_block* buffer_account::list::pop() noexcept {
  buffer_block* b = first;
  if (b != nullptr) remove(*b);
  return b;
}

buffer_account::buffer_account(std::shared_ptr<buffer_space> space, interpreter_id who, std::string_view name,
                               heap* memory, inbox_ptr box)
    : space_(std::move(space)),
      id_(who),
      text_(std::make_shared<const std::string>(who == host_interpreter ? "the host program"
                                                                        : "interpreter " + number_and_name(who, name))),
      memory_(memory),
      box_(std::move(box)) {}

result<buffer> buffer_account::make(std::size_t bytes) {
  if (ended_) return fail(errc::runtime_finalizing, fmt::format("{} is closing: it makes no buffers", *text_));
  if (has_news()) settle();
  if (memory_ != nullptr && !memory_->charge_outside(bytes))
    return fail(errc::out_of_memory,
                fmt::format("a buffer of {} does not fit into the memory of {}: {} of {} are in use", bytes_text(bytes),
                            *text_, memory_->bytes_in_use(), bytes_text(memory_->limit())));
  auto made = enter(bytes);
  if (!made && memory_ != nullptr) memory_->give_back_outside(bytes);
  return made;
}

result<buffer> buffer_account::enter(std::size_t size) {
  try {
    block_bytes bytes(size);
    if (size > 0 && bytes.data() == nullptr) throw std::bad_alloc();
    const std::scoped_lock lock(space_->mutex_);
    auto tenure = std::make_unique<buffer_tenure>();
    auto* block = new buffer_block(space_, ++space_->last_id_, size, std::move(bytes));
    try {
      space_->blocks_.emplace(block->id(), block);
    } catch (...) {
      block->drop_reference();
      throw;
    }
    block->owner_ = this;
    block->owner_id_ = id_;
    block->owner_text_ = text_;
    owned_.push(*block);
    begin_tenure(*block, std::move(tenure));
    return buffer(*block, block->tenure_, {0, size, true, false});
  } catch (const std::bad_alloc&) {
    return fail(errc::out_of_memory, fmt::format("the system has no memory for a buffer of {}", bytes_text(size)));
  }
}

/// The block's hold that the caller has becomes the tenure's. With the mutex held, as what follows.
void buffer_account::begin_tenure(buffer_block& block, std::unique_ptr<buffer_tenure> tenure) noexcept {
  block.tenure_ = tenure.release();
  block.add_reference();
}

result<buffer> buffer_account::receive(const wire_slice& s) {
  std::unique_ptr<buffer_tenure> tenure(new (std::nothrow) buffer_tenure); // if it is to be one's own
  if (tenure == nullptr) {
    space_->give_back(s);
    return fail(errc::out_of_memory, "no memory for a buffer's handle");
  }
  inbox_ptr former; // of the block's owner until now: woken without the lock
  block_bytes freed;
  buffer hold;
  result<void> taken;
  {
    const std::scoped_lock lock(space_->mutex_);
    buffer_block* block = space_->take_off(s);
    if (block == nullptr)
      return fail(errc::bad_message, fmt::format("a message with a buffer {} that is none", s.block));
    hold = buffer(*block, nullptr, {s.offset, s.length, s.writable, false});
    if (s.offset > block->size() || s.length > block->size() - s.offset || (s.moved && !block->moving_))
      taken = fail(errc::bad_message, fmt::format("a message with a part of buffer {} that is none", s.block));
    else if (s.moved)
      taken = take_over(*block, former);
    if (!taken && s.moved) freed = space_->undo_move(*block);
    if (taken && block->owner_ == this && !block->moving_) become_own(hold, std::move(tenure));
  }
  if (former != nullptr) former->wake();
  if (!taken) return tl::unexpected<error>(std::move(taken.error()));
  return hold;
}

/// The handle joins its owner's tenure, or begins one.
void buffer_account::become_own(buffer& hold, std::unique_ptr<buffer_tenure> fresh) noexcept {
  buffer_block& block = *hold.block_;
  if (block.tenure_ != nullptr && block.tenure_->try_add_handle())
    (void)block.drop_hold(); // the tenure has one
  else
    begin_tenure(block, std::move(fresh));
  hold.tenure_ = block.tenure_;
}

result<void> buffer_account::take_over(buffer_block& block, inbox_ptr& former) {
  if (ended_) return fail(errc::runtime_finalizing, fmt::format("{} is closing: it takes no buffers", *text_));
  if (block.owner_ != this) {
    if (memory_ != nullptr && !memory_->charge_outside(block.size()))
      return fail(errc::out_of_memory,
                  fmt::format("buffer {} of {} does not fit into the memory of {}: {} of {} are in use", block.id(),
                              bytes_text(block.size()), *text_, memory_->bytes_in_use(), bytes_text(memory_->limit())));
    if (buffer_account* from = block.owner_) {
      from->owned_.remove(block);
      from->moved_away_ += block.size();
      from->news_.store(true, std::memory_order_relaxed);
      former = from->box_;
    }
    block.owner_ = this;
    block.owner_id_ = id_;
    block.owner_text_ = text_;
    owned_.push(block);
  }
  block.moving_ = false;
  if (buffer_tenure* old = std::exchange(block.tenure_, nullptr)) {
    old->over = true;
    (void)block.drop_hold(); // the message has another
  }
  return {};
}

void buffer_account::drop(buffer b) noexcept {
  b.release(this);
  if (has_news()) settle();
}

buffer_block* buffer_account::take_returned() noexcept {
  const std::scoped_lock lock(space_->mutex_);
  buffer_block* block = returned_.pop();
  if (block != nullptr) space_->blocks_.erase(block->id());
  return block;
}

void buffer_account::settle() noexcept {
  news_.store(false, std::memory_order_relaxed); // what comes after this sets it again, and is looked at now or later
  while (buffer_block* block = take_returned()) {
    (void)block->end(); // a handle whose tenure is over may be in the middle of a copy
    if (memory_ != nullptr) memory_->give_back_outside(block->size());
    block->drop_reference();
  }
  const std::scoped_lock lock(space_->mutex_);
  const std::size_t gone = std::exchange(moved_away_, 0);
  if (memory_ != nullptr && gone > 0) memory_->give_back_outside(gone);
}

void buffer_account::end() noexcept {
  if (std::exchange(ended_, true)) return;
  memory_ = nullptr; // what it was charged goes with it
  settle();
  for (;;) {
    block_bytes freed; // without the lock
    const std::scoped_lock lock(space_->mutex_);
    buffer_block* block = owned_.pop();
    if (block == nullptr) break;
    block->owner_ = nullptr;
    if (!block->moving_) freed = block->end();
  }
  settle(); // whose last hold went meanwhile
}

std::size_t buffer_account::owned() const {
  const std::scoped_lock lock(space_->mutex_);
  return owned_.size;
}

} // namespace Atoll
