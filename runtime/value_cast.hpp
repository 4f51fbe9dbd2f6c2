// Between values and C++ types: value_cast<T>(v), to_value(x), and the same for argument lists.
// Why: native functions and host threads are written in ints, strings and vectors; what doesn't fit must say what was
// wanted and what was there. Numbers convert as in Lua: a float with an integral value is an integer.
// Extend: specialise value_traits<T> with name(), from(const value&) and to(T).
// Threads: plain functions.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>

#include <fmt/format.h>

#include "runtime/value.hpp"

namespace Atoll {

template <class T>
struct value_traits; // no primary: a type without a form as a value does not compile

template <class T>
concept value_type = requires {
  sizeof(value_traits<T>);
};

/// invalid_argument that says what was wanted and what was there.
inline tl::unexpected<error> wrong_type(std::string_view wanted, const value& got) {
  const bool scalar = got.type() != value::kind::nil && got.type() != value::kind::table;
  return fail(errc::invalid_argument, fmt::format("wanted {}, got {}{}{}", wanted, name_of(got.type()),
                                                  scalar ? " " : "", scalar ? to_string(got) : ""));
}

template <class T>
result<T> value_cast(const value& v) {
  return value_traits<T>::from(v);
}

template <class T>
value to_value(T&& x) {
  return value_traits<std::remove_cvref_t<T>>::to(std::forward<T>(x));
}

namespace detail {

inline tl::unexpected<error> inside(std::string_view where, error e) {
  e.message = fmt::format("{}: {}", where, e.message);
  return tl::unexpected<error>(std::move(e));
}

/// The integer a number stands for, as Lua converts: floats only when nothing is lost.
inline std::optional<std::int64_t> integer_of(const value& v) noexcept {
  if (const std::int64_t* i = v.if_integer()) return *i;
  const double* d = v.if_number();
  if (d == nullptr || !(*d >= -0x1p63 && *d < 0x1p63) || *d != std::floor(*d)) return std::nullopt;
  return static_cast<std::int64_t>(*d);
}

template <class T>
std::optional<T> fitting(const value& v) noexcept {
  if (const auto i = integer_of(v)) {
    if (std::in_range<T>(*i)) return static_cast<T>(*i);
  } else if constexpr (std::same_as<T, std::uint64_t> || std::same_as<T, unsigned long long>) {
    // Above int64: the float that value() made of it.
    const double* d = v.if_number();
    if (d != nullptr && *d >= 0x1p63 && *d < 0x1p64) return static_cast<T>(*d);
  }
  return std::nullopt;
}

/// A type whose content value hands out by pointer.
template <class T, const T* (value::*Get)() const noexcept>
struct held_traits {
  static result<T> from_named(const value& v, const char* name) {
    if (const T* held = (v.*Get)()) return *held;
    return wrong_type(name, v);
  }
  static value to(T x) { return value(std::move(x)); }
};

} // namespace detail

template <>
struct value_traits<value> {
  static std::string name() { return "any value"; }
  static result<value> from(const value& v) { return v; }
  static value to(value v) { return v; }
};

template <>
struct value_traits<bool> : detail::held_traits<bool, &value::if_bool> {
  static std::string name() { return "boolean"; }
  static result<bool> from(const value& v) { return from_named(v, "boolean"); }
};

template <value_integer T>
struct value_traits<T> {
  static std::string name() {
    return fmt::format("integer {}..{}", std::numeric_limits<T>::min() + 0, std::numeric_limits<T>::max() + 0);
  }
  static result<T> from(const value& v) {
    if (const auto i = detail::fitting<T>(v)) return *i;
    return wrong_type(detail::integer_of(v) || sizeof(T) < sizeof(std::int64_t) ? name() : "integer", v);
  }
  static value to(T x) { return x; }
};

template <std::floating_point T>
struct value_traits<T> {
  static std::string name() { return "number"; }
  static result<T> from(const value& v) {
    if (const double* d = v.if_number()) return static_cast<T>(*d);
    if (const std::int64_t* i = v.if_integer()) return static_cast<T>(*i);
    return wrong_type("number", v);
  }
  static value to(T x) { return x; }
};

template <>
struct value_traits<std::string> : detail::held_traits<std::string, &value::if_string> {
  static std::string name() { return "string"; }
  static result<std::string> from(const value& v) { return from_named(v, "string"); }
};

/// Points into the value it was cast from.
template <>
struct value_traits<std::string_view> {
  static std::string name() { return "string"; }
  static result<std::string_view> from(const value& v) {
    if (const std::string* s = v.if_string()) return std::string_view(*s);
    return wrong_type("string", v);
  }
  static value to(std::string_view s) { return s; }
};

template <>
struct value_traits<const char*> {
  static value to(const char* s) { return s; }
};

template <std::size_t N>
struct value_traits<char[N]> {
  static value to(const char* s) { return s; }
};

template <>
struct value_traits<table> : detail::held_traits<table, &value::if_table> {
  static std::string name() { return "table"; }
  static result<table> from(const value& v) { return from_named(v, "table"); }
};

template <>
struct value_traits<reference> : detail::held_traits<reference, &value::if_reference> {
  static std::string name() { return "reference"; }
  static result<reference> from(const value& v) { return from_named(v, "reference"); }
};

template <>
struct value_traits<interpreter_id> : detail::held_traits<interpreter_id, &value::if_interpreter> {
  static std::string name() { return "interpreter"; }
  static result<interpreter_id> from(const value& v) { return from_named(v, "interpreter"); }
};

template <>
struct value_traits<error> : detail::held_traits<error, &value::if_error> {
  static std::string name() { return "error"; }
  static result<error> from(const value& v) { return from_named(v, "error"); }
};

template <class T>
struct value_traits<std::optional<T>> {
  static std::string name() { return value_traits<T>::name() + " or nil"; }
  static result<std::optional<T>> from(const value& v) {
    if (v.is_nil()) return std::optional<T>();
    return value_cast<T>(v).map([](T x) { return std::optional<T>(std::move(x)); });
  }
  static value to(std::optional<T> x) { return x ? to_value(std::move(*x)) : value(); }
};

/// A table's array part; a table with keys of other kinds is refused.
template <class T>
struct value_traits<std::vector<T>> {
  static std::string name() { return "list of " + value_traits<T>::name(); }
  static result<std::vector<T>> from(const value& v) {
    const table* t = v.if_table();
    if (t == nullptr) return wrong_type(name(), v);
    if (!t->pairs().empty())
      return fail(errc::invalid_argument,
                  fmt::format("wanted {}, got table with key {}", name(), to_string(t->pairs().front().first)));
    std::vector<T> list;
    list.reserve(t->items().size());
    for (const value& item : t->items()) {
      result<T> x = value_cast<T>(item);
      if (!x) return detail::inside(fmt::format("[{}]", list.size() + 1), std::move(x.error()));
      list.push_back(std::move(*x));
    }
    return list;
  }
  static value to(std::vector<T> list) {
    table t;
    for (auto&& x : list) t.append(to_value(static_cast<T>(std::move(x))));
    return t;
  }
};

/// A table whose keys are all strings. Of a key that stands twice the last value counts.
template <class T>
struct value_traits<std::map<std::string, T>> {
  static std::string name() { return "table of " + value_traits<T>::name() + " by string"; }
  static result<std::map<std::string, T>> from(const value& v) {
    const table* t = v.if_table();
    if (t == nullptr) return wrong_type(name(), v);
    if (!t->items().empty())
      return fail(errc::invalid_argument, fmt::format("wanted {}, got table with list items", name()));
    std::map<std::string, T> map;
    for (const auto& [key, mapped] : t->pairs()) {
      const std::string* s = key.if_string();
      if (s == nullptr)
        return fail(errc::invalid_argument, fmt::format("wanted {}, got table with key {}", name(), to_string(key)));
      result<T> x = value_cast<T>(mapped);
      if (!x) return detail::inside("." + *s, std::move(x.error()));
      map.insert_or_assign(*s, std::move(*x));
    }
    return map;
  }
  static value to(std::map<std::string, T> map) {
    table t;
    for (auto& [key, mapped] : map) t.add_pair(key, to_value(std::move(mapped)));
    return t;
  }
};

// -- several values ----------------------------------------------------------------------------------------------------

namespace detail {

template <class T>
struct is_tuple : std::false_type {};
template <class... T>
struct is_tuple<std::tuple<T...>> : std::true_type {};

/// Puts value `i` (nil beyond the end) into `into`; false and the reason in `why` when it does not fit.
template <class T>
bool cast_one(std::span<const value> values, std::size_t i, std::optional<T>& into, error& why) {
  static const value nil;
  result<T> x = value_cast<T>(i < values.size() ? values[i] : nil);
  if (x) {
    into.emplace(std::move(*x));
    return true;
  }
  why = std::move(x.error());
  why.message = fmt::format("value {}: {}", i + 1, i < values.size() ? why.message : "missing: " + why.message);
  return false;
}

template <class... T, std::size_t... I>
result<std::tuple<T...>> cast_all([[maybe_unused]] std::span<const value> values, std::type_identity<std::tuple<T...>>,
                                  std::index_sequence<I...>) {
  std::tuple<std::optional<T>...> parts;
  error why;
  if (!(cast_one(values, I, std::get<I>(parts), why) && ...)) return tl::unexpected<error>(std::move(why));
  return std::tuple<T...>(std::move(*std::get<I>(parts))...);
}

} // namespace detail

/// An argument or result list as a std::tuple, a single T (its first value), or void. Missing values are nil; surplus
/// ones are ignored, as in Lua.
template <class T>
result<T> values_cast(std::span<const value> values) {
  if constexpr (std::is_void_v<T>) {
    return {};
  } else if constexpr (detail::is_tuple<T>::value) {
    return detail::cast_all(values, std::type_identity<T>{}, std::make_index_sequence<std::tuple_size_v<T>>{});
  } else {
    return value_cast<T>(values.empty() ? value() : values.front());
  }
}

/// The inverse: a tuple gives each of its members, anything else one value.
template <class T>
std::vector<value> to_values(T&& x) {
  std::vector<value> values;
  if constexpr (detail::is_tuple<std::remove_cvref_t<T>>::value) {
    std::apply([&](auto&&... part) { (values.push_back(to_value(std::forward<decltype(part)>(part))), ...); },
               std::forward<T>(x));
  } else {
    values.push_back(to_value(std::forward<T>(x)));
  }
  return values;
}

} // namespace Atoll
