#include "channels/channel_wait.hpp"

#include <algorithm>
#include <new>

#include "channels/basic_channel.hpp"

namespace Atoll {

void case_list::append(channel_case& c) noexcept {
  c.previous = last_;
  c.next = nullptr;
  (last_ != nullptr ? last_->next : first_) = &c;
  last_ = &c;
  c.linked = true;
}

void case_list::remove(channel_case& c) noexcept {
  (c.previous != nullptr ? c.previous->next : first_) = c.next;
  (c.next != nullptr ? c.next->previous : last_) = c.previous;
  c.linked = false;
}

/// The locks of all channels of a wait, each once, taken in the order of their ids.
class channel_wait::locks {
public:
  explicit locks(channel_wait& w) {
    for (const channel_case& c : w.cases_) channels_.push_back(c.where.get());
    if (channels_.size() > 1) {
      std::sort(channels_.begin(), channels_.end(), [](const auto* a, const auto* b) { return a->id() < b->id(); });
      channels_.erase(std::unique(channels_.begin(), channels_.end()), channels_.end());
    }
    for (basic_channel* c : channels_) c->mutex_.lock();
  }
  locks(const locks&) = delete;
  locks& operator=(const locks&) = delete;
  ~locks() {
    for (basic_channel* c : channels_) c->mutex_.unlock();
  }

private:
  boost::container::small_vector<basic_channel*, 8> channels_;
};

namespace {

std::uint64_t next_random(std::uint64_t& state) noexcept { // splitmix64
  std::uint64_t z = (state += 0x9E3779B97F4A7C15ULL);
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31U);
}

} // namespace

channel_case& channel_wait::add(channel_ptr where, bool sends) {
  channel_case& c = cases_.emplace_back(std::move(where), sends);
  c.item.info.sender = owner_;
  c.item.info.orphans = c.where->options().orphans;
  return c;
}

bool channel_wait::decide(std::uint64_t random, bool patient, aftermath& after) {
  const locks all(*this);
  if (look(random, after)) {
    phase_.store(phase::taken, std::memory_order_relaxed);
    return true;
  }
  if (!patient) return false;
  try {
    for (channel_case& c : cases_) {
      c.wait = this;
      c.where->wait_here(c, owner_);
    }
  } catch (const std::bad_alloc&) {
    for (channel_case& c : cases_) c.where->unlink(c);
    throw; // nobody waits
  }
  // relaxed: nobody sees the cases before the locks are let go of.
  phase_.store(phase::open, std::memory_order_relaxed);
  return false;
}

// What seems ready may be taken by others meanwhile, under locks that are not held here: then it is looked for again.
bool channel_wait::look(std::uint64_t& random, aftermath& after) {
  for (;;) {
    std::size_t chosen = 0;
    std::uint64_t found = 0;
    for (std::size_t i = 0; i < cases_.size(); ++i) {
      if (!cases_[i].where->ready(cases_[i].sends)) continue;
      if (++found == 1 || next_random(random) % found == 0) chosen = i;
    }
    if (found == 0) return false;
    channel_case& c = cases_[chosen];
    if (!c.sends && !c.item.bytes.reserve(item_ring::inline_max)) throw std::bad_alloc();
    const channel_status how = c.where->perform(c, owner_, after);
    const bool waits =
        how == channel_status::empty || (how == channel_status::full && c.where->options().full == full_policy::block);
    if (waits) continue;
    decided(chosen, how);
    return true;
  }
}

void channel_wait::unlink_all() noexcept {
  for (channel_case& c : cases_) {
    const std::lock_guard<spin_mutex> lock(c.where->mutex_);
    c.where->unlink(c);
  }
}

bool channel_wait::withdraw() noexcept {
  phase expected = phase::open;
  const bool mine = phase_.compare_exchange_strong(expected, phase::withdrawn, std::memory_order_acq_rel);
  unlink_all(); // whoever took it has let go of its lock by then
  return mine || expected == phase::withdrawn;
}

void channel_wait::finish() noexcept {
  if (cases_.size() > 1) unlink_all(); // whoever took it has unlinked the one that fired
}

void channel_wait::reset() noexcept {
  cases_.clear();
  phase_.store(phase::idle, std::memory_order_relaxed);
  fired_ = 0;
  status_ = channel_status::empty;
}

} // namespace Atoll
