// Options as tables, and back. Errors say where: "children[2] 'db': restart: ...".
#include "actors/supervision/supervisor_options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

namespace Atoll {

const char* name_of(restart_strategy s) noexcept {
  switch (s) {
  case restart_strategy::one_for_one: return "one_for_one";
  case restart_strategy::one_for_all: return "one_for_all";
  case restart_strategy::rest_for_one: break;
  }
  return "rest_for_one";
}

const char* name_of(restart_kind k) noexcept {
  switch (k) {
  case restart_kind::permanent: return "permanent";
  case restart_kind::transient: return "transient";
  case restart_kind::temporary: break;
  }
  return "temporary";
}

namespace {

constexpr std::array strategies = {restart_strategy::one_for_one, restart_strategy::one_for_all,
                                   restart_strategy::rest_for_one};
constexpr std::array kinds = {restart_kind::permanent, restart_kind::transient, restart_kind::temporary};
constexpr std::array states = {run_state::starting, run_state::running, run_state::stopping, run_state::gone};

constexpr std::size_t args_max = 250;
// Longer is for ever.
constexpr double longest_seconds = 1e9;

double seconds_of(std::chrono::milliseconds t) { return std::chrono::duration<double>(t).count(); }

// -- to tables ---------------------------------------------------------------------------------------------------------

value source_value(const source& from) {
  table t;
  t.set(from.kind == source_kind::file ? "file" : "code", from.text);
  if (!from.chunk.empty()) t.set("chunk", from.chunk);
  return t;
}

value shutdown_value(shutdown_time limit) {
  if (limit == shutdown_default) return {};
  if (limit == shutdown_kill) return "kill";
  if (limit == shutdown_unlimited) return std::numeric_limits<double>::infinity();
  return seconds_of(limit);
}

value args_value(const std::vector<value>& args) {
  table t;
  for (std::size_t i = 0; i < args.size(); ++i) t.set(static_cast<std::int64_t>(i + 1), args[i]);
  t.set("n", static_cast<std::int64_t>(args.size()));
  return t;
}

// -- from tables -------------------------------------------------------------------------------------------------------

tl::unexpected<error> wrong(std::string_view field, std::string_view wanted, const value& got) {
  return detail::inside(field, wrong_type(wanted, got).value());
}

template <class T, std::size_t N>
std::string names(const std::array<T, N>& all) {
  std::vector<std::string> texts;
  for (const T one : all) texts.push_back(fmt::format("\"{}\"", name_of(one)));
  return fmt::format("{}", fmt::join(texts, ", "));
}

template <class T, std::size_t N>
result<void> read_one_of(const table& t, const char* field, const std::array<T, N>& all, T& into) {
  const value& v = t.get(field);
  if (v.is_nil()) return {};
  for (const T one : all)
    if (v.if_string() != nullptr && *v.if_string() == name_of(one)) {
      into = one;
      return {};
    }
  return wrong(field, "one of " + names(all), v);
}

result<void> read_text(const table& t, const char* field, std::string& into) {
  const value& v = t.get(field);
  if (v.is_nil()) return {};
  const std::string* s = v.if_string();
  if (s == nullptr) return wrong(field, "string", v);
  into = *s;
  return {};
}

template <class T>
result<void> read_count(const table& t, const char* field, const char* wanted, T& into) {
  const value& v = t.get(field);
  if (v.is_nil()) return {};
  const auto n = detail::fitting<T>(v);
  if (!n) return wrong(field, wanted, v);
  into = *n;
  return {};
}

/// Nil is no number; so is a text.
std::optional<double> number_of(const value& v) {
  const auto n = value_cast<double>(v);
  return n && !std::isnan(*n) ? std::optional<double>(*n) : std::nullopt;
}

std::chrono::milliseconds to_milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::ceil(std::min(seconds, longest_seconds) * 1000)));
}

result<void> read_period(const table& t, std::chrono::milliseconds& into) {
  const value& v = t.get("period");
  if (v.is_nil()) return {};
  const auto seconds = number_of(v);
  if (!seconds || *seconds <= 0) return wrong("period", "seconds, more than 0", v);
  into = to_milliseconds(*seconds);
  return {};
}

result<void> read_shutdown(const table& t, shutdown_time& into) {
  const value& v = t.get("shutdown");
  if (v.is_nil()) return {};
  if (const std::string* s = v.if_string(); s != nullptr && *s == "kill") {
    into = shutdown_kill;
    return {};
  }
  const auto seconds = number_of(v);
  if (!seconds || *seconds < 0) return wrong("shutdown", "seconds or \"kill\"", v);
  into = *seconds > longest_seconds ? shutdown_unlimited : to_milliseconds(*seconds);
  return {};
}

template <class Duration>
result<void> read_seconds(const table& t, const char* field, std::optional<Duration>& into) {
  const value& v = t.get(field);
  if (v.is_nil()) return {};
  const auto seconds = number_of(v);
  if (!seconds || *seconds < 0 || *seconds > longest_seconds) return wrong(field, "seconds, or 0 for no limit", v);
  into = std::chrono::ceil<Duration>(std::chrono::duration<double>(*seconds));
  return {};
}

template <class T>
result<void> read_number(const table& t, const char* field, T least, std::optional<T>& into) {
  const value& v = t.get(field);
  if (v.is_nil()) return {};
  T n = 0;
  if (auto bad = read_count(t, field, "whole number", n); !bad) return bad;
  if (n < least) return wrong(field, "number that is not 0", v);
  into = n;
  return {};
}

/// As options of atoll.spawn.
result<void> read_limits(const table& t, child_options& o) {
  result<void> read = read_count(t, "memory", "number of bytes", o.memory);
  if (read) read = read_seconds(t, "message_cpu", o.message_cpu);
  if (read) read = read_seconds(t, "call_time", o.call_time);
  if (read) read = read_seconds(t, "time_slice", o.time_slice);
  if (read) read = read_number(t, "high_water", std::size_t{1}, o.high_water);
  if (read) read = read_number(t, "interpreters", std::size_t{0}, o.interpreters);
  if (read) read = read_number(t, "call_depth", std::uint32_t{0}, o.call_depth);
  return read;
}

void put_limits(table& t, const child_options& o) {
  const auto seconds = [&](const char* field, const auto& limit) {
    if (limit) t.set(field, std::chrono::duration<double>(*limit).count());
  };
  const auto number = [&](const char* field, const auto& limit) {
    if (limit) t.set(field, *limit);
  };
  if (o.memory > 0) t.set("memory", o.memory);
  seconds("message_cpu", o.message_cpu);
  seconds("call_time", o.call_time);
  seconds("time_slice", o.time_slice);
  number("high_water", o.high_water);
  number("interpreters", o.interpreters);
  number("call_depth", o.call_depth);
}

/// Options mistyped are no defaults.
result<void> check_fields(const table& t, std::span<const std::string_view> known) {
  if (!t.items().empty()) return fail(errc::invalid_argument, "a table of named fields expected, got a list");
  for (const auto& [key, v] : t.pairs()) {
    const std::string* name = key.if_string();
    if (name == nullptr || std::find(known.begin(), known.end(), *name) == known.end())
      return fail(errc::invalid_argument,
                  fmt::format("unknown field {}; there are {}", to_string(key), fmt::join(known, ", ")));
  }
  return {};
}

result<void> read_source(const value& v, source& into) {
  into.kind = source_kind::file;
  if (const std::string* path = v.if_string()) {
    into.text = *path;
    return {};
  }
  static constexpr std::array<std::string_view, 3> known = {"code", "file", "chunk"};
  const table* t = v.if_table();
  if (t == nullptr) return fail(errc::invalid_argument, "a path, {code = ...} or {file = ...} expected");
  if (auto bad = check_fields(*t, known); !bad) return bad;
  const bool code = !t->get("code").is_nil();
  if (code == !t->get("file").is_nil())
    return fail(errc::invalid_argument, "a path, {code = ...} or {file = ...} expected");
  into.kind = code ? source_kind::code : source_kind::file;
  if (auto bad = read_text(*t, "chunk", into.chunk); !bad) return bad;
  return read_text(*t, code ? "code" : "file", into.text);
}

result<void> read_args(const value& v, std::vector<value>& into) {
  if (v.is_nil()) return {};
  const table* t = v.if_table();
  if (t == nullptr) return wrong("args", "list", v);
  std::size_t n = t->items().size();
  if (auto bad = read_count(*t, "n", "number of arguments", n); !bad) return detail::inside("args", bad.error());
  if (n > args_max) return wrong("args", fmt::format("at most {} arguments", args_max), static_cast<std::int64_t>(n));
  for (std::size_t i = 0; i < n; ++i)
    into.push_back(i < t->items().size() ? t->items()[i] : t->get(static_cast<std::int64_t>(i + 1)));
  return {};
}

result<void> read_fields(const table& t, child_options& o) {
  static constexpr std::array<std::string_view, 14> known = {
      "name",   "language",    "source",    "args",       "restart",    "shutdown",     "supervise",
      "memory", "message_cpu", "call_time", "time_slice", "high_water", "interpreters", "call_depth"};
  result<void> read = check_fields(t, known);
  if (read) read = read_text(t, "language", o.language);
  if (read) read = read_limits(t, o);
  if (read) read = read_one_of(t, "restart", kinds, o.restart);
  if (read) read = read_shutdown(t, o.shutdown);
  if (read) read = read_args(t.get("args"), o.args);
  if (!read) return read;
  const value& below = t.get("supervise");
  if (!below.is_nil()) {
    if (!t.get("source").is_nil() || !t.get("args").is_nil() || !t.get("language").is_nil())
      return fail(errc::invalid_argument, "supervise: a supervisor has no source, args or language");
    auto nested_options = value_cast<supervisor_options>(below);
    if (!nested_options) return detail::inside("supervise", std::move(nested_options.error()));
    o.supervise = nested(std::move(*nested_options));
    return {};
  }
  if (t.get("source").is_nil() && o.language != "lua") return {};
  read = read_source(t.get("source"), o.from);
  if (!read) return detail::inside("source", std::move(read.error()));
  return {};
}

} // namespace

value value_traits<child_options>::to(const child_options& o) {
  table t;
  if (!o.name.empty()) t.set("name", o.name);
  put_limits(t, o);
  t.set("restart", name_of(o.restart));
  if (value v = shutdown_value(o.shutdown); !v.is_nil()) t.set("shutdown", std::move(v));
  if (o.supervise) {
    t.set("supervise", to_value(*o.supervise));
    return t;
  }
  t.set("language", o.language);
  t.set("source", source_value(o.from));
  t.set("args", args_value(o.args));
  return t;
}

value value_traits<supervisor_options>::to(const supervisor_options& o) {
  table t;
  if (!o.name.empty()) t.set("name", o.name);
  t.set("strategy", name_of(o.strategy));
  t.set("intensity", o.intensity);
  t.set("period", seconds_of(o.period));
  table children;
  for (const child_options& c : o.children) children.append(to_value(c));
  t.set("children", children);
  return t;
}

result<child_options> value_traits<child_options>::from(const value& v) {
  const table* t = v.if_table();
  if (t == nullptr) return wrong_type("a child, which is a table", v);
  child_options o;
  result<void> read = read_text(*t, "name", o.name);
  if (read) read = read_fields(*t, o);
  if (read) return o;
  if (!o.name.empty()) return detail::inside(fmt::format("child '{}'", o.name), std::move(read.error()));
  return tl::unexpected<error>(std::move(read.error()));
}

result<supervisor_options> value_traits<supervisor_options>::from(const value& v) {
  static constexpr std::array<std::string_view, 5> known = {"name", "strategy", "intensity", "period", "children"};
  const table* t = v.if_table();
  if (t == nullptr) return wrong_type("a table of options", v);
  supervisor_options o;
  result<void> read = check_fields(*t, known);
  if (read) read = read_text(*t, "name", o.name);
  if (read) read = read_one_of(*t, "strategy", strategies, o.strategy);
  if (read) read = read_count(*t, "intensity", "number of restarts, 0 or more", o.intensity);
  if (read) read = read_period(*t, o.period);
  if (!read) return tl::unexpected<error>(std::move(read.error()));
  const value& all = t->get("children");
  const table* children = all.if_table();
  if (!all.is_nil() && (children == nullptr || !children->pairs().empty())) return wrong("children", "list", all);
  std::set<std::string_view> names_so_far;
  for (std::size_t i = 0; children != nullptr && i < children->items().size(); ++i) {
    const std::string where = fmt::format("children[{}]", i + 1);
    auto child = value_cast<child_options>(children->items()[i]);
    if (!child) return detail::inside(where, std::move(child.error()));
    o.children.push_back(std::move(*child));
  }
  for (const child_options& c : o.children)
    if (!c.name.empty() && !names_so_far.insert(c.name).second)
      return fail(errc::invalid_argument, fmt::format("children: two of them have the name '{}'", c.name));
  return o;
}

value value_traits<child_info>::to(const child_info& c) {
  table t;
  if (!c.name.empty()) t.set("name", c.name);
  if (c.id != interpreter_id{}) {
    t.set("id", static_cast<std::int64_t>(number(c.id)));
    t.set("interpreter", c.id);
  }
  t.set("state", name_of(c.state));
  t.set("restart", name_of(c.restart));
  t.set("restarts", c.restarts);
  if (!c.reason.empty()) t.set("reason", c.reason);
  return t;
}

result<child_info> value_traits<child_info>::from(const value& v) {
  const table* t = v.if_table();
  if (t == nullptr) return wrong_type(name(), v);
  child_info c;
  result<void> read = read_text(*t, "name", c.name);
  if (read) read = read_text(*t, "reason", c.reason);
  if (read) read = read_one_of(*t, "state", states, c.state);
  if (read) read = read_one_of(*t, "restart", kinds, c.restart);
  if (read) read = read_count(*t, "restarts", "count", c.restarts);
  if (!read) return tl::unexpected<error>(std::move(read.error()));
  if (const interpreter_id* id = t->get("interpreter").if_interpreter()) c.id = *id;
  return c;
}

} // namespace Atoll
