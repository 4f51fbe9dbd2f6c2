// C++ as a language of a runtime, and typed references to its objects.
//
//   config.languages["native"] = Atoll::native(bank);                          // bank: a native_interface
//   auto accounts = runtime.spawn<Atoll::native>({.name = "accounts"}).value();
//   Atoll::ref<account> a = accounts.make<account>("alice").get().value();     // lives in that interpreter's heap
//   int balance = a.call(&account::deposit, 10).get().value();                 // runs in its turn
//   a = {};                                                                    // any thread: a release, nothing else
//
// Threads: what is sent along with a call is moved to the owner's turn as C++ values; what it returns crosses as a
// message, so it needs a form as a value (runtime/value_cast.hpp). An object of the owner's (handle<U>) comes as a ref<U>.
#pragma once

#include "actors/host_port.hpp"
#include "atoll/atoll.hpp"
#include "guests/native/factory.hpp"
#include "guests/native/native_interface.hpp"
#include "guests/native/native_job.hpp"

namespace Atoll {

/// Makes native guests that offer an interface. Another name than "native" may be given when registering; then spawn
/// with that spawn_options::language.
class native {
public:
  static constexpr const char* language = "native";
  explicit native(native_interface offered) : make_(make_native_guest(std::move(offered))) {}
  std::unique_ptr<guest> operator()(host& outside) const { return make_(outside); }

private:
  guest_factory make_;
};

namespace detail {

/// How an argument lies in the job: text is copied. Other pointers are the caller's to answer for, as with any thread.
template <class T>
struct crossing {
  using type = T;
};
template <>
struct crossing<std::string_view> {
  using type = std::string;
};
template <>
struct crossing<const char*> {
  using type = std::string;
};
template <>
struct crossing<char*> {
  using type = std::string;
};
template <class T>
using crossing_t = typename crossing<std::decay_t<T>>::type;

/// What a host thread gets for what a function returns.
template <class T>
struct brought {
  using type = std::remove_cvref_t<T>;
};
template <class T>
struct brought<handle<T>> {
  using type = ref<T>;
};
template <class T>
struct brought<result<T>> : brought<T> {};
template <class T>
struct brought<native_task<T>> : brought<T> {};
template <>
struct brought<void> {
  using type = void;
};

template <class... Args>
struct parameters {
  using values = std::tuple<crossing_t<Args>...>;
  static constexpr bool takes_context = false;

  template <class F, class... Lead>
  static native_reply apply(const F& f, values& args, native_context& c, Lead&... lead) {
    return call_with(c, f, {}, args, lead...);
  }
};
template <class... Args>
struct parameters<native_context, Args...> {
  using values = std::tuple<crossing_t<Args>...>;

  template <class F, class... Lead>
  static native_reply apply(const F& f, values& args, native_context& c, Lead&... lead) {
    return call_with(c, f, {}, args, lead..., c);
  }
};
template <class Tuple>
struct parameters_of;
template <class... Args>
struct parameters_of<std::tuple<Args...>> : parameters<Args...> {};

template <class Work>
class native_call_job final : public call_job {
public:
  explicit native_call_job(Work work) : work_(std::move(work)) {}
  void run(host& owner) override { run_native_work(owner, host_interpreter, call_, target_, std::ref(work_)); }

private:
  Work work_;
};

template <class Work>
std::unique_ptr<call_job> make_call(Work work) {
  return std::make_unique<native_call_job<Work>>(std::move(work));
}

} // namespace detail

template <class T>
class ref {
public:
  ref() = default;
  /// Of an object that is known to be a T; a wrong claim is found by the owner, at the first typed call.
  explicit ref(ref<> any) noexcept : any_(std::move(any)) {}

  explicit operator bool() const noexcept { return static_cast<bool>(any_); }
  operator ref<>() const { return any_; }
  interpreter_id owner() const noexcept { return any_.owner(); }
  void reset() noexcept { any_.reset(); }
  /// For what any object can: get, set, apply.
  const ref<>& untyped() const noexcept { return any_; }

  /// Calls a member function in the owner's turn; its arguments are converted here and moved there. One that returns a
  /// native_task may wait there.
  template <class M, class... Args>
  requires std::is_member_function_pointer_v<M>
  auto call(M method, Args&&... args) const {
    using signature = detail::signature_of<M>;
    using parameters = detail::parameters_of<typename signature::call_arguments>;
    using R = typename detail::brought<typename signature::returned>::type;
    return future<R>(
        any_.run(detail::make_call([method, given = typename parameters::values(std::forward<Args>(args)...)](
                                       native_context& c, object* o) mutable -> native_reply {
          T* const self = content_of<T>(*o);
          if (self == nullptr)
            return fail(errc::invalid_argument,
                        fmt::format("the object is no {}, but a {}", c.objects().class_of<T>().name, o->cls->name));
          return parameters::apply(method, given, c, *self);
        })));
  }
  /// Calls a method by its name.
  template <class R = value, class... Args>
  future<R> call(std::string_view method, Args&&... args) const {
    return any_.call<R>(method, std::forward<Args>(args)...);
  }
  template <class... Args>
  result<void> send(std::string_view method, Args&&... args) const {
    return any_.send(method, std::forward<Args>(args)...);
  }

  friend bool operator==(const ref& a, const ref& b) noexcept { return a.any_ == b.any_; }

private:
  ref<> any_;
};

template <class T>
struct value_traits<ref<T>> {
  static std::string name() { return "reference"; }
  static result<ref<T>> from(const value& v) {
    return value_cast<ref<>>(v).map([](ref<> r) { return ref<T>(std::move(r)); });
  }
  static value to(const ref<T>& r) { return to_value(r.untyped()); }
};

template <class T, class... Args>
future<ref<T>> interpreter_handle::make(Args&&... args) const {
  return future<ref<T>>(run(detail::make_call([given = std::tuple<detail::crossing_t<Args>...>(
                                                   std::forward<Args>(args)...)](native_context& c, object*) mutable {
    return std::apply([&](auto&... a) { return native_results(to_values(c.make<T>(std::move(a)...))); }, given);
  })));
}

} // namespace Atoll
