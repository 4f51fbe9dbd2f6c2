// Keeps a channel alive and usable: the right to send and receive, counted.
// Why: apart from the memory of a channel (channel_ptr): with its last handle a channel gives back what is in it, while
// waits and texts may still look at it.
// Ownership: a handle stands for one of the channel's handles_; in a message it is counted by the space (channel_space.hpp).
// Threads: any thread; one handle one thread at a time.
#pragma once

#include <boost/smart_ptr/intrusive_ptr.hpp>

namespace Atoll {

class basic_channel;
using channel_ptr = boost::intrusive_ptr<basic_channel>;

class channel_handle {
public:
  channel_handle() noexcept;
  channel_handle(const channel_handle& other) noexcept;
  channel_handle(channel_handle&& other) noexcept;
  channel_handle& operator=(channel_handle other) noexcept;
  ~channel_handle();

  explicit operator bool() const noexcept { return channel_.get() != nullptr; }
  basic_channel* get() const noexcept { return channel_.get(); }
  basic_channel* operator->() const noexcept { return channel_.get(); }
  basic_channel& operator*() const noexcept { return *channel_.get(); }
  const channel_ptr& pointer() const noexcept { return channel_; }

  friend bool operator==(const channel_handle& a, const channel_handle& b) noexcept { return a.get() == b.get(); }

private:
  friend class channel_space;
  /// Takes over a count.
  explicit channel_handle(channel_ptr counted) noexcept;
  channel_ptr channel_;
};

} // namespace Atoll
