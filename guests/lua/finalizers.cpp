// atoll.finalizer(obj, fn, {priority = n}): fn(obj) once, when obj dies, when called by hand, or at exit.
//
// The object is held weakly: an ephemeron table leads from it to a sentinel, whose user values are the function, the
// object, and the object's next sentinel. When the object is unreachable so is the sentinel; its __gc finds the object
// still whole (Lua keeps what a finalizer reaches) and calls the function. runtime/finalizers.hpp says whose turn it is
// at exit; here its ids lead to sentinels through a weak table.
#include "guests/lua/calls.hpp"

namespace Atoll {

namespace {

struct sentinel {
  finalizer_registry::id id = 0;
  bool at_exit = false;
};

/// Pushes the sentinel's function and object. False: there is none any more.
bool push_call(lua_guest& g, lua_State* L, finalizer_registry::id id) {
  lua_guest::push_anchored(L, g.sentinels_ref, static_cast<lua_Integer>(id));
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return false;
  }
  lua_getiuservalue(L, -1, 1);
  lua_getiuservalue(L, -2, 2);
  lua_remove(L, -3);
  return true;
}

int collect(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const auto& s = *static_cast<const sentinel*>(lua_touserdata(L, 1));
  if (!g.finalizers.take(s.id)) return 0;
  if (g.closing && !s.at_exit) return 0;
  lua_pushcfunction(L, lua_guest::with_traceback);
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, 1, 2);
  const int status = lua_pcall(L, 1, 0, -3);
  g.finalizer_ran(L, status, "a finalizer");
  return 0;
}

int run_done(lua_State* L, int, lua_KContext) { return lua_gettop(L) - 1; }

int run(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const auto id = *static_cast<finalizer_registry::id*>(g.check(L, 1, kind::finalizer, "finalizer"));
  lua_settop(L, 1);
  if (!push_call(g, L, id) || !g.finalizers.take(id)) return 0;
  lua_callk(L, 1, LUA_MULTRET, 0, run_done);
  return run_done(L, LUA_OK, 0);
}

int cancel(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const auto id = *static_cast<finalizer_registry::id*>(g.check(L, 1, kind::finalizer, "finalizer"));
  lua_pushboolean(L, g.finalizers.cancel(id));
  return 1;
}

int atoll_finalizer(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const int type = lua_type(L, 1);
  luaL_argcheck(L, type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TUSERDATA || type == LUA_TTHREAD, 1,
                "an object expected: a table, function, userdata or coroutine");
  luaL_checktype(L, 2, LUA_TFUNCTION);
  int priority = 0;
  bool at_exit = false;
  if (!lua_isnoneornil(L, 3)) {
    static const char* const known[] = {"priority", nullptr};
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_guest::check_options(L, 3, known);
    at_exit = lua_getfield(L, 3, "priority") != LUA_TNIL;
    luaL_argcheck(L, !at_exit || lua_isinteger(L, -1), 3, "priority must be a whole number");
    priority = static_cast<int>(lua_tointeger(L, -1));
  }
  lua_settop(L, 2);
  auto* handle = static_cast<finalizer_registry::id*>(lua_newuserdatauv(L, sizeof(finalizer_registry::id), 0));
  *handle = 0;
  g.set_kind(L, kind::finalizer);
  auto* s = static_cast<sentinel*>(lua_newuserdatauv(L, sizeof(sentinel), 3));
  *s = sentinel{0, at_exit};
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 4, 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 4, 2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.finalizers_ref);
  lua_pushvalue(L, 1);
  lua_rawget(L, 5);
  lua_setiuservalue(L, 4, 3);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 4);
  lua_rawset(L, 5);
  s->id = *handle = at_exit ? g.finalizers.add(0, priority) : g.finalizers.add(0, std::nullopt);
  lua_settop(L, 4);
  g.set_kind(L, kind::sentinel); // from here on its __gc counts
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.sentinels_ref);
  lua_pushvalue(L, 4);
  lua_rawseti(L, 5, static_cast<lua_Integer>(*handle));
  lua_settop(L, 3);
  return 1;
}

} // namespace

bool lua_guest::push_next_finalizer(lua_State* L, int min_priority) {
  while (const auto next = finalizers.take_next(min_priority))
    if (push_call(*this, L, next->number)) return true;
  return false;
}

void lua_guest::finalizer_ran(lua_State* L, int status, const char* what) {
  if (status == LUA_OK) return out.count_finalizer(nullptr);
  const error why = capture(L, -1, status);
  lua_pop(L, 1);
  out.count_finalizer(&why);
  out.log(log_level::error,
          std::string("in ") + what + ": " + why.message + (why.traceback.empty() ? "" : "\n" + why.traceback));
}

void open_finalizers(lua_State* L) {
  static const luaL_Reg methods[] = {{"run", run}, {"cancel", cancel}, {nullptr, nullptr}};
  static const luaL_Reg meta[] = {{"__gc", collect}, {nullptr, nullptr}};
  lua_pushcfunction(L, atoll_finalizer);
  lua_setfield(L, -2, "finalizer");
  lua_guest::of(L).new_metatable(L, kind::finalizer, nullptr, methods);
  lua_guest::of(L).new_metatable(L, kind::sentinel, meta, nullptr);
}

} // namespace Atoll
