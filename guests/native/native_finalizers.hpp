// The finalizers of a native interpreter: C++ functions that run once, when an object dies, when called, or at exit
// (DESIGN section 10).
// Why: a destructor cannot be cancelled, has no order among objects, and finds what it refers to gone at the end.
// Ownership: the native_context; native_finalizer is a name for one of them.
// Threads: owner only.
// Invariants: (1) a function runs at most once, and none runs after close(). (2) the object of a finalizer is whole and
//             held while it runs; who keeps a handle to it has brought it back to life. (3) an object whose finalizers
//             run because it dies gets no new ones: the end of an object comes to an end.
#pragma once

#include <functional>
#include <unordered_map>
#include <vector>

#include "channels/on_demand.hpp"
#include "runtime/errors.hpp"
#include "runtime/finalizers.hpp"
#include "runtime/host.hpp"
#include "runtime/object.hpp"

namespace Atoll {

class native_context;

/// Counts a finalizer or exit handler that ran; one that failed goes to the log.
void report_finalizer(host& outside, const result<void>& ran, const char* what);

class native_finalizers final : public death_watch {
public:
  using id = finalizer_registry::id;
  /// With the object it is for; null when it is for none.
  using function = std::function<void(native_context&, object*)>;

  explicit native_finalizers(native_context& context) noexcept : context_(context) {}

  /// invalid_argument: no function, nothing it could ever run for, an object that is dying or another interpreter's;
  /// runtime_finalizing: too late.
  result<id> add(object* o, function f, std::optional<int> priority);
  /// False: it ran, was cancelled, or is about to run as its object dies. What the function throws is the error.
  result<bool> run(id which);
  bool cancel(id which);
  /// Runs the first of those of at least this priority, what it throws is reported; false: there is none.
  bool run_next(int min_priority);
  /// Forgets those that are left; none can be made any more.
  void close();

  std::size_t size() const noexcept { return book_ ? book_->records.size() : 0; }
  /// Some have a priority of 0 or more.
  bool acts_at_exit() const { return book_ && book_->order.next(0).has_value(); }

private:
  struct record {
    object* dying_with = nullptr;
    function run;
  };

  void dying(object& o) override;
  std::optional<record> take(id which);
  result<void> call(const record& r);
  void call_reported(const record& r);

  native_context& context_;
  struct book {
    finalizer_registry order;
    std::unordered_map<id, record> records;
    std::unordered_map<const object*, std::vector<id>> by_object; // oldest first
    std::vector<const object*> dying;
  };
  on_demand<book> book_;
  bool closed_ = false;
};

/// One finalizer of an interpreter, by which it is run or cancelled. It does not keep the finalizer or its object alive,
/// and must not be used once its interpreter is closed.
class native_finalizer {
public:
  native_finalizer() = default;
  native_finalizer(native_finalizers& all, native_finalizers::id which) noexcept : all_(&all), id_(which) {}

  /// Runs it now and disarms it. False when it ran or was cancelled before; the error is what it threw.
  result<bool> run() { return all_ != nullptr ? all_->run(id_) : result<bool>(false); }
  /// Disarms it; false when it ran or was cancelled before.
  bool cancel() { return all_ != nullptr && all_->cancel(id_); }

private:
  native_finalizers* all_ = nullptr;
  native_finalizers::id id_ = 0;
};

} // namespace Atoll
