#include "channels/channel_space.hpp"

#include <algorithm>
#include <thread>

#include "channels/buffer_space.hpp"
#include "channels/disposal.hpp"

namespace Atoll {

// -- handles -----------------------------------------------------------------------------------------------------------

channel_handle::channel_handle() noexcept = default;
channel_handle::channel_handle(channel_ptr counted) noexcept : channel_(std::move(counted)) {}
channel_handle::channel_handle(channel_handle&& other) noexcept : channel_(std::move(other.channel_)) {}

channel_handle& channel_handle::operator=(channel_handle other) noexcept {
  channel_.swap(other.channel_);
  return *this;
}

channel_handle::channel_handle(const channel_handle& other) noexcept : channel_(other.channel_) {
  // relaxed: whoever copies has a handle, so the count is not 0, and nothing is decided by it.
  if (channel_) channel_->handles_.fetch_add(1, std::memory_order_relaxed);
}

channel_handle::~channel_handle() {
  // acq_rel: what others did with their handles comes before the end that the last one brings.
  if (channel_ && channel_->handles_.fetch_sub(1, std::memory_order_acq_rel) == 1)
    channel_->space().retire(std::move(channel_));
}

result<channel_handle> channel_space::make(channel_options options) {
  if (options.full == full_policy::drop_oldest && options.capacity == 0)
    return fail(errc::invalid_argument, "a channel that drops the oldest item needs a capacity of 1 or more");
  if (options.undelivered && &options.undelivered->space() != this)
    return fail(errc::not_shareable, "what a channel leaves undelivered cannot go to a channel of another runtime");
  const std::scoped_lock lock(mutex_);
  if (closed_) return fail(errc::runtime_finalizing, "the runtime is being finalized: no channels any more");
  channel_ptr made(new basic_channel(last_id_ + 1, std::move(options), shared_from_this()));
  living_.emplace(made->id(), made.get());
  ++last_id_;
  made->handles_.store(1, std::memory_order_relaxed);
  return channel_handle(std::move(made));
}

channel_handle channel_space::find(channel_number id) const {
  const std::scoped_lock lock(mutex_);
  const auto at = living_.find(id);
  if (at == living_.end()) return {};
  at->second->handles_.fetch_add(1, std::memory_order_relaxed); // retire() looks again under the mutex
  return channel_handle(channel_ptr(at->second));
}

std::size_t channel_space::size() const {
  const std::scoped_lock lock(mutex_);
  return living_.size();
}

bool channel_space::is_closed() const {
  const std::scoped_lock lock(mutex_);
  return closed_;
}

void channel_space::hold(const channel_handle& channel) {
  const std::scoped_lock lock(mutex_);
  channel->handles_.fetch_add(1, std::memory_order_relaxed);
  intrusive_ptr_add_ref(channel.get()); // the message may be all that keeps it
  ++channel->in_flight_;
}

channel_handle channel_space::take(channel_number id) {
  const std::scoped_lock lock(mutex_);
  const auto at = living_.find(id);
  if (at == living_.end() || at->second->in_flight_ == 0) return {};
  --at->second->in_flight_;
  return channel_handle(channel_ptr(at->second, false)); // with what hold() took
}

namespace {
// Channels that are to end on this thread while another ends: a chain of channels in each other's items, or of heirs, must
// not recurse.
thread_local std::vector<channel_ptr>* ending = nullptr;
} // namespace

// The last handle is gone. Under the mutex it is seen whether find() made another one meanwhile.
void channel_space::retire(channel_ptr channel) noexcept {
  if (forked()) return void(channel.detach());
  {
    const std::scoped_lock lock(mutex_);
    if (channel->handles_.load(std::memory_order_acquire) != 0) return;
    if (living_.erase(channel->id()) == 0) return;
  }
  std::vector<channel_ptr> all;
  try {
    if (ending != nullptr) return ending->push_back(std::move(channel));
    ending = &all;
    all.push_back(std::move(channel));
    while (!all.empty()) {
      channel = std::move(all.back());
      all.pop_back();
      channel->space().end(*channel);
      channel.reset(); // with its memory it lets go of its heir
    }
  } catch (const std::bad_alloc&) {
    // What is still in it goes with its memory; its credit stays away, and the report names it.
  }
  ending = nullptr;
}

void channel_space::end(basic_channel& channel) {
  aftermath after;
  channel.destroy(after);
  settle(after);
  if (!channel.options().owns_undelivered) return;
  channel.options().undelivered->close(after); // behind what was left in this one
  settle(after);
}

// -- what operations leave ---------------------------------------------------------------------------------------------

void channel_space::settle(aftermath& after) {
  if (!after.woken.empty()) {
    const gate::visit inside(*inside_); // whoever wakes an interpreter needs the runtime's workers
    while (ready_link* one = after.woken.take()) static_cast<channel_wait*>(one)->ready();
  }
  if (!after.dropped.empty()) give_up(std::move(after.dropped));
}

void channel_space::give_up(std::vector<aftermath::undelivered>&& dropped) {
  for (aftermath::undelivered& d : dropped) {
    const channel_handle& heir = d.from->options().undelivered;
    aftermath after;
    if (!heir || heir->inherit(d.item, after) != channel_status::done) dispose(d.item.bytes);
    // What the heir drops for it goes no further: heirs may inherit from each other.
    for (aftermath::undelivered& further : after.dropped) dispose(further.item.bytes);
    after.dropped.clear();
    settle(after);
  }
}

void channel_space::dispose(item_bytes& bytes) {
  const gate::visit inside(*inside_);
  if (inside.open()) {
    dispose_values(bytes.reader(), *where_);
  } else { // references mean nothing any more, but a channel and a buffer have their memory
    struct dropper final : wire_visitor {
      explicit dropper(channel_space& s) : space(s) {}
      void on_channel(channel_number channel) override { space.drop_held(channel); }
      void on_buffer(const wire_slice& s) override { space.buffers_->give_back(s); }
      channel_space& space;
    } holds(*this);
    wire_reader in = bytes.reader();
    walk_values(in, holds);
  }
  bytes.clear();
}

// -- the end -----------------------------------------------------------------------------------------------------------

std::vector<channel_leftover> channel_space::close_all() {
  std::vector<channel_handle> all;
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    for (const auto& [id, channel] : living_) {
      channel->handles_.fetch_add(1, std::memory_order_relaxed);
      all.push_back(channel_handle(channel_ptr(channel)));
    }
  }
  std::vector<channel_leftover> left;
  for (const channel_handle& c : all) // before any is destroyed: heirs get items then
    if (const std::size_t items = c->size(); items > 0) left.push_back({c->id(), items, c->ends().senders});
  for (const channel_handle& c : all) {
    aftermath after;
    c->destroy(after);
    settle(after);
  }
  std::sort(left.begin(), left.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return left;
}

void channel_space::seal() noexcept {
  // A message that was lost for want of memory took its holds with it. Nobody will take them now, and a channel with a hold
  // keeps itself, its items and this space for ever.
  while (!forked()) {
    channel_handle lost; // ends behind the lock
    const std::scoped_lock lock(mutex_);
    const auto at =
        std::find_if(living_.begin(), living_.end(), [](const auto& c) { return c.second->in_flight_ > 0; });
    if (at == living_.end()) break;
    --at->second->in_flight_;
    lost = channel_handle(channel_ptr(at->second, false));
  }
  inside_->close();
  while (!forked() && !inside_->empty()) std::this_thread::yield();
}

} // namespace Atoll
