#include "channels/basic_channel.hpp"

#include <algorithm>

namespace Atoll {

const char* name_of(channel_status status) noexcept {
  switch (status) {
  case channel_status::done: return "done";
  case channel_status::full: return "full";
  case channel_status::empty: return "empty";
  case channel_status::closed: return "closed";
  case channel_status::orphaned: return "orphaned";
  case channel_status::dropped: return "dropped";
  case channel_status::no_memory: break;
  }
  return "no memory";
}

const char* name_of(full_policy policy) noexcept {
  switch (policy) {
  case full_policy::block: return "block";
  case full_policy::drop_oldest: return "drop_oldest";
  case full_policy::drop_newest: return "drop_newest";
  case full_policy::fail: break;
  }
  return "fail";
}

// -- sending and receiving ---------------------------------------------------------------------------------------------

channel_status basic_channel::send(channel_item& item, aftermath& after) {
  const lock_type lock(mutex_);
  return send_now(item, after);
}

channel_status basic_channel::inherit(channel_item& item, aftermath& after) {
  const lock_type lock(mutex_);
  return state_ == state::open ? put(item, after) : channel_status::closed;
}

channel_status basic_channel::receive(interpreter_id by, channel_item& into, aftermath& after) {
  const lock_type lock(mutex_);
  return receive_now(by, into, after);
}

channel_status basic_channel::send_now(channel_item& item, aftermath& after) {
  if (state_ != state::open) return channel_status::closed;
  if (item.info.sender != last_sender_) note(senders_, last_sender_, item.info.sender);
  return put(item, after);
}

channel_status basic_channel::put(channel_item& item, aftermath& after) {
  if (channel_case* to = take_first(receivers_waiting_, channel_status::done, after)) {
    to->item.bytes.swap(item.bytes);
    to->item.info = item.info;
    item.bytes.clear();
    ++sent_;
    ++received_;
    return channel_status::done;
  }
  if (ring_.size() >= options_.capacity) {
    switch (options_.full) {
    case full_policy::block: return channel_status::full;
    case full_policy::fail: ++refused_; return channel_status::full;
    case full_policy::drop_newest: ++dropped_; return channel_status::dropped;
    case full_policy::drop_oldest: {
      channel_item oldest;
      if (!oldest.bytes.reserve(item_ring::inline_max)) return channel_status::no_memory;
      if (ring_.pop(oldest)) {
        ++dropped_;
        after.dropped.push_back({std::move(oldest), this});
      }
      break;
    }
    }
  }
  if (!ring_.push(item)) return channel_status::no_memory;
  ++sent_;
  return channel_status::done;
}

channel_status basic_channel::receive_now(interpreter_id by, channel_item& into, aftermath& after) {
  if (by != last_receiver_) note(receivers_, last_receiver_, by);
  if (ring_.pop(into)) {
    if (!senders_waiting_.empty()) let_senders_in(after);
  } else if (channel_case* from = take_first(senders_waiting_, channel_status::done, after)) { // a rendezvous
    into.bytes.swap(from->item.bytes);
    into.info = from->item.info;
    from->item.bytes.clear();
    ++sent_;
  } else {
    return state_ == state::open ? channel_status::empty : channel_status::closed;
  }
  ++received_;
  return into.info.orphaned ? channel_status::orphaned : channel_status::done;
}

void basic_channel::let_senders_in(aftermath& after) {
  while (ring_.size() < options_.capacity) {
    channel_case* from = take_first(senders_waiting_, channel_status::done, after);
    if (from == nullptr) return;
    if (ring_.push(from->item)) {
      ++sent_;
    } else {
      from->wait->status_ = channel_status::no_memory;
    }
  }
}

// -- waits -------------------------------------------------------------------------------------------------------------

channel_case* basic_channel::take_first(case_list& list, channel_status how, aftermath& after) {
  while (channel_case* c = list.first()) {
    const bool mine = c->wait->take();
    list.remove(*c);
    if (!mine) continue; // another channel, or its owner, was first
    c->wait->decided(*c, how);
    intrusive_ptr_add_ref(c->wait);
    after.woken.append(*c->wait);
    return c;
  }
  return nullptr;
}

bool basic_channel::has_open(case_list& list) noexcept {
  while (channel_case* c = list.first()) {
    if (c->wait->is_open()) return true;
    list.remove(*c);
  }
  return false;
}

// An estimate: what waits here may be taken elsewhere meanwhile. perform() then says full or empty.
bool basic_channel::ready(bool sends) noexcept {
  if (state_ != state::open && (sends || ring_.size() == 0)) return true;
  if (!sends) return ring_.size() > 0 || has_open(senders_waiting_);
  return ring_.size() < options_.capacity || options_.full != full_policy::block || has_open(receivers_waiting_);
}

channel_status basic_channel::perform(channel_case& c, interpreter_id by, aftermath& after) {
  return c.sends ? send_now(c.item, after) : receive_now(by, c.item, after);
}

void basic_channel::wait_here(channel_case& c, interpreter_id who) {
  if (c.sends) {
    note(senders_, last_sender_, who);
    senders_waiting_.append(c);
  } else {
    note(receivers_, last_receiver_, who);
    receivers_waiting_.append(c);
  }
}

void basic_channel::wake_all(case_list& list, aftermath& after) {
  while (take_first(list, channel_status::closed, after) != nullptr) {
  }
}

// -- the end -----------------------------------------------------------------------------------------------------------

bool basic_channel::close(aftermath& after) {
  const lock_type lock(mutex_);
  if (state_ != state::open) return false;
  close_now(after);
  return true;
}

// Whoever waits to receive has found nothing, and there will be nothing; who waits to send keeps its item.
void basic_channel::close_now(aftermath& after) {
  state_ = state::draining;
  wake_all(receivers_waiting_, after);
  wake_all(senders_waiting_, after);
}

bool basic_channel::destroy(aftermath& after) {
  const lock_type lock(mutex_);
  if (state_ == state::destroyed) return false;
  if (state_ == state::open) close_now(after);
  state_ = state::destroyed;
  drop_items(after);
  return true;
}

void basic_channel::drop_items(aftermath& after) {
  after.dropped.reserve(after.dropped.size() + ring_.size());
  while (ring_.size() > 0) {
    channel_item item;
    if (!item.bytes.reserve(item_ring::inline_max)) throw std::bad_alloc();
    ring_.pop(item);
    ++dropped_;
    after.dropped.push_back({std::move(item), this});
  }
}

void basic_channel::release(interpreter_id who, bool sender, bool receiver, aftermath& after) {
  const lock_type lock(mutex_);
  release_now(who, sender, receiver, after);
}

void basic_channel::release_now(interpreter_id who, bool sender, bool receiver, aftermath& after) {
  if (receiver && std::erase(receivers_, who) > 0) last_receiver_ = interpreter_id{~std::uint64_t{0} - 1};
  if (!sender || std::erase(senders_, who) == 0) return;
  last_sender_ = interpreter_id{~std::uint64_t{0} - 1};
  if (senders_.empty() && !options_.stay_open && state_ == state::open) close_now(after);
}

void basic_channel::leave(interpreter_id who, aftermath& after) {
  const lock_type lock(mutex_);
  orphaned_ += ring_.orphan(who, [&](channel_item&& item) { after.dropped.push_back({std::move(item), this}); });
  if (!senders_waiting_.empty()) let_senders_in(after);
  release_now(who, true, true, after);
}

// -- figures -----------------------------------------------------------------------------------------------------------

void basic_channel::note(std::vector<interpreter_id>& users, interpreter_id& last, interpreter_id who) {
  if (std::find(users.begin(), users.end(), who) == users.end()) users.push_back(who);
  last = who;
}

std::size_t basic_channel::size() const {
  const lock_type lock(mutex_);
  return ring_.size();
}

bool basic_channel::is_closed() const {
  const lock_type lock(mutex_);
  return state_ != state::open;
}

bool basic_channel::is_ready(bool sends) {
  const lock_type lock(mutex_);
  return ready(sends);
}

channel_ends basic_channel::ends() const {
  const lock_type lock(mutex_);
  channel_ends all{senders_, receivers_};
  std::sort(all.senders.begin(), all.senders.end());
  std::sort(all.receivers.begin(), all.receivers.end());
  return all;
}

channel_figures basic_channel::figures() const {
  const auto open = [](const case_list& list) {
    std::size_t n = 0;
    for (const channel_case* c = list.first(); c != nullptr; c = c->next)
      if (c->wait->is_open()) ++n;
    return n;
  };
  const lock_type lock(mutex_);
  return {
      sent_, received_, dropped_, refused_, orphaned_, ring_.size(), open(senders_waiting_), open(receivers_waiting_)};
}

} // namespace Atoll
