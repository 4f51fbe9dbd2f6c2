// What of the standard library would keep an interrupt or a kill to itself, besides pcall (protected.cpp) and coroutines:
//   load          its reader runs in Lua's own protected call;
//   setmetatable  Lua runs a __gc without hooks and keeps its errors: a function found there is called through
//                 call_in_gc() (finalizers.cpp). One put into a metatable later, in the place of another value, is not;
//   debug.sethook would disarm the hook that cuts an endless __close.
// What a program can see of it, the order of checks and their texts, is as in the stock library.
#include "guests/lua/calls.hpp"

namespace Atoll {

namespace {

/// The library's own function, its upvalue.
int stock(lua_State* L) { return lua_tocfunction(L, lua_upvalueindex(1))(L); }

int guest_load(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const std::uint32_t raises = g.control_raises;
  const int n = stock(L);
  if (n > 1) g.pass_on_control(L, raises); // nil and the error, which is raised instead
  return n;
}

int guest_sethook(lua_State* L) { return lua_guest::of(L).unwinding ? 0 : stock(L); }

/// (function, object): an error is the result.
int call_caught(lua_State* L) { return lua_pcall(L, 1, 0, 0) == LUA_OK ? 0 : 1; }

/// Stands in a metatable as __gc; the guest's own is its upvalue.
int guest_gc(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  if (g.dead) return 0;
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  const std::uint32_t raises = g.control_raises;
  g.call_in_gc(L, call_caught);
  if (lua_gettop(L) == 0 || g.control_raises != raises) return 0;
  return lua_error(L); // becomes a warning
}

/// Of the table at index 2.
void guard_gc(lua_guest& g, lua_State* L) {
  const void* const meta = lua_topointer(L, 2);
  if (meta == g.plain_metatable) return; // seen before: what it lacks it seldom gets
  lua_pushliteral(L, "__gc");
  lua_rawget(L, 2);
  if (lua_type(L, -1) == LUA_TNIL) {
    g.plain_metatable = meta;
  } else if (lua_type(L, -1) == LUA_TFUNCTION && lua_tocfunction(L, -1) != guest_gc) {
    lua_pushliteral(L, "__gc");
    lua_insert(L, -2);
    lua_pushcclosure(L, guest_gc, 1);
    lua_rawset(L, 2);
    return;
  }
  lua_pop(L, 1);
}

int guest_setmetatable(lua_State* L) {
  const int t = lua_type(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, t == LUA_TNIL || t == LUA_TTABLE, 2, "nil or table");
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) return luaL_error(L, "cannot change a protected metatable");
  lua_settop(L, 2);
  if (t == LUA_TTABLE) guard_gc(lua_guest::of(L), L);
  lua_setmetatable(L, 1);
  return 1;
}

int guest_debug_setmetatable(lua_State* L) {
  if (lua_istable(L, 2)) guard_gc(lua_guest::of(L), L);
  return stock(L);
}

/// In the table on top of the stack.
void replace(lua_State* L, const char* name, lua_CFunction by) {
  lua_getfield(L, -1, name);
  lua_pushcclosure(L, by, 1);
  lua_setfield(L, -2, name);
}

} // namespace

/// Raises. Replaces globals; their table is on top.
void guard_globals(lua_State* L) {
  replace(L, "load", guest_load);
  lua_pushcfunction(L, guest_setmetatable);
  lua_setfield(L, -2, "setmetatable");
}

/// Raises. Replaces functions of `debug`, which is on top.
void guard_debug(lua_State* L) {
  replace(L, "sethook", guest_sethook);
  replace(L, "setmetatable", guest_debug_setmetatable);
}

} // namespace Atoll
