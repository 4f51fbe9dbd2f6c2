#include "channels/channel_value.hpp"

#include <fmt/format.h>

namespace Atoll {

namespace {

tl::unexpected<error> cannot_block() {
  return fail(errc::invalid_argument,
              "an interpreter's turn does not block: co_await send(channel, ...) and recv(channel) of native_context, "
              "or its try_send() and try_recv()");
}

} // namespace

result<void> kept_channel::send(const value&, wait_limit) const { return cannot_block(); }
result<value> kept_channel::receive(wait_limit) const { return cannot_block(); }
result<void> kept_channel::release(channel_end) const { return cannot_block(); }
result<std::size_t> kept_channel::select(selection&, wait_limit) const { return cannot_block(); }

bool kept_channel::same_channel(const channel_holder& other) const noexcept {
  const auto* o = dynamic_cast<const kept_channel*>(&other);
  return o != nullptr && o->channel_ == channel_;
}

result<void> kept_channel::end(bool (basic_channel::*how)(aftermath&)) const {
  if (channel_->space().forked()) return tl::unexpected<error>(forked_error());
  aftermath after;
  const bool done = ((*channel_).*how)(after);
  channel_->space().settle(after);
  if (!done) return tl::unexpected<error>(channel_error(*channel_, channel_status::closed));
  return {};
}

channel_handle handle_of(const any_channel& c) {
  const auto* kept = c.as<kept_channel>();
  return kept != nullptr ? kept->channel() : channel_handle();
}

any_channel value_of(channel_handle channel) {
  return channel ? any_channel(std::make_shared<kept_channel>(std::move(channel))) : any_channel();
}

bool put_channel(wire_writer& out, channel_space& space, const any_channel& c) {
  const channel_handle channel = handle_of(c);
  if (!channel || &channel->space() != &space) return false;
  space.hold(channel);
  if (!out.put_channel(channel->id())) space.drop_held(channel->id());
  return true;
}

any_channel get_channel(channel_space& space, channel_number number) { return value_of(space.take(number)); }

error channel_error(const basic_channel& c, channel_status how, interpreter_id sender) {
  const auto of = [&](errc code, std::string_view what) {
    return error{code, fmt::format("channel {}: {}", c.id(), what), {}, {}, {}, {}};
  };
  switch (how) {
  case channel_status::full:
    if (c.options().full == full_policy::fail)
      return of(errc::channel_full, fmt::format("no room: its capacity is {}", c.options().capacity));
    return of(errc::timeout, "no room in time");
  case channel_status::empty: return of(errc::timeout, "nothing came in time");
  case channel_status::closed: return of(errc::channel_closed, "it is closed");
  case channel_status::dropped: return of(errc::channel_full, "the item was dropped");
  case channel_status::orphaned:
    return of(errc::interpreter_gone, fmt::format("interpreter {} is gone, who sent this item", number(sender)));
  case channel_status::done:
  case channel_status::no_memory: break;
  }
  return of(errc::out_of_memory, "no memory for the item");
}

error of_another_runtime(const basic_channel& c) {
  return {errc::not_shareable, fmt::format("channel {} is another runtime's", c.id()), {}, {}, {}, {}};
}

} // namespace Atoll
