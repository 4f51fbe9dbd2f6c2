// The atoll table itself, and what of the standard library is replaced. print, io and require are Lua's own.
#include "guests/lua/buffers.hpp"
#include "guests/lua/calls.hpp"
#include "guests/lua/channels.hpp"
#include "guests/lua/futures.hpp"
#include "guests/lua/kinds.hpp"

namespace Atoll {

namespace {

// -- atoll.log ------------------------------------------------------------------------------------------------------

int log_line(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const int n = lua_gettop(L);
  for (int i = 1; i <= n; ++i) luaL_tolstring(L, i, nullptr);
  g.scratch.clear();
  for (int i = 1; i <= n; ++i) {
    std::size_t size = 0;
    const char* s = lua_tolstring(L, n + i, &size);
    if (i > 1) g.scratch += '\t';
    g.scratch.append(s, size);
  }
  g.out.log(static_cast<log_level>(lua_tointeger(L, lua_upvalueindex(1))), g.scratch);
  return 0;
}

void open_log(lua_State* L) {
  static const char* const names[] = {"debug", "info", "warn", "error"};
  lua_newtable(L);
  for (int i = 0; i < 4; ++i) {
    lua_pushinteger(L, i);
    lua_pushcclosure(L, log_line, 1);
    lua_setfield(L, -2, names[i]);
  }
  lua_setfield(L, -2, "log");
}

// -- atoll.stats ----------------------------------------------------------------------------------------------------

int surveyed(lua_State* L, int, lua_KContext) {
  lua_guest& g = lua_guest::of(L);
  g.end_wait(L);
  return g.push_message_values(L);
}

/// Who holds what.
int survey_references(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  g.require_wait(L);
  const call_id call = g.out.open_call(g.begin_wait());
  g.out.survey_references(call);
  g.current->call = call;
  return g.suspend(L, 0, surveyed);
}

int atoll_stats(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  static const char* const subjects[] = {"figures", "references", nullptr};
  if (luaL_checkoption(L, 1, "figures", subjects) == 1) return survey_references(L);
  g.figures = g.out.system_stats();
  lua_createtable(L, 0, static_cast<int>(g.figures.size()));
  for (const auto& [name, value] : g.figures) {
    lua_Integer whole = 0;
    if (lua_numbertointeger(value, &whole) && static_cast<double>(whole) == value) {
      lua_pushinteger(L, whole);
    } else {
      lua_pushnumber(L, value);
    }
    lua_setfield(L, -2, name.c_str());
  }
  return 1;
}

// -- error objects --------------------------------------------------------------------------------------------------

int error_tostring(lua_State* L) {
  lua_pushliteral(L, "message");
  lua_rawget(L, 1);
  if (!lua_isstring(L, -1)) lua_pushliteral(L, "error");
  return 1;
}

int error_concat(lua_State* L) {
  luaL_tolstring(L, 1, nullptr);
  luaL_tolstring(L, 2, nullptr);
  lua_concat(L, 2);
  return 1;
}

// -- warnings: Lua reports errors in __gc through them ---------------------------------------------------------------

void on_warning(void* where, const char* text, int to_be_continued) {
  auto& g = *static_cast<lua_guest*>(where);
  if (g.warning.empty() && to_be_continued == 0 && text[0] == '@') {
    if (std::strcmp(text, "@off") == 0) g.warnings_on = false;
    if (std::strcmp(text, "@on") == 0) g.warnings_on = true;
    return;
  }
  g.warning += text;
  if (to_be_continued != 0) return;
  if (g.warnings_on) g.out.log(log_level::warn, g.warning);
  g.warning.clear();
}

} // namespace

kind_spec error_kind() noexcept {
  static const luaL_Reg meta[] = {{"__tostring", error_tostring}, {"__concat", error_concat}, {nullptr, nullptr}};
  return {meta, nullptr};
}

void warn_through(lua_guest& g, lua_State* L) { lua_setwarnf(L, on_warning, &g); }

/// Raises. Makes the module, which is left on the stack.
int open_atoll(lua_State* L) {
  lua_createtable(L, 0, 40);
  open_interpreters(L);
  open_references(L);
  open_futures(L);
  open_timers(L);
  open_monitors(L);
  open_links(L);
  open_supervision(L);
  open_channels(L);
  open_net(L);
  open_buffers(L);
  open_finalizers(L);
  open_exit(L);
  open_classes(L);
  open_log(L);
  lua_pushcfunction(L, atoll_stats);
  lua_setfield(L, -2, "stats");
  return 1;
}

} // namespace Atoll
