// The kinds of the runtime's own objects, and small conversions.

#include <cstring>

#include "guests/lua/kinds.hpp"
#include "guests/lua/state.hpp"

namespace Atoll {

kind lua_guest::kind_at(lua_State* L, int index) const noexcept {
  const int type = lua_type(L, index);
  if ((type != LUA_TUSERDATA && type != LUA_TTABLE) || lua_getmetatable(L, index) == 0) return kind::none;
  const void* meta = lua_topointer(L, -1);
  lua_pop(L, 1);
  for (std::size_t i = 0; i < kinds; ++i)
    if (metatables[i] == meta) return static_cast<kind>(i);
  return kind::none;
}

void* lua_guest::check(lua_State* L, int index, kind k, const char* name) {
  void* p = lua_touserdata(L, index);
  if (p == nullptr || lua_getmetatable(L, index) == 0) luaL_typeerror(L, index, name);
  if (lua_topointer(L, -1) != metatables[static_cast<std::size_t>(k)]) luaL_typeerror(L, index, name);
  lua_pop(L, 1);
  return p;
}

namespace {

kind_spec spec_of(kind k) noexcept {
  switch (k) {
  case kind::interpreter: return interpreter_kind();
  case kind::proxy: return proxy_kind();
  case kind::local_ref: return local_ref_kind();
  case kind::connection: return connection_kind();
  case kind::error: return error_kind();
  case kind::future: return future_kind();
  case kind::timer: return timer_kind();
  case kind::monitor: return monitor_kind();
  case kind::finalizer: return finalizer_kind();
  case kind::sentinel: return sentinel_kind();
  case kind::listener: return listener_kind();
  case kind::channel: return channel_kind();
  case kind::buffer: return buffer_kind();
  case kind::none: break;
  }
  return {};
}

} // namespace

void lua_guest::make_kind(lua_State* L, kind k) {
  auto [meta, methods] = spec_of(k);
  luaL_checkstack(L, 6, nullptr);
  static const char* names[kinds] = {"interpreter", "reference", "reference", "connection", "error",
                                     "future",      "timer",     "monitor",   "finalizer",  "finalizer",
                                     "listener",    "channel",   "buffer"};
  lua_newtable(L);
  lua_pushstring(L, names[static_cast<std::size_t>(k)]);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  const int at = lua_gettop(L);
  lua_newtable(L);
  if (methods != nullptr) luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, at, "__index");
  for (; meta != nullptr && meta->name != nullptr; ++meta) {
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, meta->func, 1);
    lua_setfield(L, at, meta->name);
  }
  lua_pop(L, 1);
  const void* made = lua_topointer(L, -1);
  metatable_refs[static_cast<std::size_t>(k)] = luaL_ref(L, LUA_REGISTRYINDEX);
  metatables[static_cast<std::size_t>(k)] = made;
}

void lua_guest::set_kind(lua_State* L, kind k) {
  need_kind(L, k);
  lua_rawgeti(L, LUA_REGISTRYINDEX, metatable_refs[static_cast<std::size_t>(k)]);
  lua_setmetatable(L, -2);
}

time_point lua_guest::later(double seconds) const noexcept {
  constexpr double longest = 1e9;
  if (!(seconds > 0)) seconds = 0;
  if (seconds > longest) seconds = longest;
  return out.now() + std::chrono::duration_cast<clock_type::duration>(std::chrono::duration<double>(seconds));
}

std::string lua_guest::remembered_name(interpreter_id id) const {
  std::string name;
  if (lua_checkstack(main, 3) == 0) return name;
  const int top = lua_gettop(main);
  push_anchored(main, handles, static_cast<lua_Integer>(number(id)));
  if (lua_isuserdata(main, -1) && lua_getiuservalue(main, -1, 1) == LUA_TSTRING) name = lua_tostring(main, -1);
  lua_settop(main, top);
  return name;
}

std::string lua_guest::name_of_interpreter(interpreter_id id) const {
  std::string name;
  if (id == out.id()) {
    name = out.name();
  } else if (const auto info = out.look_up(id)) {
    name = info->name;
  } else {
    name = remembered_name(id);
  }
  return "interpreter " + number_and_name(id, name);
}

void lua_guest::check_options(lua_State* L, int index, const char* const* known) {
  lua_pushnil(L);
  while (lua_next(L, index) != 0) {
    lua_pop(L, 1);
    const char* key = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1);
    const char* const* one = known;
    while (*one != nullptr && std::strcmp(*one, key) != 0) ++one;
    if (*one != nullptr) continue;
    lua_pushstring(L, known[0]);
    for (one = known + 1; *one != nullptr; ++one) lua_pushfstring(L, "%s, %s", lua_tostring(L, -1), *one);
    luaL_argerror(L, index, lua_pushfstring(L, "there is no option '%s', but %s", key, lua_tostring(L, -1)));
  }
}

} // namespace Atoll
