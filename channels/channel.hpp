// A typed handle of a channel, for C++: host threads send and receive with it, native interpreters pass it to their context.
//
//   auto jobs = runtime.make_channel<std::string>({.capacity = 100}).value();
//   worker.send("run", jobs);                       // a channel is a value
//   jobs.send("one", 50ms);                         // host threads wait; a native interpreter: co_await c.send(jobs, "one")
//   while (auto job = jobs.recv()) use(*job);       // until it is closed and empty
//
// Ownership: a value; the channel lives while anybody has one.
// Threads: any thread. Those that wait: not in an interpreter's turn.
// Errors: timeout; channel_closed; channel_full (full_policy::fail, drop_newest); interpreter_gone (the sender of an item that
// was to become an error has ended); not_shareable, invalid_argument (the value has another type); runtime_finalized; forked.
#pragma once

#include "channels/channel_value.hpp"
#include "runtime/value_cast.hpp"

namespace Atoll {

/// What came out of a channel, as a T.
template <class T>
result<T> received_as(result<value> got) {
  if constexpr (std::is_same_v<T, value>) {
    return got;
  } else {
    if (!got) return tl::unexpected<error>(std::move(got.error()));
    result<T> x = value_cast<T>(*got);
    if (!x) return detail::inside("an item of the channel", std::move(x.error()));
    return x;
  }
}

template <class T = value>
class channel {
public:
  using duration = std::chrono::nanoseconds;

  channel() = default;
  explicit channel(any_channel c) noexcept : any_(std::move(c)) {}

  explicit operator bool() const noexcept { return static_cast<bool>(any_); }
  channel_number number() const noexcept { return any_.number(); }
  const any_channel& untyped() const noexcept { return any_; }

  /// Waits for room: as long as it takes, or so long. After an error nothing was sent.
  result<void> send(const T& x) const { return send_until(x, std::nullopt); }
  result<void> send(const T& x, duration limit) const { return send_until(x, limit_after(limit)); }
  result<void> try_send(const T& x) const { return send_until(x, at_once); }
  result<T> recv() const { return receive_until(std::nullopt); }
  result<T> recv(duration limit) const { return receive_until(limit_after(limit)); }
  result<T> try_recv() const { return receive_until(at_once); }

  /// No more is sent; what is there can be received. channel_closed when it was closed before.
  result<void> close() const { return end(&basic_channel::close); }
  /// The host program uses this end no more, until it does again: with the last sender the channel closes, unless it is to
  /// stay open. In native interpreters: native_context::release.
  result<void> release(channel_end which = channel_end::both) const { return any_ ? kept().release(which) : none(); }
  /// What is there is dropped too.
  result<void> destroy() const { return end(&basic_channel::destroy); }

  // Of an empty handle, and in a forked child: nothing, and closed.
  std::size_t size() const { return there() ? kept().channel()->size() : 0; }
  bool is_closed() const { return !there() || kept().channel()->is_closed(); }
  channel_ends ends() const { return there() ? kept().channel()->ends() : channel_ends{}; }
  channel_figures figures() const { return there() ? kept().channel()->figures() : channel_figures{}; }

  friend bool operator==(const channel& a, const channel& b) noexcept { return a.any_ == b.any_; }

private:
  const kept_channel& kept() const { return *any_.as<kept_channel>(); }
  bool there() const { return any_ && !kept().channel()->space().forked(); }
  static tl::unexpected<error> none() { return fail(errc::invalid_argument, "an empty handle names no channel"); }

  result<void> send_until(const T& x, wait_limit until) const {
    return any_ ? kept().send(to_value(x), until) : none();
  }
  result<T> receive_until(wait_limit until) const {
    if (!any_) return none();
    return received_as<T>(kept().receive(until));
  }
  result<void> end(bool (basic_channel::*how)(aftermath&)) const { return any_ ? kept().end(how) : none(); }

  any_channel any_;
};

template <class T>
struct value_traits<channel<T>> {
  static std::string name() { return "channel"; }
  static result<channel<T>> from(const value& v) {
    if (const any_channel* c = v.if_channel()) return channel<T>(*c);
    return wrong_type(name(), v);
  }
  static value to(const channel<T>& c) { return c ? value(c.untyped()) : value(); }
};

} // namespace Atoll

template <class T>
struct std::hash<Atoll::channel<T>> {
  std::size_t operator()(const Atoll::channel<T>& c) const noexcept {
    return std::hash<Atoll::channel_number>()(c.number());
  }
};
