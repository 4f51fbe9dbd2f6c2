// atoll.supervise: starts a supervisor, which reads its specification itself (actors/supervision).
#include "guests/lua/calls.hpp"

namespace Atoll {

namespace {

/// Raises when the name is none.
int atoll_supervise(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  std::size_t n = 0;
  const int type = lua_getfield(L, 1, "name");
  if (type != LUA_TNIL && type != LUA_TSTRING)
    luaL_argerror(L, 1, lua_pushfstring(L, "name must be a string, not a %s", luaL_typename(L, -1)));
  const char* name = lua_tolstring(L, 2, &n);
  lua_guest::spawn_request& child = g.spawning();
  child = {};
  if (name != nullptr) child.options.name.assign(name, n);
  child.options.language = supervisor_language;
  lua_settop(L, 1);
  return spawn_and_wait(L, 1, "supervise", true);
}

} // namespace

void open_supervision(lua_State* L) {
  lua_pushcfunction(L, atoll_supervise);
  lua_setfield(L, -2, "supervise");
}

} // namespace Atoll
