// atoll.net: listeners, connections, writing and closing. Reading: read.cpp.
#include "guests/lua/net.hpp"

#include "guests/lua/calls.hpp"
#include "guests/lua/kinds.hpp"

namespace Atoll {

namespace {

using status = connection_state::status;

slab_id& id_at(lua_State* L, int index) {
  return *static_cast<slab_id*>(lua_guest::of(L).check(L, index, kind::connection, "connection"));
}

/// The reason as Lua's io functions give it: nil and a message.
int ended(lua_State* L, const connection_state& c) {
  lua_pushnil(L);
  if (c.what == status::closed) {
    lua_pushliteral(L, "connection closed");
  } else {
    if (c.reason.empty())
      lua_pushliteral(L, "connection closed by the other side");
    else
      lua_pushlstring(L, c.reason.data(), c.reason.size());
  }
  return 2;
}

} // namespace

slab_id& new_connection(lua_State* L) {
  luaL_checkstack(L, 4, nullptr);
  auto& id = *static_cast<slab_id*>(lua_newuserdatauv(L, sizeof(slab_id), 0));
  id = 0;
  lua_guest::of(L).set_kind(L, kind::connection);
  return id;
}

void arrived(lua_guest& g, slab_id& id, std::uint64_t connection, std::string_view peer) {
  id = g.connections.add();
  connection_state& c = *g.connections.find(id);
  c.connection = connection;
  c.peer = peer;
}

connection_state& connection_at(lua_State* L, int index) {
  lua_guest& g = lua_guest::of(L);
  const slab_id id = id_at(L, index);
  connection_state* c = g.connections.find(id);
  if (c == nullptr) luaL_argerror(L, index, "the connection is gone");
  if (c->what == status::moved)
    g.raise(L, errc::connection_closed, "the connection was passed on to another interpreter");
  if (c->what == status::fresh) {
    c->what = status::open;
    g.out.adopt_connection(c->connection, make_token(token_kind::connection, id));
  }
  return *c;
}

void connection_event(lua_guest& g, slab_id id, const outcome& what) {
  connection_state* c = g.connections.find(id);
  if (c == nullptr) return;
  if (what.what == outcome::kind::data) c->append(what.bytes.data(), what.bytes.size());
  if (what.what == outcome::kind::closed) {
    c->what = status::ended;
    c->reason = what.reason;
  }
  if (what.what != outcome::kind::drained) g.wake(c->reader, wake_reason::ready);
  if (what.what == outcome::kind::data) return;
  std::vector<guest_word> writers;
  writers.swap(c->writers);
  for (const guest_word w : writers) g.wake(w, wake_reason::ready);
}

namespace {

// -- writing and closing --------------------------------------------------------------------------------------------

int write_result(lua_State* L) {
  const connection_state& c = connection_at(L, 1);
  if (c.what != status::open) return ended(L, c);
  lua_pushboolean(L, 1);
  return 1;
}

int drained(lua_State* L, int, lua_KContext) {
  lua_guest::of(L).end_wait(L);
  return write_result(L);
}

int conn_write(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  connection_state& c = connection_at(L, 1);
  if (c.what != status::open) return ended(L, c);
  const int top = lua_gettop(L);
  std::size_t n = 0;
  bool room = true;
  if (top == 2) {
    const char* s = luaL_checklstring(L, 2, &n);
    room = g.out.write(c.connection, {s, n});
  } else if (top > 2) {
    for (int i = 2; i <= top; ++i) luaL_checkstring(L, i);
    g.scratch.clear();
    for (int i = 2; i <= top; ++i) {
      const char* s = lua_tolstring(L, i, &n);
      g.scratch.append(s, n);
    }
    room = g.out.write(c.connection, g.scratch);
  }
  if (room || !g.can_wait(L)) {
    lua_pushboolean(L, 1);
    return 1;
  }
  c.writers.push_back(g.begin_wait());
  return g.suspend(L, 0, drained);
}

/// Closes without raising; what was read before stays readable no more.
void close_state(lua_guest& g, connection_state& c) {
  if (c.what == status::fresh || c.what == status::open) g.out.close_connection(c.connection);
  if (c.what != status::moved) c.what = status::closed;
  c.bytes.clear();
  c.head = c.scanned = 0;
  g.wake(c.reader, wake_reason::ready);
  for (const guest_word w : c.writers) g.wake(w, wake_reason::ready);
  c.writers.clear();
}

int conn_close(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  if (connection_state* c = g.connections.find(id_at(L, 1))) close_state(g, *c);
  return 0;
}

int conn_collect(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  slab_id& id = *static_cast<slab_id*>(lua_touserdata(L, 1));
  if (connection_state* c = g.connections.find(id)) close_state(g, *c);
  g.connections.remove(id);
  id = 0;
  return 0;
}

int conn_index(lua_State* L) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  const connection_state* c = lua_guest::of(L).connections.find(id_at(L, 1));
  const char* key = lua_tostring(L, 2);
  if (c == nullptr || key == nullptr || std::strcmp(key, "peer") != 0 || c->peer.empty()) return 1;
  lua_pushlstring(L, c->peer.data(), c->peer.size());
  return 1;
}

int conn_tostring(lua_State* L) {
  static const char* const names[] = {"open", "open", "ended", "closed", "moved"};
  const connection_state* c = lua_guest::of(L).connections.find(id_at(L, 1));
  lua_pushfstring(L, "connection (%s)", c == nullptr ? "closed" : names[static_cast<int>(c->what)]);
  return 1;
}

// -- listening and connecting ---------------------------------------------------------------------------------------

/// The userdata of a listener: the slab id; its user value is the address.
bool begin_listening(lua_guest& g, std::string_view address, slab_id id) {
  auto got = g.out.listen(std::string(address), make_token(token_kind::listener, id));
  if (!got) {
    g.failure() = got.error();
    return false;
  }
  g.listeners.find(id)->listener = got->listener;
  g.scratch = got->address;
  return true;
}

int net_listen(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  std::size_t n = 0;
  const char* address = luaL_checklstring(L, 1, &n);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  if (g.closing) return g.raise(L, errc::runtime_finalizing, "the interpreter is closing: no listeners any more");
  auto* id = static_cast<slab_id*>(lua_newuserdatauv(L, sizeof(slab_id), 1));
  *id = 0;
  g.set_kind(L, kind::listener);
  lua_pushvalue(L, 2);
  const int function = luaL_ref(L, LUA_REGISTRYINDEX);
  const slab_id fresh = g.listeners.add();
  g.listeners.find(fresh)->function = function;
  if (!begin_listening(g, {address, n}, fresh)) {
    g.listeners.remove(fresh);
    luaL_unref(L, LUA_REGISTRYINDEX, function);
    return g.raise_failure(L);
  }
  *id = fresh;
  lua_pushlstring(L, g.scratch.data(), g.scratch.size());
  lua_setiuservalue(L, -2, 1);
  return 1;
}

int listener_close(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const slab_id id = *static_cast<slab_id*>(g.check(L, 1, kind::listener, "listener"));
  lua_guest::listener_state* l = g.listeners.find(id);
  if (l == nullptr) return 0;
  g.out.close_listener(l->listener);
  luaL_unref(L, LUA_REGISTRYINDEX, l->function);
  g.listeners.remove(id);
  return 0;
}

int listener_index(lua_State* L) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  const char* key = lua_tostring(L, 2);
  if (key != nullptr && std::strcmp(key, "address") == 0) lua_getiuservalue(L, 1, 1);
  return 1;
}

int accepted_entry(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  lua_pushcfunction(L, lua_guest::with_traceback);
  lua_insert(L, 1);
  slab_id& id = new_connection(L);
  arrived(g, id, g.wait_outcome->connection, g.wait_outcome->name);
  return g.run_body(L);
}

int connected(lua_State* L, int, lua_KContext) {
  lua_guest& g = lua_guest::of(L);
  g.end_wait(L);
  slab_id& id = *static_cast<slab_id*>(lua_touserdata(L, -1));
  arrived(g, id, g.wait_outcome->connection, g.wait_outcome->name);
  return 1;
}

int net_connect(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  std::size_t n = 0;
  const char* address = luaL_checklstring(L, 1, &n);
  g.require_wait(L);
  if (g.closing) return g.raise(L, errc::runtime_finalizing, "the interpreter is closing: no connections any more");
  new_connection(L);
  g.scratch.assign(address, n);
  g.out.connect(g.scratch, g.begin_wait());
  return g.suspend(L, 0, connected);
}

} // namespace

void listener_event(lua_guest& g, slab_id id, const outcome& what) {
  lua_guest::listener_state* l = g.listeners.find(id);
  if (l == nullptr) return g.out.close_connection(what.connection);
  g.run_callback(l->function, "a connection's handler", accepted_entry);
}

kind_spec listener_kind() noexcept {
  static const luaL_Reg methods[] = {{"close", listener_close}, {nullptr, nullptr}};
  static const luaL_Reg meta[] = {{"__index", listener_index}, {"__close", listener_close}, {nullptr, nullptr}};
  return {meta, methods};
}

kind_spec connection_kind() noexcept {
  static const luaL_Reg methods[] = {
      {"read", conn_read}, {"write", conn_write}, {"close", conn_close}, {nullptr, nullptr}};
  static const luaL_Reg meta[] = {{"__index", conn_index},
                                  {"__gc", conn_collect},
                                  {"__close", conn_close},
                                  {"__tostring", conn_tostring},
                                  {nullptr, nullptr}};
  return {meta, methods};
}

void open_net(lua_State* L) {
  static const luaL_Reg functions[] = {{"listen", net_listen}, {"connect", net_connect}, {nullptr, nullptr}};
  luaL_newlib(L, functions);
  lua_setfield(L, -2, "net");
}

} // namespace Atoll
