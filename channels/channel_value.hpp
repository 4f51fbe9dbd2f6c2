// A channel in a C++ value: the handle behind any_channel (runtime/value.hpp), and its way into messages and out of them.
// Why: runtime/ knows values and no channels; native guests and the host program share what they do with them.
// Threads: any thread; a value one thread at a time.
#pragma once

#include <chrono>
#include <optional>

#include "channels/channel_space.hpp"
#include "runtime/value.hpp"

namespace Atoll {

/// Until when somebody waits; nothing: as long as it takes.
using wait_limit = std::optional<std::chrono::steady_clock::time_point>;
/// Does not wait.
inline constexpr std::chrono::steady_clock::time_point at_once = std::chrono::steady_clock::time_point::min();

/// So long from now, which may be as long as it likes.
inline wait_limit limit_after(std::chrono::nanoseconds how_long) noexcept {
  using point = std::chrono::steady_clock::time_point;
  const point now = std::chrono::steady_clock::now();
  return how_long > point::max() - now ? wait_limit() : now + how_long;
}

class selection;

class kept_channel : public channel_holder {
public:
  explicit kept_channel(channel_handle channel) noexcept : channel_(std::move(channel)) {}
  channel_number number() const noexcept override { return channel_->id(); }
  bool same_channel(const channel_holder& other) const noexcept override;
  const channel_handle& channel() const noexcept { return channel_; }

  /// For those who may block: host threads (actors/hosted_channel.hpp). Others are told how they wait.
  virtual result<void> send(const value& v, wait_limit until) const;
  virtual result<value> receive(wait_limit until) const;
  virtual result<std::size_t> select(selection& cases, wait_limit until) const;
  /// The host program uses this end no more, until it does again. Others release through their context.
  virtual result<void> release(channel_end which) const;
  /// basic_channel::close or destroy; what answers false there is channel_closed.
  virtual result<void> end(bool (basic_channel::*how)(aftermath&)) const;

private:
  channel_handle channel_;
};

/// Empty for an empty value.
channel_handle handle_of(const any_channel& c);
any_channel value_of(channel_handle channel);

/// As reference_codec::put_channel and get_channel say.
bool put_channel(wire_writer& out, channel_space& space, const any_channel& c);
any_channel get_channel(channel_space& space, channel_number number);

/// Why an operation on a channel came to nothing: timeout (full, empty), channel_closed, channel_full, interpreter_gone
/// (orphaned), out_of_memory. `sender` is whose item was orphaned.
error channel_error(const basic_channel& c, channel_status how, interpreter_id sender = {});
/// not_shareable: what is written for one runtime means nothing in another.
error of_another_runtime(const basic_channel& c);

} // namespace Atoll
