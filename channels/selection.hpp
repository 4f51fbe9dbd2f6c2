// The first of several receives and sends that is possible, for C++. Made for one wait.
//
//   Atoll::selection s;
//   const auto job = s.receive(jobs), done = s.send(results, 5);
//   const auto which = s.wait(100ms);            // a host thread; a native interpreter: co_await context.select(s)
//   if (which && *which == job) use(s.received<std::string>());
//
// Exactly one case takes effect, or, after an error, none. Cases whose handle is empty are passed over. Among several that
// are possible each has the same chance.
// Threads: one at a time.
#pragma once

#include "channels/channel.hpp"

namespace Atoll {

class selection {
public:
  using duration = std::chrono::nanoseconds;
  struct one {
    any_channel where;
    std::optional<value> item; // nothing: it receives
  };

  /// The number of the case.
  template <class T>
  std::size_t receive(const channel<T>& c) {
    return add(c.untyped(), std::nullopt);
  }
  template <class T>
  std::size_t send(const channel<T>& c, const std::type_identity_t<T>& x) {
    return add(c.untyped(), to_value(x));
  }

  /// Host threads: which case took effect; or timeout, or how the chosen case failed (chosen() tells which that was).
  result<std::size_t> wait() { return wait_until(std::nullopt); }
  result<std::size_t> wait(duration limit) { return wait_until(limit_after(limit)); }
  result<std::size_t> try_now() { return wait_until(at_once); }

  std::optional<std::size_t> chosen() const noexcept { return chosen_; }
  template <class T>
  result<T> received() const {
    return value_cast<T>(received_);
  }

  // For those who carry it out.
  const std::vector<one>& cases() const noexcept { return cases_; }
  void choose(std::size_t which) noexcept { chosen_ = which; }
  void set_received(value v) noexcept { received_ = std::move(v); }

private:
  std::size_t add(any_channel c, std::optional<value> item) {
    cases_.push_back({std::move(c), std::move(item)});
    return cases_.size() - 1;
  }
  result<std::size_t> wait_until(wait_limit until);

  std::vector<one> cases_;
  std::optional<std::size_t> chosen_;
  value received_;
};

} // namespace Atoll
