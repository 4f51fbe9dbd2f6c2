// atoll.monitor: a function that is told once when an interpreter, or the owner of a reference, ends.
#include "guests/lua/calls.hpp"
#include "guests/lua/kinds.hpp"
#include "guests/lua/proxies.hpp"

namespace Atoll {

namespace {

/// The interpreter, or the owner of the reference.
interpreter_id monitored(lua_State* L, int index) {
  lua_guest& g = lua_guest::of(L);
  switch (g.kind_at(L, index)) {
  case kind::proxy: return static_cast<proxy*>(lua_touserdata(L, index))->id.owner;
  case kind::local_ref: return g.out.id();
  case kind::interpreter: return interpreter_at(L, index);
  default: luaL_typeerror(L, index, "interpreter or reference"); return {};
  }
}

int atoll_monitor(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const interpreter_id target = monitored(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  if (g.closing) return g.raise(L, errc::runtime_finalizing, "the interpreter is closing: no monitors any more");
  auto* id = static_cast<slab_id*>(lua_newuserdatauv(L, sizeof(slab_id), 0));
  *id = 0;
  g.set_kind(L, kind::monitor);
  const guest_word token = add_monitor(L, target, 2);
  *id = id_of(token);
  g.out.monitor(target, token);
  return 1;
}

int cancel(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const slab_id id = *static_cast<slab_id*>(g.check(L, 1, kind::monitor, "monitor"));
  lua_guest::monitor_state* m = g.monitors.find(id);
  if (m != nullptr) {
    g.out.demonitor(m->target, make_token(token_kind::monitor, id));
    forget_monitor(g, id);
  }
  lua_pushboolean(L, m != nullptr);
  return 1;
}

/// Calls the function at 1 with what happened: {id, name, reason, error}.
int down_entry(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const outcome& o = *g.wait_outcome;
  lua_pushcfunction(L, lua_guest::with_traceback);
  lua_insert(L, 1);
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, static_cast<lua_Integer>(number(o.down_id)));
  lua_setfield(L, -2, "id");
  g.scratch = o.name.empty() ? g.remembered_name(o.down_id) : o.name; // of one long dead only a handle knows it
  if (!g.scratch.empty()) {
    lua_pushlstring(L, g.scratch.data(), g.scratch.size());
    lua_setfield(L, -2, "name");
  }
  lua_pushlstring(L, o.reason.data(), o.reason.size());
  lua_setfield(L, -2, "reason");
  if (o.failure != nullptr && (o.failure->code != errc::ok && !o.failure->message.empty())) {
    g.push_error(L, *o.failure);
    lua_setfield(L, -2, "error");
  }
  return g.run_body(L);
}

} // namespace

guest_word add_monitor(lua_State* L, interpreter_id target, int index) {
  lua_guest& g = lua_guest::of(L);
  lua_pushvalue(L, index);
  const int function = luaL_ref(L, LUA_REGISTRYINDEX);
  const slab_id id = g.monitors.add();
  *g.monitors.find(id) = {function, target};
  return make_token(token_kind::monitor, id);
}

void forget_monitor(lua_guest& g, slab_id id) {
  const lua_guest::monitor_state* m = g.monitors.find(id);
  if (m == nullptr) return;
  luaL_unref(g.main, LUA_REGISTRYINDEX, m->function);
  g.monitors.remove(id);
}

void monitor_fired(lua_guest& g, slab_id id) {
  const lua_guest::monitor_state* m = g.monitors.find(id);
  if (m == nullptr) return;
  if (g.wait_outcome->reason == "unlinked") return forget_monitor(g, id); // of a link that the other side cut
  const int function = m->function;
  g.monitors.remove(id);
  g.run_callback(function, "a monitor", down_entry);
  luaL_unref(g.main, LUA_REGISTRYINDEX, function);
}

kind_spec monitor_kind() noexcept {
  static const luaL_Reg methods[] = {{"cancel", cancel}, {nullptr, nullptr}};
  return {nullptr, methods};
}

void open_monitors(lua_State* L) {
  lua_pushcfunction(L, atoll_monitor);
  lua_setfield(L, -2, "monitor");
}

} // namespace Atoll
