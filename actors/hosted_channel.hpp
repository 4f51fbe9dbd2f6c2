// A channel in the hands of the host program: its threads block while they wait.
// Threads: any thread but an interpreter's turn (invalid_argument).
#pragma once

#include "actors/host_port.hpp"
#include "channels/selection.hpp"

namespace Atoll {

class hosted_channel final : public kept_channel {
public:
  hosted_channel(std::shared_ptr<host_port> port, channel_handle channel) noexcept
      : kept_channel(std::move(channel)), port_(std::move(port)) {}

  result<void> send(const value& v, wait_limit until) const override;
  result<value> receive(wait_limit until) const override;
  result<std::size_t> select(selection& cases, wait_limit until) const override;
  result<void> release(channel_end which) const override;
  result<void> end(bool (basic_channel::*how)(aftermath&)) const override;

private:
  bool wait_for(thread_wait& w, wait_limit until) const;
  error why_not(const basic_channel& c, channel_status how, interpreter_id sender = {}) const;

  std::shared_ptr<host_port> port_;
};

} // namespace Atoll
