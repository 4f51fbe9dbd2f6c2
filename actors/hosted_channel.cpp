#include "actors/hosted_channel.hpp"

#include <new>
#include <random>

#include "actors/interpreter_actor.hpp"
#include "channels/thread_wait.hpp"

namespace Atoll {

namespace {

/// Why this thread may not use the channel so.
result<void> may_wait(const channel_space& space, wait_limit until) {
  if (space.forked()) return tl::unexpected<error>(forked_error());
  if (until == at_once || !on_worker_thread()) return {};
  return fail(
      errc::invalid_argument,
      "a channel was waited for inside an interpreter's turn or a callback: try_send() and try_recv() do not wait");
}

/// A thread's wait. What is left in its items when it is over, as the runtime ended meanwhile, is let go of here.
class host_wait {
public:
  explicit host_wait(channel_space& space) : space_(space), wait_(new thread_wait(host_interpreter)) {}
  host_wait(const host_wait&) = delete;
  host_wait& operator=(const host_wait&) = delete;
  ~host_wait() {
    try {
      std::vector<aftermath::undelivered> lost;
      for (std::size_t i = 0; i < wait_->size(); ++i)
        if (channel_case& c = wait_->at(i); !c.item.bytes.empty()) lost.push_back({std::move(c.item), c.where});
      space_.give_up(std::move(lost));
    } catch (const std::bad_alloc&) {
      // What they carry stays away.
    }
  }
  thread_wait& operator*() const noexcept { return *wait_; }
  thread_wait* operator->() const noexcept { return wait_.get(); }

private:
  channel_space& space_;
  const boost::intrusive_ptr<thread_wait> wait_;
};

} // namespace

/// Decides the wait, or waits until somebody else did. True: decided.
bool hosted_channel::wait_for(thread_wait& w, wait_limit until) const {
  thread_local std::minstd_rand random(std::random_device{}());
  aftermath after;
  const bool decided = w.decide(random(), until != at_once, after);
  channel()->space().settle(after);
  if (decided || until == at_once) return decided;
  try {
    if (port_->await(w, until)) {
      w.finish();
      return true;
    }
  } catch (const std::bad_alloc&) {
    (void)w.withdraw(); // it must not be found any more
    throw;
  }
  return !w.withdraw();
}

error hosted_channel::why_not(const basic_channel& c, channel_status how, interpreter_id sender) const {
  error why = channel_error(c, how, sender);
  return how == channel_status::closed ? port_->unless_ended(std::move(why)) : why;
}

result<void> hosted_channel::send(const value& v, wait_limit until) const {
  if (auto ok = may_wait(channel()->space(), until); !ok) return ok;
  const host_wait w(channel()->space());
  channel_item& item = w->add(channel().pointer(), true).item;
  if (auto written = port_->write_item(v, item.bytes); !written) return written;
  const bool decided = wait_for(*w, until);
  const channel_status how = decided ? w->status() : channel_status::full;
  if (how == channel_status::done) return {};
  port_->put_back_item(item.bytes);
  return tl::unexpected<error>(why_not(*channel(), how));
}

result<value> hosted_channel::receive(wait_limit until) const {
  if (auto ok = may_wait(channel()->space(), until); !ok) return tl::unexpected<error>(ok.error());
  const host_wait w(channel()->space());
  channel_item& item = w->add(channel().pointer(), false).item;
  const bool decided = wait_for(*w, until);
  const channel_status how = decided ? w->status() : channel_status::empty;
  if (how == channel_status::done) return port_->read_item(item.bytes);
  if (how == channel_status::orphaned) port_->give_back_item(item.bytes);
  return tl::unexpected<error>(why_not(*channel(), how, item.info.sender));
}

result<std::size_t> hosted_channel::select(selection& cases, wait_limit until) const {
  if (auto ok = may_wait(channel()->space(), until); !ok) return tl::unexpected<error>(ok.error());
  const host_wait w(channel()->space());
  std::vector<std::size_t> numbers; // of the wait's cases
  result<void> written;
  for (std::size_t i = 0; i < cases.cases().size() && written; ++i) {
    const selection::one& one = cases.cases()[i];
    const channel_handle c = handle_of(one.where);
    if (!c) continue; // a disabled case
    if (&c->space() != &channel()->space()) {
      written = tl::unexpected<error>(of_another_runtime(*c));
      break;
    }
    channel_case& added = w->add(c.pointer(), one.item.has_value());
    numbers.push_back(i);
    if (one.item) written = port_->write_item(*one.item, added.item.bytes);
  }
  const bool decided = written && wait_for(*w, until);
  for (std::size_t i = 0; i < w->size(); ++i)
    if (w->at(i).sends) port_->put_back_item(w->at(i).item.bytes); // empty if it was sent
  if (!written) return tl::unexpected<error>(std::move(written.error()));
  if (!decided) return fail(errc::timeout, "no case was possible in time");
  cases.choose(numbers[w->fired()]);
  channel_case& c = w->fired_case();
  if (w->status() == channel_status::done && !c.sends) {
    result<value> got = port_->read_item(c.item.bytes);
    if (!got) return tl::unexpected<error>(std::move(got.error()));
    cases.set_received(std::move(*got));
  }
  if (w->status() == channel_status::done) return *cases.chosen();
  if (w->status() == channel_status::orphaned) port_->give_back_item(c.item.bytes);
  return tl::unexpected<error>(why_not(*c.where, w->status(), c.item.info.sender));
}

result<void> hosted_channel::release(channel_end which) const {
  if (channel()->space().forked()) return tl::unexpected<error>(forked_error());
  aftermath after;
  channel()->release(host_interpreter, which != channel_end::receiver, which != channel_end::sender, after);
  channel()->space().settle(after);
  return {};
}

result<void> hosted_channel::end(bool (basic_channel::*how)(aftermath&)) const {
  result<void> ended = kept_channel::end(how);
  if (!ended) return tl::unexpected<error>(port_->unless_ended(std::move(ended.error())));
  return ended;
}

} // namespace Atoll
