// The answer to a host thread's call, before it is there.
// Why: not std::future: asking twice is right here, a timeout is an ordinary error, and nothing throws.
// Ownership: copies share one answer; the runtime's end of it is given up at the latest when the runtime ends.
// Threads: any thread outside of the runtime's own: an interpreter's turn that waited here could wait for itself. That is
// a mistake: it aborts in checked builds and answers invalid_argument in others. ready() may be asked anywhere.
// Invariants: (1) an answer is given once, and stays. (2) every answer is given at the latest when the runtime has been
//                 finalized: get() does not hang; in a forked child it answers `forked` at once. (3) a future that nobody keeps gives the references in its answer back.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "channels/fork.hpp"
#include "runtime/value_cast.hpp"

namespace Atoll {

/// What a call came to: its results, or why there are none.
using call_results = result<std::vector<value>>;

/// Where the runtime leaves a call's results and host threads wait for them.
class answer {
public:
  /// The first results count.
  void give(call_results results);
  bool given() const;
  /// Waits; null at `until`, or when the calling thread must not wait (`why` tells).
  const call_results* await(std::optional<std::chrono::steady_clock::time_point> until, error& why) const;

private:
  mutable std::mutex mutex_;
  mutable unless_forked<std::condition_variable> changed_;
  std::optional<call_results> results_; // under mutex_ until given, then immutable
};

template <class T>
class future {
public:
  using cast_function = std::function<result<T>(const std::vector<value>&)>;

  /// `cast` makes a T of the results; without it they are cast as value_cast.hpp says.
  explicit future(std::shared_ptr<const answer> from, cast_function cast = {})
      : answer_(std::move(from)), cast_(std::move(cast)) {}
  /// Failed from the start.
  explicit future(error why) {
    auto failed = std::make_shared<answer>();
    failed->give(tl::unexpected<error>(std::move(why)));
    answer_ = std::move(failed);
  }

  bool ready() const { return answer_->given(); }
  /// Waits for the answer: the results, or the callee's error, interpreter_gone, runtime_finalizing, ...
  result<T> get() const { return take(std::nullopt); }
  /// As get(), but errc::timeout when the answer is not there in time; it may be asked for again.
  result<T> get_for(std::chrono::milliseconds patience) const {
    return take(std::chrono::steady_clock::now() + patience);
  }

private:
  result<T> take(std::optional<std::chrono::steady_clock::time_point> until) const {
    error why;
    const call_results* r = answer_->await(until, why);
    if (r == nullptr) return tl::unexpected<error>(std::move(why));
    if (!*r) return tl::unexpected<error>(r->error());
    if (cast_) return cast_(**r);
    constexpr bool has_form = requires(const value& v) { value_traits<T>::from(v); };
    if constexpr (std::is_void_v<T> || has_form || detail::is_tuple<T>::value) {
      return values_cast<T>(**r);
    } else {
      return fail(errc::invalid_argument, "this answer has no form in C++");
    }
  }

  std::shared_ptr<const answer> answer_;
  cast_function cast_;
};

} // namespace Atoll
