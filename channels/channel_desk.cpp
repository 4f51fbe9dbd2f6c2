#include "channels/channel_desk.hpp"

#include <algorithm>

#include "runtime/turn_clock.hpp"

namespace Atoll {

namespace {
constexpr std::uint64_t patience_ticks = 60'000; // 20 to 30 us on today's machines
} // namespace

void guest_wait::ready() noexcept {
  // Pushed, the wait is its owner's, who may end with it, and let go of the inbox, before push_ready() has told it.
  const inbox_ptr box = box_;
  if (!box->push_ready(*this)) channel_desk::drop_ready(*box);
}

channel_desk::~channel_desk() {
  close();
  while (ready_link* one = ready_.take()) intrusive_ptr_release(static_cast<guest_wait*>(one));
}

channel_status channel_desk::send(basic_channel& to, orphan_policy orphans) {
  note_use(to.id());
  outgoing_.info = {who_, orphans, false};
  aftermath after;
  const channel_status how = to.send(outgoing_, after);
  settle(after);
  return how;
}

channel_status channel_desk::receive(basic_channel& from) {
  if (!received_.bytes.reserve(item_ring::inline_max)) throw std::bad_alloc();
  note_use(from.id());
  aftermath after;
  const channel_status how = from.receive(who_, received_, after);
  settle(after);
  return how;
}

bool channel_desk::close(basic_channel& c) {
  aftermath after;
  const bool done = c.close(after);
  settle(after);
  return done;
}

bool channel_desk::destroy(basic_channel& c) {
  aftermath after;
  const bool done = c.destroy(after);
  settle(after);
  return done;
}

void channel_desk::release(basic_channel& c, bool sender, bool receiver) {
  aftermath after;
  c.release(who_, sender, receiver, after);
  settle(after);
}

// -- whom it wakes -----------------------------------------------------------------------------------------------------

void channel_desk::settle(aftermath& after) {
  if (!after.woken.empty()) {
    if (!has_woken()) woken_since_.store(turn_ticks(), std::memory_order_relaxed);
    while (ready_link* one = after.woken.take()) woken_.append(*one);
  }
  if (has_woken() && turn_ticks() - woken_since_.load(std::memory_order_relaxed) > patience_ticks) flush();
  if (!after.dropped.empty()) space_->give_up(std::move(after.dropped));
}

void channel_desk::flush() noexcept {
  woken_since_.store(0, std::memory_order_relaxed);
  while (ready_link* one = woken_.take()) static_cast<channel_wait*>(one)->ready();
}

// -- waits -------------------------------------------------------------------------------------------------------------

boost::intrusive_ptr<guest_wait> channel_desk::make_wait() {
  if (spare_.empty()) {
    spare_.reserve(spare_max); // recycle() raises nothing
    return new guest_wait(who_, box_);
  }
  boost::intrusive_ptr<guest_wait> w = std::move(spare_.back());
  spare_.pop_back();
  return w;
}

bool channel_desk::decide(guest_wait& w, guest_word token, std::uint64_t random, bool patient) {
  for (std::size_t i = 0; i < w.size(); ++i) note_use(w.at(i).where->id());
  w.token_ = token;
  w.index_ = waits_.size();
  waits_.emplace_back(&w);
  aftermath after;
  const bool decided = w.decide(random, patient, after);
  settle(after);
  if (decided || !patient) forget(w);
  return decided;
}

bool channel_desk::withdraw(guest_wait& w) noexcept {
  const bool mine = w.withdraw();
  forget(w);
  return mine;
}

void channel_desk::finish(guest_wait& w) noexcept {
  w.finish();
  forget(w);
}

void channel_desk::recycle(boost::intrusive_ptr<guest_wait> w) noexcept {
  if (w->use_count() != 1 || spare_.size() >= spare_max) return;
  w->reset(); // now: its channels, and their heirs, are not to wait for its next use
  spare_.push_back(std::move(w));
}

void channel_desk::drop_ready(inbox& closed) noexcept {
  ready_list all;
  closed.take_ready(all);
  while (ready_link* one = all.take()) intrusive_ptr_release(static_cast<guest_wait*>(one));
}

void channel_desk::forget(guest_wait& w) noexcept {
  if (w.index_ == gone) return;
  const boost::intrusive_ptr<guest_wait> self = std::move(waits_[w.index_]);
  if (w.index_ + 1 != waits_.size()) {
    waits_[w.index_] = std::move(waits_.back());
    waits_[w.index_]->index_ = w.index_;
  }
  waits_.pop_back();
  w.index_ = gone;
}

std::vector<guest_word> channel_desk::withdraw_all() {
  std::vector<guest_word> tokens;
  for (const auto& w : waits_)
    if (w->withdraw()) tokens.push_back(w->token_);
  return tokens;
}

// -- the end -----------------------------------------------------------------------------------------------------------

void channel_desk::use(channel_number id) {
  used_.insert(id);
  if (used_.size() <= used_kept_) return;
  std::erase_if(used_, [&](channel_number one) { return one != id && !space_->find(one); });
  used_kept_ = std::max<std::size_t>(64, used_.size() * 2);
}

void channel_desk::close() {
  std::vector<aftermath::undelivered> lost;
  for (const auto& w : waits_) {
    w->withdraw();
    // What was sent has left its case; what was received is here, and nobody will see it.
    for (std::size_t i = 0; i < w->size(); ++i)
      if (channel_case& c = w->at(i); !c.item.bytes.empty()) lost.push_back({std::move(c.item), c.where});
    w->index_ = gone;
  }
  waits_.clear();
  space_->give_up(std::move(lost));
  for (const channel_number id : used_) {
    const channel_handle c = space_->find(id);
    if (!c) continue;
    aftermath after;
    c->leave(who_, after);
    space_->settle(after);
  }
  used_.clear();
  flush();
}

} // namespace Atoll
