// atoll.sleep, after, every, now.
#include "guests/lua/calls.hpp"
#include "guests/lua/kinds.hpp"

namespace Atoll {

namespace {

double seconds_between(time_point a, time_point b) noexcept { return std::chrono::duration<double>(b - a).count(); }

int slept(lua_State* L, int, lua_KContext) {
  lua_guest::of(L).end_wait(L);
  return 0;
}

int atoll_sleep(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const double seconds = luaL_checknumber(L, 1);
  g.require_wait(L);
  const guest_word token = g.begin_wait();
  g.current->timer = g.out.set_timer(g.later(seconds), token);
  return g.suspend(L, 0, slept);
}

int atoll_now(lua_State* L) {
  lua_pushnumber(L, seconds_between(time_point{}, lua_guest::of(L).out.now()));
  return 1;
}

int start_timer(lua_State* L, bool repeat) {
  lua_guest& g = lua_guest::of(L);
  const double seconds = luaL_checknumber(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_argcheck(L, !repeat || seconds > 0, 1, "a period is more than 0 seconds");
  if (g.closing) return g.raise(L, errc::runtime_finalizing, "the interpreter is closing: no timers any more");
  auto* id = static_cast<slab_id*>(lua_newuserdatauv(L, sizeof(slab_id), 0));
  *id = 0;
  g.set_kind(L, kind::timer);
  lua_pushvalue(L, 2);
  const int function = luaL_ref(L, LUA_REGISTRYINDEX);
  *id = g.timers.add();
  lua_guest::timer_state& t = *g.timers.find(*id);
  t.function = function;
  t.period = repeat ? seconds : 0;
  t.next = g.later(seconds);
  t.timer = g.out.set_timer(t.next, make_token(token_kind::timer, *id));
  return 1;
}

int atoll_after(lua_State* L) { return start_timer(L, false); }
int atoll_every(lua_State* L) { return start_timer(L, true); }

} // namespace

bool timer_ended(lua_guest& g, slab_id id) {
  lua_guest::timer_state* t = g.timers.find(id);
  if (t == nullptr) return false;
  g.out.cancel_timer(t->timer);
  luaL_unref(g.main, LUA_REGISTRYINDEX, t->function);
  g.timers.remove(id);
  return true;
}

namespace {

int cancel(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const slab_id id = *static_cast<slab_id*>(g.check(L, 1, kind::timer, "timer"));
  lua_pushboolean(L, timer_ended(g, id));
  return 1;
}

int timer_entry(lua_State* L) {
  lua_pushcfunction(L, lua_guest::with_traceback);
  lua_insert(L, 1);
  return lua_guest::of(L).run_body(L);
}

} // namespace

void timer_fired(lua_guest& g, slab_id id) {
  lua_guest::timer_state* t = g.timers.find(id);
  if (t == nullptr) return;
  if (t->period == 0) {
    const int function = t->function;
    g.timers.remove(id);
    g.run_callback(function, "a timer", timer_entry);
    luaL_unref(g.main, LUA_REGISTRYINDEX, function);
    return;
  }
  // Late turns don't pile up: the next time lies in the future.
  const time_point now = g.out.now();
  t->next += std::chrono::duration_cast<clock_type::duration>(std::chrono::duration<double>(t->period));
  if (t->next < now) t->next = g.later(t->period);
  t->timer = g.out.set_timer(t->next, make_token(token_kind::timer, id));
  if (t->busy) return;
  t->busy = true;
  g.run_callback(t->function, "a timer", timer_entry, id);
}

kind_spec timer_kind() noexcept {
  static const luaL_Reg methods[] = {{"cancel", cancel}, {nullptr, nullptr}};
  return {nullptr, methods};
}

void open_timers(lua_State* L) {
  static const luaL_Reg functions[] = {
      {"sleep", atoll_sleep}, {"now", atoll_now}, {"after", atoll_after}, {"every", atoll_every}, {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
}

} // namespace Atoll
