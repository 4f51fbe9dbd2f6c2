// What native functions and methods see of the interpreter they run in.
// Why: a function that needs none of it takes plain arguments; one that does takes a native_context& before them.
// Ownership: part of the native guest; valid as long as it.
// Threads: owner only, in its turn. Do not keep it beyond a call into another thread.
// What waits (call, send_paced, sleep) is for coroutines (native_task.hpp); it begins at once and ends as native_wait.hpp says.
#pragma once

#include <array>
#include <functional>
#include <span>
#include <string_view>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "channels/buffer_space.hpp"
#include "guests/native/native_channels.hpp"
#include "guests/native/native_finalizers.hpp"
#include "guests/native/native_operations.hpp"
#include "guests/native/native_values.hpp"
#include "guests/native/task_handle.hpp"
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
  bool put_channel(wire_writer& out, const any_channel& c) override;
  any_channel get_channel(channel_number number) override;
  result<void> put_buffer(wire_writer& out, const buffer_holder& b) override { return put_held(out, b); }
  result<value> get_buffer(const wire_slice& s) override { return host_.buffers().receive(s).map(to_value<buffer>); }
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
  template <class T>
  using object_finalizer = std::function<void(native_context&, const handle<T>&)>;

  explicit native_context(host& outside)
      : host_(outside),
        objects_(outside.memory()),
        foreign_(outside),
        codec_(outside, foreign_),
        finalizers_(*this),
        tasks_(outside, codec_) {}
  native_context(const native_context&) = delete;
  native_context& operator=(const native_context&) = delete;

  interpreter_id id() const noexcept { return host_.id(); }
  const std::string& name() const noexcept { return host_.name(); }
  host& outside() noexcept { return host_; }
  object_space& objects() noexcept { return objects_; }
  native_codec& references() noexcept { return codec_; }
  native_tasks& tasks() noexcept { return tasks_; }

  /// A new object in this interpreter's heap. Throws std::bad_alloc over its limit.
  template <class T, class... Args>
  handle<T> make(Args&&... args) {
    return handle<T>(objects_.create<T>(std::forward<Args>(args)...));
  }

  /// Shared memory that this interpreter owns, zeroed and charged to its heap (channels/buffer.hpp). out_of_memory.
  result<buffer> make_buffer(std::size_t bytes) { return host_.buffers().make(bytes); }

  /// The one T of this interpreter, made by its default constructor when first asked for: what functions share.
  template <class T>
  T& state() {
    std::unique_ptr<own_holder>& s = states_[typeid(T)];
    if (!s) s = std::make_unique<own_holder>(*objects_.create<T>());
    return *content_of<T>(s->held());
  }

  /// One-way, to a function of an interpreter (its id) or a method of an object of another (a foreign_ref). Fails with
  /// interpreter_gone, reference_released, not_shareable or out_of_memory; nothing was sent then. A crowded receiver is no
  /// failure.
  template <class... Args>
  result<void> send(const native_target& to, std::string_view name, Args&&... args) {
    return send_values(to, name, std::array<value, sizeof...(Args)>{to_value(std::forward<Args>(args))...});
  }
  result<void> send_values(const native_target& to, std::string_view name, std::span<const value> args) {
    return send_message(tasks_, to, name, args).map([](send_status) {});
  }
  /// The same, and co_await waits while the receiver is crowded. Sent it is before: past a deadline, too.
  template <class... Args>
  awaited<room_operation> send_paced(const native_target& to, std::string_view name, Args&&... args) {
    const std::array<value, sizeof...(Args)> values{to_value(std::forward<Args>(args))...};
    return awaited<room_operation>(tasks_, to, name, values);
  }

  /// Calls a function or a method, as send(); co_await gives a result<R>: what it returned (several: R is a std::tuple), its
  /// error, or why there is no answer. Destroyed unanswered, the answer is not waited for any more.
  template <class R = value, class... Args>
  awaited<call_operation<R>> call(const native_target& to, std::string_view name, Args&&... args) {
    const std::array<value, sizeof...(Args)> values{to_value(std::forward<Args>(args))...};
    return awaited<call_operation<R>>(tasks_, to, name, values);
  }

  /// Into a channel, and out of it; co_await gives a result and waits only when it must. Errors: channels/channel.hpp.
  template <class T>
  awaited<send_operation> send(const channel<T>& to, const std::type_identity_t<T>& x,
                               std::optional<orphan_policy> orphans = std::nullopt) {
    return awaited<send_operation>(tasks_, to.untyped(), to_value(x), orphans);
  }
  template <class T>
  awaited<receive_operation<T>> recv(const channel<T>& from) {
    return awaited<receive_operation<T>>(tasks_, from.untyped());
  }
  /// The same at once, also in functions that are no coroutines; timeout when that cannot be.
  template <class T>
  result<void> try_send(const channel<T>& to, const std::type_identity_t<T>& x) {
    return send_operation::at_once(tasks_, to.untyped(), to_value(x));
  }
  template <class T>
  result<T> try_recv(const channel<T>& from) {
    return received_as<T>(receive_any::at_once(tasks_, from.untyped()));
  }
  /// This interpreter uses that end no more, until it does again.
  template <class T>
  void release(const channel<T>& c, channel_end which = channel_end::both) {
    if (const channel_handle h = handle_of(c.untyped()))
      host_.channels().release(*h, which != channel_end::receiver, which != channel_end::sender);
  }
  /// The first of several; `cases` outlives the wait.
  awaited<select_operation> select(selection& cases) { return awaited<select_operation>(tasks_, cases); }
  template <class T = value>
  result<channel<T>> make_channel(channel_options options = {}) {
    return host_.channels().space().make(std::move(options)).map([](channel_handle c) {
      return channel<T>(value_of(std::move(c)));
    });
  }

  /// Starts a child; co_await gives its id, or why it did not start. With options of a supervisor for its argument, and
  /// supervisor_language, that is a supervisor. (Name the options before: gcc 12 destroys aggregates that are written in
  /// braces inside a co_await twice.)
  template <class... Args>
  awaited<birth_operation> spawn_interpreter(const spawn_options& options, const source& from, Args&&... args) {
    const std::array<value, sizeof...(Args)> values{to_value(std::forward<Args>(args))...};
    return awaited<birth_operation>(tasks_, options, from, values);
  }

  awaited<sleep_operation> sleep(clock_type::duration how_long) {
    return awaited<sleep_operation>(tasks_, time_after(host_, how_long));
  }

  /// Runs a task beside this one (task_handle.hpp); it begins when what runs now waits, or ends.
  template <class T>
  task_handle<typename detail::joined<T>::type> spawn(native_task<T> task) {
    return spawn_task(tasks_, std::move(task));
  }

  /// Runs at exit, last in first out; the next waits until a coroutine has ended. runtime_finalizing when the exit
  /// handlers have run.
  result<void> at_exit(std::function<void(native_context&)> f);
  template <makes_task<native_context&> F>
  result<void> at_exit(F f) {
    return add_exit_handler(std::move(f));
  }

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
  result<native_finalizer> finalizer(std::function<void(native_context&)> f, int priority);
  // A finalizer does not wait: a coroutine would never run.
  template <makes_task<native_context&> F>
  void finalizer(F f, int priority) = delete;
  template <class T, makes_task<native_context&, const handle<T>&> F>
  void finalizer(const handle<T>& o, F f, std::optional<int> priority = std::nullopt) = delete;

private:
  friend class native_guest;
  using exit_handler = std::function<native_task<>(native_context&)>; // an empty task: it has run
  result<void> add_exit_handler(exit_handler f);
  result<native_finalizer> named(result<native_finalizers::id> made);

  host& host_;
  object_space objects_;
  foreign_space foreign_;
  native_codec codec_;
  std::unordered_map<std::type_index, std::unique_ptr<own_holder>> states_;
  std::vector<exit_handler> exit_handlers_;
  bool exit_handlers_over_ = false;
  native_finalizers finalizers_;
  native_tasks tasks_;
};

} // namespace Atoll
