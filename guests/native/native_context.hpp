// What native functions and methods see of the interpreter they run in.
// Why: a function that needs none of it takes plain arguments; one that does takes a native_context& before them.
// Ownership: part of the native guest; valid as long as it.
// Threads: owner only, in its turn. Do not keep it beyond a call into another thread.
// Later: calls that wait (co_await context.call(...)) end in native_guest::resume; send() below does not wait.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "guests/native/native_finalizers.hpp"
#include "guests/native/native_values.hpp"
#include "runtime/host.hpp"
#include "runtime/object.hpp"
#include "runtime/value_codec.hpp"

namespace Atoll {

/// Own objects are exported as they leave, others' are passed on out of their import.
class native_codec final : public reference_codec {
public:
  native_codec(host& outside, foreign_space& foreign) noexcept : host_(outside), foreign_(foreign) {}

  bool put(wire_writer& out, const reference& r) override;
  reference get(const wire_ref& r) override;
  void refuse_connection(std::uint64_t connection) override { host_.close_connection(connection); }

private:
  type_id type_of(const object_class& cls);

  host& host_;
  foreign_space& foreign_;
  const object_class* last_class_ = nullptr; // objects exported one after the other are mostly of one class
  type_id last_type_{};
};

class native_context {
public:
  using exit_handler = std::function<void(native_context&)>;
  template <class T>
  using object_finalizer = std::function<void(native_context&, const handle<T>&)>;

  explicit native_context(host& outside)
      : host_(outside), objects_(outside.memory()), foreign_(outside), codec_(outside, foreign_), finalizers_(*this) {}
  native_context(const native_context&) = delete;
  native_context& operator=(const native_context&) = delete;

  interpreter_id id() const noexcept { return host_.id(); }
  const std::string& name() const noexcept { return host_.name(); }
  host& outside() noexcept { return host_; }
  object_space& objects() noexcept { return objects_; }
  native_codec& references() noexcept { return codec_; }

  /// A new object in this interpreter's heap. Throws std::bad_alloc over its limit.
  template <class T, class... Args>
  handle<T> make(Args&&... args) {
    return handle<T>(objects_.create<T>(std::forward<Args>(args)...));
  }

  /// The one T of this interpreter, made by its default constructor when first asked for: what functions share.
  template <class T>
  T& state() {
    std::unique_ptr<own_holder>& s = states_[typeid(T)];
    if (!s) s = std::make_unique<own_holder>(*objects_.create<T>());
    return *content_of<T>(s->held());
  }

  /// One-way: a function of an interpreter, or a method of a foreign object. Fails with interpreter_gone,
  /// reference_released, not_shareable or out_of_memory; nothing was sent then. A crowded receiver is no failure.
  template <class... Args>
  result<void> send(interpreter_id to, std::string_view function, Args&&... args) {
    return send_values(to, function, std::vector<value>{to_value(std::forward<Args>(args))...});
  }
  template <class... Args>
  result<void> send(const foreign_ref& to, std::string_view method, Args&&... args) {
    return send_values(to, method, std::vector<value>{to_value(std::forward<Args>(args))...});
  }
  result<void> send_values(interpreter_id to, std::string_view function, std::span<const value> args);
  result<void> send_values(const foreign_ref& to, std::string_view method, std::span<const value> args);

  /// Runs at exit, last in first out. runtime_finalizing when the exit handlers have run.
  result<void> at_exit(exit_handler f);

  /// Runs once: when the object dies (it is whole then, and lives on if a handle to it is kept), by hand, or, with a
  /// priority, at exit, highest first, the newest first among equals: those of 0 and more while all peers live, the rest
  /// when this interpreter closes. Objects die of their last handle: the function must not hold one.
  /// invalid_argument: an empty or another interpreter's handle, a dying object, no function. runtime_finalizing: too late.
  template <class T>
  result<native_finalizer> finalizer(const handle<T>& o, std::type_identity_t<object_finalizer<T>> f,
                                     std::optional<int> priority = std::nullopt) {
    if (!o) return fail(errc::invalid_argument, "finalizer: an object expected, got an empty handle");
    native_finalizers::function run;
    if (f) run = [f = std::move(f)](native_context& c, object* dying) { f(c, handle<T>::of(*dying)); };
    return named(finalizers_.add(&o.header(), std::move(run), priority));
  }
  /// The same without an object: by hand or at exit.
  result<native_finalizer> finalizer(exit_handler f, int priority);

private:
  friend class native_guest;
  result<native_finalizer> named(result<native_finalizers::id> made);
  result<void> finish(wire_writer& w, std::span<const value> args, interpreter_id to);

  host& host_;
  object_space objects_;
  foreign_space foreign_;
  native_codec codec_;
  std::unordered_map<std::type_index, std::unique_ptr<own_holder>> states_;
  std::vector<exit_handler> exit_handlers_;
  bool exit_handlers_over_ = false;
  native_finalizers finalizers_;
};

} // namespace Atoll
