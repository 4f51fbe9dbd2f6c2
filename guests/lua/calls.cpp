// See calls.hpp.
#include "guests/lua/calls.hpp"

#include "guests/lua/futures.hpp"

namespace Atoll {

namespace {

int answered(lua_State* L, int, lua_KContext target) {
  lua_guest& g = lua_guest::of(L);
  g.name_target(lua_guest::call_target::unpacked(target));
  g.end_wait(L);
  return g.push_message_values(L);
}

/// `results` values at the bottom of the stack are what the C function returns.
int has_room(lua_State* L, int, lua_KContext results) {
  lua_guest::of(L).end_wait(L);
  lua_settop(L, static_cast<int>(results));
  return static_cast<int>(results);
}

int after_post(lua_State* L, interpreter_id to, int results) {
  lua_guest& g = lua_guest::of(L);
  if (g.crowded() && g.can_wait(L)) [[unlikely]] {
    g.out.await_room(to, g.begin_wait());
    return g.suspend(L, results, has_room);
  }
  lua_settop(L, results);
  return results;
}

} // namespace

int call_and_wait(lua_State* L, outgoing m) {
  lua_guest& g = lua_guest::of(L);
  g.require_wait(L);
  const std::intptr_t target = g.target_of(m).packed(); // the answer may come when the reference is gone
  m.token = g.begin_wait();
  if (!g.post(L, m)) return g.raise_failure(L);
  g.current->call = m.call;
  g.current->callee = m.to;
  return g.suspend(L, target, answered);
}

int call_later(lua_State* L, outgoing m) {
  lua_guest& g = lua_guest::of(L);
  const slab_id id = push_future(g, L);
  lua_insert(L, 1);
  ++m.first;
  m.token = make_token(token_kind::future, id);
  if (!g.post(L, m)) return g.raise_failure(L);
  lua_guest::future_state& f = *g.futures.find(id);
  f.call = m.call;
  f.callee = m.to;
  return after_post(L, m.to, 1);
}

int send_only(lua_State* L, outgoing m) {
  lua_guest& g = lua_guest::of(L);
  if (!g.post(L, m)) return g.raise_failure(L);
  return after_post(L, m.to, 0);
}

} // namespace Atoll
