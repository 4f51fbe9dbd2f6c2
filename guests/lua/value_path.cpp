#include "guests/lua/value_path.hpp"

#include <fmt/format.h>

namespace Atoll {

namespace {

constexpr std::size_t shown_key_bytes = 40;

bool is_name(std::string_view s) noexcept {
  if (s.empty() || s.size() > shown_key_bytes || (s[0] >= '0' && s[0] <= '9')) return false;
  for (const char c : s)
    if (!(c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) return false;
  return true;
}

std::string step_text(lua_State* L, const value_step& step) {
  switch (step.what) {
  case value_step::kind::value:
    return step.n == 0 ? std::string(step.subject) : fmt::format("{} {}", step.subject, step.n);
  case value_step::kind::item: return fmt::format("[{}]", step.n);
  case value_step::kind::key: return " (a key)";
  case value_step::kind::entry: return key_text(L, static_cast<int>(step.n));
  case value_step::kind::packed: return packed_step_text(step.n, step.subject);
  }
  return {};
}

} // namespace

std::string key_text(lua_State* L, int index) {
  if (lua_isinteger(L, index)) return fmt::format("[{}]", lua_tointeger(L, index));
  if (lua_type(L, index) == LUA_TNUMBER) return fmt::format("[{}]", lua_tonumber(L, index));
  if (lua_type(L, index) != LUA_TSTRING) return fmt::format("[{}]", luaL_typename(L, index));
  std::size_t n = 0;
  const char* s = lua_tolstring(L, index, &n);
  const std::string_view key(s, n);
  return is_name(key) ? fmt::format(".{}", key) : fmt::format("[\"{}\"]", key.substr(0, shown_key_bytes));
}

std::string packed_step_text(lua_Integer n, std::string_view class_name) {
  return fmt::format(" (value {} of class '{}')", n, class_name);
}

std::string path_text(lua_State* L, const value_step& innermost) {
  std::string text;
  for (const value_step* step = &innermost; step != nullptr; step = step->outer) text.insert(0, step_text(L, *step));
  return text;
}

} // namespace Atoll
