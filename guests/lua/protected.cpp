// pcall and xpcall that never keep an interrupt or a kill to themselves (interrupt.cpp, step 4).
// From lbaselib.c (Lua 5.4, MIT licence); on success they cost what the stock ones cost.
#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

// The continuation's context: how often a control error had been raised when the call began, and how many values
// below the results are not results.
lua_KContext context(const lua_guest& g, int extra) noexcept {
  return static_cast<lua_KContext>(g.control_raises) << 2 | extra;
}

int finish(lua_State* L, int status, lua_KContext ctx) {
  if (status == LUA_OK || status == LUA_YIELD) [[likely]]
    return lua_gettop(L) - static_cast<int>(ctx & 3);
  if (lua_guest::of(L).control_raises != static_cast<std::uint32_t>(ctx >> 2)) return lua_error(L);
  lua_pushboolean(L, 0);
  lua_pushvalue(L, -2);
  return 2;
}

int guest_pcall(lua_State* L) {
  const lua_KContext ctx = context(lua_guest::of(L), 0);
  luaL_checkany(L, 1);
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  return finish(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, ctx, finish), ctx);
}

int guest_xpcall(lua_State* L) {
  const lua_KContext ctx = context(lua_guest::of(L), 2);
  const int n = lua_gettop(L);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_pushboolean(L, 1);
  lua_pushvalue(L, 1);
  lua_rotate(L, 3, 2);
  return finish(L, lua_pcallk(L, n - 2, LUA_MULTRET, 2, ctx, finish), ctx);
}

int keep_error(lua_State*) { return 1; }

// How far out a handler is looked for: Lua finds a level by counting from the top.
constexpr int levels_max = 5000;

} // namespace

/// A control error passes every xpcall on its way, so none is asked for a better message: an error that a hook raises is
/// handled where no hook runs, and an endless handler could not be stopped. They stand in their xpcall's second slot.
void drop_handlers(lua_State* L) {
  if (lua_checkstack(L, 2) == 0) return;
  lua_Debug ar;
  for (int level = 0; level < levels_max && lua_getstack(L, level, &ar) != 0; ++level) {
    lua_getinfo(L, "f", &ar);
    if (lua_tocfunction(L, -1) == guest_xpcall) {
      lua_pushcfunction(L, keep_error);
      if (lua_setlocal(L, &ar, 2) == nullptr) lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
}

/// Raises. Replaces the globals; their table is on top.
void open_protected(lua_State* L) {
  static const luaL_Reg functions[] = {{"pcall", guest_pcall}, {"xpcall", guest_xpcall}, {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
}

} // namespace Atoll
