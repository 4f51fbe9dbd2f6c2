// What programs do with references: atoll.ref, calls, get and set, release.
#include <fmt/format.h>

#include "guests/lua/calls.hpp"
#include "guests/lua/futures.hpp"
#include "guests/lua/kinds.hpp"
#include "guests/lua/proxies.hpp"

namespace Atoll {

namespace {

int return_all(lua_State* L, int, lua_KContext below) { return lua_gettop(L) - static_cast<int>(below); }

/// Calls the function under `nargs` arguments and returns its results; it may wait.
int call_through(lua_State* L, int nargs) {
  const int below = lua_gettop(L) - nargs - 1;
  lua_callk(L, nargs, LUA_MULTRET, below, return_all);
  return return_all(L, LUA_OK, below);
}

bool is_local(lua_State* L, int index) { return lua_guest::of(L).kind_at(L, index) == kind::local_ref; }

proxy& proxy_at(lua_State* L, int index) {
  return *static_cast<proxy*>(lua_guest::of(L).check(L, index, kind::proxy, "reference"));
}

/// An invoke through the live proxy at `index`; raises when it was released.
outgoing invoke_through(lua_State* L, int index, invoke_op op, std::string_view name, int first) {
  lua_guest& g = lua_guest::of(L);
  const proxy& p = proxy_at(L, index);
  if (!p.held || g.imports_over) {
    g.fail_with(errc::reference_released, fmt::format("the reference to {} was released", g.object_text(p.id, p.type)));
    g.raise_failure(L);
  }
  outgoing m;
  m.to = p.id.owner;
  m.kind = record_kind::invoke;
  m.text = name;
  m.first = first;
  m.op = op;
  m.via = p.import;
  return m;
}

std::string_view text_at(lua_State* L, int index) {
  std::size_t n = 0;
  const char* s = luaL_checklstring(L, index, &n);
  return {s, n};
}

// -- r:method(...), r(...), r[k] ------------------------------------------------------------------------------------

/// Arguments: a local ref, a name, arguments: obj[name](obj, ...), or obj(...) when the name is nil.
int call_local(lua_State* L) {
  lua_getiuservalue(L, 1, 1);
  lua_replace(L, 1);
  if (lua_isnil(L, 2)) {
    lua_remove(L, 2);
    return call_through(L, lua_gettop(L) - 1);
  }
  lua_pushvalue(L, 2);
  if (lua_gettable(L, 1) == LUA_TNIL) {
    lua_guest& g = lua_guest::of(L);
    return g.raise(L, errc::unknown_function, "the object has no method '%s'", lua_tostring(L, 2));
  }
  lua_insert(L, 1);
  lua_remove(L, 3);
  return call_through(L, lua_gettop(L) - 1);
}

/// r.name: the first upvalue is the name; called as r:name(...).
int method_stub(lua_State* L) {
  if (is_local(L, 1)) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 2);
    return call_local(L);
  }
  std::size_t n = 0;
  const char* name = lua_tolstring(L, lua_upvalueindex(1), &n);
  return call_and_wait(L, invoke_through(L, 1, invoke_op::method, {name, n}, 2));
}

int ref_index(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  if (lua_type(L, 2) != LUA_TSTRING) return luaL_error(L, "a reference has methods only; use atoll.get for its fields");
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.method_stubs);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, 3) != LUA_TNIL) return 1;
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, method_stub, 1);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -2);
  lua_rawset(L, 3);
  return 1;
}

int ref_newindex(lua_State* L) { return luaL_error(L, "a reference's fields are set with atoll.set"); }

int ref_call(lua_State* L) {
  if (is_local(L, 1)) {
    lua_pushnil(L);
    lua_insert(L, 2);
    return call_local(L);
  }
  return call_and_wait(L, invoke_through(L, 1, invoke_op::apply, "", 2));
}

int ref_release(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  if (is_local(L, 1)) return 0;
  proxy& p = proxy_at(L, 1);
  if (!p.held) return 0;
  p.held = false;
  if (!g.imports_over) g.out.imports().drop_use(p.import);
  return 0;
}

int ref_eq(lua_State* L) {
  const lua_guest& g = lua_guest::of(L);
  const bool both = g.kind_at(L, 1) == kind::proxy && g.kind_at(L, 2) == kind::proxy;
  lua_pushboolean(L, both && proxy_at(L, 1).id == proxy_at(L, 2).id);
  return 1;
}

int ref_tostring(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  if (is_local(L, 1)) {
    lua_getiuservalue(L, 1, 1);
    const void* const object = lua_topointer(L, -1);
    if (luaL_getmetafield(L, -1, "__name") != LUA_TSTRING) lua_pushstring(L, luaL_typename(L, -1));
    lua_pushfstring(L, "reference to own %s: %p", lua_tostring(L, -1), object);
    return 1;
  }
  const proxy& p = proxy_at(L, 1);
  g.scratch = fmt::format("reference to {}{}", g.object_text(p.id, p.type), p.held ? "" : " (released)");
  lua_pushlstring(L, g.scratch.data(), g.scratch.size());
  return 1;
}

// -- atoll.* --------------------------------------------------------------------------------------------------------

int atoll_ref(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const kind k = g.kind_at(L, 1);
  lua_settop(L, 1);
  if (k == kind::proxy || k == kind::local_ref) return 1;
  const int type = lua_type(L, 1);
  if (type != LUA_TTABLE && type != LUA_TFUNCTION && type != LUA_TUSERDATA && type != LUA_TTHREAD)
    return luaL_typeerror(L, 1, "table, function, userdata or coroutine");
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.local_refs);
  lua_pushvalue(L, 1);
  if (lua_rawget(L, 2) != LUA_TNIL) return 1;
  lua_newuserdatauv(L, 0, 1);
  g.set_kind(L, kind::local_ref);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, -2);
  lua_rawset(L, 2);
  return 1;
}

int atoll_get(lua_State* L) {
  lua_settop(L, 2);
  if (is_local(L, 1)) {
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 2);
    lua_gettable(L, 3);
    return 1;
  }
  const std::string_view name = lua_type(L, 2) == LUA_TSTRING ? text_at(L, 2) : std::string_view("");
  return call_and_wait(L, invoke_through(L, 1, invoke_op::get, name, 2));
}

int atoll_set(lua_State* L) {
  lua_settop(L, 3);
  if (is_local(L, 1)) {
    lua_getiuservalue(L, 1, 1);
    lua_insert(L, 2);
    lua_settable(L, 2);
    return 0;
  }
  const std::string_view name = lua_type(L, 2) == LUA_TSTRING ? text_at(L, 2) : std::string_view("");
  return call_and_wait(L, invoke_through(L, 1, invoke_op::set, name, 2));
}

/// atoll.async and atoll.send: (interpreter | reference, function or method name, ...). A reference and nil: a plain call.
outgoing to_target(lua_State* L, record_kind plain) {
  if (lua_guest::of(L).kind_at(L, 1) == kind::interpreter) {
    outgoing m;
    m.to = interpreter_at(L, 1);
    m.kind = plain;
    m.text = text_at(L, 2);
    m.first = 3;
    return m;
  }
  if (lua_guest::of(L).kind_at(L, 1) != kind::proxy) luaL_typeerror(L, 1, "interpreter or reference");
  if (lua_isnoneornil(L, 2)) return invoke_through(L, 1, invoke_op::apply, "", 3);
  return invoke_through(L, 1, invoke_op::method, text_at(L, 2), 3);
}

int local_task(lua_State* L) {
  if (lua_gettop(L) < 2) lua_settop(L, 2);
  lua_pushcfunction(L, call_local);
  lua_insert(L, 1);
  return start_task(L, "a call of an own object");
}

int atoll_async(lua_State* L) {
  if (is_local(L, 1)) return local_task(L);
  return call_later(L, to_target(L, record_kind::call));
}

int atoll_send(lua_State* L) {
  if (is_local(L, 1)) {
    local_task(L);
    return 0;
  }
  return send_only(L, to_target(L, record_kind::send));
}

int atoll_is_ref(lua_State* L) {
  const kind k = lua_guest::of(L).kind_at(L, 1);
  lua_pushboolean(L, k == kind::proxy || k == kind::local_ref);
  return 1;
}

int atoll_owner(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const bool local = is_local(L, 1);
  g.push_handle(L, local ? g.out.id() : proxy_at(L, 1).id.owner,
                local ? std::string_view(g.out.name()) : std::string_view{});
  return 1;
}

} // namespace

kind_spec proxy_kind() noexcept {
  static const luaL_Reg meta[] = {{"__index", ref_index},       {"__newindex", ref_newindex},
                                  {"__call", ref_call},         {"__gc", ref_release},
                                  {"__close", ref_release},     {"__eq", ref_eq},
                                  {"__tostring", ref_tostring}, {nullptr, nullptr}};
  return {meta, nullptr};
}

kind_spec local_ref_kind() noexcept {
  static const luaL_Reg meta[] = {{"__index", ref_index},   {"__newindex", ref_newindex}, {"__call", ref_call},
                                  {"__close", ref_release}, {"__tostring", ref_tostring}, {nullptr, nullptr}};
  return {meta, nullptr};
}

void open_references(lua_State* L) {
  static const luaL_Reg functions[] = {{"ref", atoll_ref},       {"get", atoll_get},     {"set", atoll_set},
                                       {"async", atoll_async},   {"send", atoll_send},   {"release", ref_release},
                                       {"is_ref", atoll_is_ref}, {"owner", atoll_owner}, {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
}

} // namespace Atoll
