// Calls a C++ function with arguments that came as values.
// Why: behaviours are written as plain functions and methods; this finds out what they take and give.
//   ([T& self,] [native_context&,] arguments...) -> void | T | std::tuple<...> | result<any of these> | native_task<any>
//   native_args as the only argument takes whatever comes.
// A lambda may not be mutable: interpreters on several threads share it.
// Ownership: what a function is given lives until it has returned. For a coroutine that is its end, however often it waits:
// carry_task() has the arguments in its frame, and what they point into, and the guest holds the object of a method.
// Threads: owner only.
#pragma once

#include <functional>
#include <span>
#include <tuple>
#include <variant>
#include <vector>

#include "guests/native/native_context.hpp"
#include "runtime/guarded.hpp"

namespace Atoll {

using native_args = std::span<const value>;
using native_results = result<std::vector<value>>;
/// What a function answers: at once, or when a task has ended.
using native_reply = std::variant<native_results, native_task<native_results>>;
using native_function = std::function<native_reply(native_context&, native_args)>;
using native_method = std::function<native_reply(native_context&, object&, native_args)>;

namespace detail {

template <class R, class... A>
struct signature {
  using returned = R;
  using arguments = std::tuple<std::remove_cvref_t<A>...>;
};

template <class F>
struct signature_of : signature_of<decltype(&F::operator())> {
  // A callable object: its own `this` is no argument.
  using arguments = typename signature_of<decltype(&F::operator())>::call_arguments;
};
template <class R, class... A>
struct signature_of<R (*)(A...)> : signature<R, A...> {};
template <class R, class... A>
struct signature_of<R (*)(A...) noexcept> : signature<R, A...> {};
template <class R, class C, class... A>
struct signature_of<R (C::*)(A...)> : signature<R, C, A...> {
  using call_arguments = typename signature<R, A...>::arguments;
};
template <class R, class C, class... A>
struct signature_of<R (C::*)(A...) const> : signature_of<R (C::*)(A...)> {};
template <class R, class C, class... A>
struct signature_of<R (C::*)(A...) noexcept> : signature_of<R (C::*)(A...)> {};
template <class R, class C, class... A>
struct signature_of<R (C::*)(A...) const noexcept> : signature_of<R (C::*)(A...)> {};

template <class>
struct is_result : std::false_type {};
template <class T>
struct is_result<result<T>> : std::true_type {};

template <class R>
native_results pack(R&& returned) {
  if constexpr (is_result<std::remove_cvref_t<R>>::value) {
    if (!returned) return tl::unexpected<error>(std::forward<R>(returned).error());
    if constexpr (std::is_void_v<typename std::remove_cvref_t<R>::value_type>)
      return std::vector<value>{};
    else
      return to_values(*std::forward<R>(returned));
  } else {
    return to_values(std::forward<R>(returned));
  }
}

template <class F, class... Lead>
native_results invoke_packed(const F& f, Lead&&... all) {
  if constexpr (std::is_void_v<std::invoke_result_t<const F&, Lead...>>) {
    std::invoke(f, std::forward<Lead>(all)...);
    return std::vector<value>{};
  } else {
    return pack(std::invoke(f, std::forward<Lead>(all)...));
  }
}

/// Whether an argument of this type has nothing of the value it was made of.
template <class T>
inline constexpr bool self_contained =
    std::is_arithmetic_v<T> || std::same_as<T, std::string> || std::same_as<T, value>;
template <class T>
inline constexpr bool self_contained<handle<T>> = true;
template <>
inline constexpr bool self_contained<foreign_ref> = true;

template <class F, class... Args, class... Lead>
auto apply_moved(const F& f, std::tuple<Args...>& args, Lead&... lead) {
  return std::apply([&](Args&... a) { return std::invoke(f, lead..., static_cast<Args&&>(a)...); }, args);
}

/// Runs f, which returns a task, with arguments that live as long as it does. `kept`: what they point into.
template <class F, class Arguments, class... Lead>
native_task<native_results> carry_task(native_context&, F f, [[maybe_unused]] std::vector<value> kept,
                                       Arguments arguments, Lead&... lead) {
  auto task = apply_moved(f, arguments, lead...);
  if constexpr (std::is_void_v<typename decltype(task)::value_type>) {
    co_await std::move(task);
    co_return std::vector<value>{};
  } else {
    co_return pack(co_await std::move(task));
  }
}

/// Calls f(lead..., args...).
template <class F, class... Args, class... Lead>
native_reply call_with(native_context& context, F f, std::vector<value> kept, std::tuple<Args...>& args,
                       Lead&... lead) {
  if constexpr (is_native_task<std::invoke_result_t<F&, Lead&..., Args...>>)
    return carry_task(context, std::move(f), std::move(kept), std::move(args), lead...);
  else
    return std::apply([&](Args&... a) { return invoke_packed(f, lead..., static_cast<Args&&>(a)...); }, args);
}

template <class... Args, class F, class... Lead>
native_reply call_values(std::type_identity<std::tuple<Args...>>, const F& f, native_context& context,
                         native_args given, Lead&... lead) {
  std::vector<value> kept;
  if constexpr (is_native_task<std::invoke_result_t<const F&, Lead&..., Args...>> && !(self_contained<Args> && ...)) {
    kept.assign(given.begin(), given.end());
    given = kept;
  }
  if constexpr (std::is_same_v<std::tuple<Args...>, std::tuple<native_args>>) {
    std::tuple<native_args> args(given);
    return call_with(context, std::cref(f), std::move(kept), args, lead...);
  } else {
    if (given.size() > sizeof...(Args))
      return fail(errc::invalid_argument, fmt::format("takes {} argument{}, got {}", sizeof...(Args),
                                                      sizeof...(Args) == 1 ? "" : "s", given.size()));
    result<std::tuple<Args...>> args = values_cast<std::tuple<Args...>>(given);
    if (!args) return tl::unexpected<error>(std::move(args.error()));
    return call_with(context, std::cref(f), std::move(kept), *args, lead...);
  }
}

/// Passes the context when the function asks for it next.
template <class First, class... Rest, class F, class... Lead>
requires std::same_as<First, native_context> native_reply call_next(std::type_identity<std::tuple<First, Rest...>>,
                                                                    const F& f, native_context& context,
                                                                    native_args given, Lead&... lead) {
  return call_values(std::type_identity<std::tuple<Rest...>>{}, f, context, given, lead..., context);
}
template <class... Args, class F, class... Lead>
native_reply call_next(std::type_identity<std::tuple<Args...>>, const F& f, native_context& context, native_args given,
                       Lead&... lead) {
  return call_values(std::type_identity<std::tuple<Args...>>{}, f, context, given, lead...);
}

template <class Tuple>
struct without_first;
template <class First, class... Rest>
struct without_first<std::tuple<First, Rest...>> {
  using type = std::tuple<Rest...>;
};

} // namespace detail

/// What calling the function throws is its answer too.
template <class F>
native_reply guarded_reply(F&& f) {
  native_reply reply;
  native_results thrown = guarded([&]() -> native_results {
    reply = f();
    return {};
  });
  if (!thrown) reply = std::move(thrown);
  return reply;
}

template <class F>
native_function adapt_function(F f) {
  using arguments = typename detail::signature_of<F>::arguments;
  return [f = std::move(f)](native_context& context, native_args given) {
    return detail::call_next(std::type_identity<arguments>{}, f, context, given);
  };
}

/// For a method of T, or a callable whose first argument is a T&. The object is known to be a T.
template <class T, class F>
native_method adapt_method(F f) {
  using arguments = typename detail::without_first<typename detail::signature_of<F>::arguments>::type;
  return [f = std::move(f)](native_context& context, object& o, native_args given) {
    T& self = *content_of<T>(o);
    return detail::call_next(std::type_identity<arguments>{}, f, context, given, self);
  };
}

} // namespace Atoll
