// Calls a C++ function with arguments that came as values.
// Why: behaviours are written as plain functions and methods; this finds out what they take and give.
//   ([T& self,] [native_context&,] arguments...) -> void | T | std::tuple<...> | result<any of these>
//   native_args as the only argument takes whatever comes.
// A lambda may not be mutable: interpreters on several threads share it.
// Threads: owner only.
#pragma once

#include <functional>
#include <span>
#include <tuple>
#include <vector>

#include "guests/native/native_context.hpp"

namespace Atoll {

using native_args = std::span<const value>;
using native_results = result<std::vector<value>>;
using native_function = std::function<native_results(native_context&, native_args)>;
using native_method = std::function<native_results(native_context&, object&, native_args)>;

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

/// Calls f(lead..., arguments of the types Args...).
template <class... Args, class F, class... Lead>
native_results call_with(std::type_identity<std::tuple<Args...>>, const F& f, native_args given, Lead&... lead) {
  if constexpr (std::is_same_v<std::tuple<Args...>, std::tuple<native_args>>) {
    return invoke_packed(f, lead..., given);
  } else {
    if (given.size() > sizeof...(Args))
      return fail(errc::invalid_argument, fmt::format("takes {} argument{}, got {}", sizeof...(Args),
                                                      sizeof...(Args) == 1 ? "" : "s", given.size()));
    result<std::tuple<Args...>> args = values_cast<std::tuple<Args...>>(given);
    if (!args) return tl::unexpected<error>(std::move(args.error()));
    return std::apply([&](Args&... a) { return invoke_packed(f, lead..., static_cast<Args&&>(a)...); }, *args);
  }
}

/// Passes the context when the function asks for it next.
template <class First, class... Rest, class F, class... Lead>
requires std::same_as<First, native_context> native_results call_next(std::type_identity<std::tuple<First, Rest...>>,
                                                                      const F& f, native_context& context,
                                                                      native_args given, Lead&... lead) {
  return call_with(std::type_identity<std::tuple<Rest...>>{}, f, given, lead..., context);
}
template <class... Args, class F, class... Lead>
native_results call_next(std::type_identity<std::tuple<Args...>>, const F& f, native_context&, native_args given,
                         Lead&... lead) {
  return call_with(std::type_identity<std::tuple<Args...>>{}, f, given, lead...);
}

template <class Tuple>
struct without_first;
template <class First, class... Rest>
struct without_first<std::tuple<First, Rest...>> {
  using type = std::tuple<Rest...>;
};

} // namespace detail

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
