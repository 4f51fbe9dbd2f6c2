#include "guests/native/native_tasks.hpp"

#include "guests/native/native_wait.hpp"

namespace Atoll {

// -- frames ------------------------------------------------------------------------------------------------------------

namespace detail {

namespace {

struct alignas(heap::alignment) frame_header {
  heap* from;
};

} // namespace

void* allocate_frame(heap* from, std::size_t bytes) {
  const std::size_t all = sizeof(frame_header) + bytes;
  void* const memory = from != nullptr ? from->allocate(all) : ::operator new(all);
  if (memory == nullptr) throw std::bad_alloc();
  return new (memory) frame_header{from} + 1;
}

void free_frame(void* frame, std::size_t bytes) noexcept {
  auto* const header = static_cast<frame_header*>(frame) - 1;
  if (heap* const from = header->from) return from->deallocate(header, sizeof(frame_header) + bytes);
  ::operator delete(header);
}

} // namespace detail

// -- roots -------------------------------------------------------------------------------------------------------------

std::coroutine_handle<> native_tasks::take_first_step(std::unique_ptr<native_root> root) {
  native_root& r = *root.release();
  r.older_ = newest_;
  if (newest_ != nullptr) newest_->newer_ = &r;
  newest_ = &r;
  ++size_;
  return r.begin(ended_);
}

void native_tasks::remove(native_root& r) noexcept {
  (r.newer_ != nullptr ? r.newer_->older_ : newest_) = r.older_;
  if (r.older_ != nullptr) r.older_->newer_ = r.newer_;
  --size_;
}

void native_tasks::start(std::unique_ptr<native_root> root) { run(take_first_step(std::move(root))); }

void native_tasks::put_off(std::unique_ptr<native_root> root) {
  ready_.emplace_back(); // what can fail, first
  ready_.back() = take_first_step(std::move(root));
}

void native_tasks::run(std::coroutine_handle<> next) {
  next.resume();
  if (ended_ == nullptr) return;
  const std::unique_ptr<native_root> root(std::exchange(ended_, nullptr));
  remove(*root);
  root->ended();
}

// -- waits -------------------------------------------------------------------------------------------------------------

guest_word native_tasks::enter(native_wait& w) {
  std::uint32_t i = free_;
  if (i == none) {
    i = static_cast<std::uint32_t>(places_.size());
    places_.emplace_back();
  } else {
    free_ = places_[i].next_free;
  }
  places_[i].wait = &w;
  return static_cast<guest_word>(places_[i].serial) << 32U | i;
}

void native_tasks::leave(guest_word token) noexcept {
  const auto i = static_cast<std::uint32_t>(token);
  places_[i].wait = nullptr;
  if (++places_[i].serial == 0) places_[i].serial = 1; // no token is 0
  places_[i].next_free = std::exchange(free_, i);
}

native_wait* native_tasks::find(guest_word token) const noexcept {
  const auto i = static_cast<std::uint32_t>(token);
  return i < places_.size() && places_[i].serial == token >> 32U ? places_[i].wait : nullptr;
}

bool native_tasks::resume(guest_word token, const outcome& what) {
  native_wait* const w = closed_ ? nullptr : find(token);
  if (w == nullptr) return false;
  if (const auto waiting = w->finish(what)) run(waiting);
  return true;
}

void native_tasks::wake(guest_word token, const outcome& what) {
  native_wait* const w = closed_ ? nullptr : find(token);
  if (w == nullptr) return;
  if (const auto waiting = w->finish(what)) ready_.push_back(waiting);
}

void native_tasks::interrupt(errc code) {
  // Those of this moment: what runs on may wait again, to clean up.
  std::vector<guest_word> tokens;
  for (std::uint32_t i = 0; i < places_.size(); ++i)
    if (places_[i].wait != nullptr) tokens.push_back(static_cast<guest_word>(places_[i].serial) << 32U | i);
  for (const guest_word token : tokens)
    if (native_wait* const w = find(token))
      if (const auto waiting = w->break_off(code)) run(waiting);
}

std::vector<task_wait> native_tasks::waits() const {
  std::vector<task_wait> all;
  for (const place& p : places_)
    if (p.wait != nullptr && p.wait->is_awaited()) all.push_back(p.wait->describe());
  return all;
}

// -- turns -------------------------------------------------------------------------------------------------------------

void native_tasks::run_next_ready() {
  run(ready_[ready_at_++]);
  if (ready_at_ < ready_.size() && ready_at_ <= 64) return;
  ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(ready_at_));
  ready_at_ = 0;
}

bool native_tasks::run_ready() {
  // One at least, also when messages took the whole turn: they and the tasks behind them take turns.
  for (bool first = true; has_ready(); first = false) {
    const controls c = outside_.pending_controls();
    if (c.kill || (c.yield && !first)) return true;
    run_next_ready();
  }
  return false;
}

void native_tasks::close() noexcept {
  closed_ = true;
  ready_.clear();
  ready_at_ = 0;
  while (newest_ != nullptr) {
    const std::unique_ptr<native_root> root(newest_);
    remove(*root);
  }
}

} // namespace Atoll
