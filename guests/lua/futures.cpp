// See futures.hpp. Results are kept in the userdata's first user value: a table with n, or the error value.
// References in results that nobody takes die with the future.
#include "guests/lua/futures.hpp"
#include "guests/lua/kinds.hpp"

#include <fmt/format.h>

#include <cstring>

#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

using status = lua_guest::future_state::status;

lua_Integer slot_of(slab_id id) noexcept { return static_cast<lua_Integer>(id >> 32U) + 1; }

slab_id& id_at(lua_State* L, int index) {
  return *static_cast<slab_id*>(lua_guest::of(L).check(L, index, kind::future, "future"));
}

lua_guest::future_state& state_at(lua_State* L, int index) { return *lua_guest::of(L).futures.find(id_at(L, index)); }

/// Pushes the userdata, or nil when it is collected already.
void push_userdata(lua_guest& g, lua_State* L, slab_id id) { lua_guest::push_anchored(L, g.futures_ref, slot_of(id)); }

void wake_waiters(lua_guest& g, lua_guest::future_state& f) {
  std::vector<guest_word> waiters;
  waiters.swap(f.waiters);
  for (const guest_word w : waiters) g.wake(w, wake_reason::ready);
}

/// Values from `first` to the top become the user value of the future under them; run protected.
int keep_results(lua_State* L) {
  const int n = lua_gettop(L) - 1;
  lua_createtable(L, n, 1);
  lua_insert(L, 2);
  for (int i = n; i >= 1; --i) lua_rawseti(L, 2, i);
  lua_pushinteger(L, n);
  lua_setfield(L, 2, "n");
  lua_setiuservalue(L, 1, 1);
  return 0;
}

int keep_answer(lua_State* L) {
  lua_guest::of(L).push_message_values(L);
  return keep_results(L);
}

int keep_error(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  g.push_error(L, *static_cast<const error*>(lua_touserdata(L, 2)));
  lua_setiuservalue(L, 1, 1);
  return 0;
}

/// Calls keep with the arguments pushed (the userdata first) and settles the future by how that went. The error of one that
/// failed, of an __unpack or of memory, is the future's.
void settle(lua_guest& g, lua_State* L, slab_id id, int nargs, status good) {
  const bool kept = lua_pcall(L, nargs, 0, 0) == LUA_OK;
  if (!kept) {
    push_userdata(g, L, id);
    lua_insert(L, -2);
    if (lua_isnil(L, -2)) {
      lua_pop(L, 1);
    } else {
      lua_setiuservalue(L, -2, 1);
    }
    lua_pop(L, 1);
  }
  lua_guest::future_state* f = g.futures.find(id);
  if (f == nullptr) return;
  f->call = 0;
  f->what = kept ? good : status::failed;
  wake_waiters(g, *f);
}

} // namespace

slab_id push_future(lua_guest& g, lua_State* L) {
  auto* id = static_cast<slab_id*>(lua_newuserdatauv(L, sizeof(slab_id), 1));
  *id = 0;
  g.set_kind(L, kind::future);
  *id = g.futures.add();
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.futures_ref);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, slot_of(*id));
  lua_pop(L, 1);
  return *id;
}

void complete_future(lua_guest& g, lua_State* L, slab_id id, int first) {
  if (g.futures.find(id) == nullptr || lua_checkstack(L, 6) == 0) return;
  lua_pushcfunction(L, keep_results);
  lua_insert(L, first);
  push_userdata(g, L, id);
  lua_insert(L, first + 1);
  if (lua_isnil(L, first + 1)) return lua_settop(L, first - 1);
  settle(g, L, id, lua_gettop(L) - first, status::done);
}

bool fail_future(lua_guest& g, slab_id id, const error& why) {
  if (g.futures.find(id) == nullptr) return false;
  lua_State* L = g.main;
  lua_pushcfunction(L, keep_error);
  push_userdata(g, L, id);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 2);
    return false;
  }
  lua_pushlightuserdata(L, const_cast<error*>(&why));
  settle(g, L, id, 2, status::failed);
  return true;
}

void settle_future(lua_guest& g, slab_id id, const outcome& what) {
  if (what.what == outcome::kind::failed) {
    fail_future(g, id, *what.failure);
    return;
  }
  if (g.futures.find(id) == nullptr) return;
  lua_State* L = g.main;
  lua_pushcfunction(L, keep_answer);
  push_userdata(g, L, id);
  if (lua_isnil(L, -1)) return lua_pop(L, 2);
  g.running.store(L, std::memory_order_relaxed); // an __unpack may run
  settle(g, L, id, 1, status::done);
  g.running.store(nullptr, std::memory_order_relaxed);
  g.stop_unwinding(L);
}

bool future_done(lua_State* L, int index) { return state_at(L, index).what != status::pending; }

void await_future(lua_State* L, int index, guest_word token) { state_at(L, index).waiters.push_back(token); }

// Of all waits of the token's task: it waits once at a time.
void leave_future(lua_State* L, int index, guest_word token) {
  std::erase_if(state_at(L, index).waiters, [&](guest_word w) { return w >> 32U == token >> 32U; });
}

int push_future_results(lua_State* L, int index) {
  lua_guest::future_state& f = state_at(L, index);
  f.looked_at = true;
  lua_getiuservalue(L, index, 1);
  if (f.what == status::failed) {
    if (lua_isnil(L, -1)) return luaL_error(L, "not enough memory");
    return lua_error(L);
  }
  const int results = lua_gettop(L);
  lua_getfield(L, results, "n");
  const int n = static_cast<int>(lua_tointeger(L, -1));
  lua_pop(L, 1);
  luaL_checkstack(L, n, "too many results");
  for (int i = 1; i <= n; ++i) lua_rawgeti(L, results, i);
  return n;
}

namespace {

int await_done(lua_State* L, int, lua_KContext) {
  lua_guest& g = lua_guest::of(L);
  const bool late = g.current->wake == wake_reason::timer;
  g.end_wait(L);
  if (late && state_at(L, 1).what == status::pending)
    return g.raise(L, errc::timeout, "timeout: the future was not done after %g seconds", lua_tonumber(L, 2));
  return push_future_results(L, 1);
}

int await(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  lua_guest::future_state& f = state_at(L, 1);
  const double limit = luaL_optnumber(L, 2, -1);
  if (f.what != status::pending) return push_future_results(L, 1);
  g.require_wait(L);
  const guest_word token = g.begin_wait();
  f.waiters.push_back(token);
  if (limit >= 0) g.current->timer = g.out.set_timer(g.later(limit), token);
  return g.suspend(L, 0, await_done);
}

int done(lua_State* L) {
  lua_pushboolean(L, state_at(L, 1).what != status::pending);
  return 1;
}

int to_string(lua_State* L) {
  const char* names[] = {"pending", "done", "failed"};
  lua_pushfstring(L, "future (%s)", names[static_cast<int>(state_at(L, 1).what)]);
  return 1;
}

/// Logs an error that nobody looked at, unless the end of the runtime was its reason; run protected.
int log_unseen(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  std::size_t n = 0;
  lua_getiuservalue(L, 1, 1);
  const bool described = g.kind_at(L, 2) == kind::error;
  if (described && lua_getfield(L, 2, "code") == LUA_TSTRING
      && std::strcmp(lua_tostring(L, -1), name_of(errc::runtime_finalizing)) == 0)
    return 0;
  const char* s = luaL_tolstring(L, 2, &n);
  g.scratch.assign("an error that nobody awaited: ").append(s, n);
  if (described && lua_getfield(L, 2, "traceback") == LUA_TSTRING) {
    s = lua_tolstring(L, -1, &n);
    if (n > 0) g.scratch.append("\n").append(s, n);
  }
  g.out.log(log_level::warn, g.scratch);
  return 0;
}

bool is_unseen(const lua_guest::future_state& f) noexcept { return f.what == status::failed && !f.looked_at; }

int collect(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  slab_id& id = *static_cast<slab_id*>(lua_touserdata(L, 1));
  lua_guest::future_state* f = g.futures.find(id);
  if (f == nullptr) return 0;
  const bool unseen = is_unseen(*f);
  if (f->call != 0 && !g.closing) g.out.forget_call(f->call);
  g.futures.remove(id);
  id = 0;
  if (unseen && !g.closing) {
    lua_pushcfunction(L, log_unseen);
    lua_pushvalue(L, 1);
    lua_pcall(L, 1, 0, 0);
  }
  return 0;
}

} // namespace

void tell_unseen_failures(lua_guest& g) {
  lua_State* L = g.main;
  g.futures.for_each([&](slab_id id, lua_guest::future_state& f) {
    if (!is_unseen(f) || lua_checkstack(L, 4) == 0) return;
    f.looked_at = true;
    lua_pushcfunction(L, log_unseen);
    push_userdata(g, L, id);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  });
}

namespace {

// -- tasks whose results are awaited ------------------------------------------------------------------------------

int task_entry(lua_State* L) {
  lua_pushcfunction(L, lua_guest::with_traceback);
  lua_insert(L, 1);
  return lua_guest::of(L).run_body(L);
}

} // namespace

int start_task(lua_State* L, const char* label) {
  lua_guest& g = lua_guest::of(L);
  const int n = lua_gettop(L);
  const slab_id id = push_future(g, L);
  lua_insert(L, 1);
  task* t = g.new_task(task_body::future, label);
  if (t == nullptr || lua_checkstack(t->thread, n + 1) == 0) return luaL_error(L, "not enough memory");
  t->future = id;
  lua_pushcfunction(t->thread, task_entry);
  lua_xmove(L, t->thread, n);
  g.schedule(*t, n);
  return 1;
}

namespace {

int atoll_task(lua_State* L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  return start_task(L, "a task");
}

int futures_in(lua_State* L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const int n = static_cast<int>(luaL_len(L, 1));
  luaL_checkstack(L, n + 8, "too many futures");
  for (int i = 1; i <= n; ++i) {
    lua_rawgeti(L, 1, i);
    if (lua_guest::of(L).kind_at(L, -1) != kind::future)
      luaL_argerror(L, 1, lua_pushfstring(L, "entry %d is a %s, not a future", i, luaL_typename(L, -1)));
    lua_pop(L, 1);
  }
  return n;
}

/// Waits until one more of the futures in the table at 1 is done.
int wait_for_any(lua_State* L, int n, lua_KFunction k) {
  lua_guest& g = lua_guest::of(L);
  g.require_wait(L);
  const guest_word token = g.begin_wait();
  for (int i = 1; i <= n; ++i) {
    lua_rawgeti(L, 1, i);
    if (!future_done(L, -1)) {
      leave_future(L, -1, token); // of its earlier waits
      await_future(L, -1, token);
    }
    lua_pop(L, 1);
  }
  return g.suspend(L, n, k);
}

int all_step(lua_State* L, int resumed, lua_KContext n) {
  if (resumed == LUA_YIELD) lua_guest::of(L).end_wait(L);
  bool pending = false;
  for (int i = 1; i <= n; ++i) {
    lua_rawgeti(L, 1, i);
    const lua_guest::future_state& f = state_at(L, -1);
    if (f.what == status::failed) return push_future_results(L, lua_gettop(L));
    pending = pending || f.what == status::pending;
    lua_pop(L, 1);
  }
  if (pending) return wait_for_any(L, static_cast<int>(n), all_step);
  for (int i = 1; i <= n; ++i) {
    lua_rawgeti(L, 1, i);
    state_at(L, -1).looked_at = true;
    lua_getiuservalue(L, -1, 1);
    lua_rawgeti(L, -1, 1);
    lua_replace(L, -3);
    lua_pop(L, 1);
  }
  return static_cast<int>(n);
}

int any_step(lua_State* L, int resumed, lua_KContext n) {
  if (resumed == LUA_YIELD) lua_guest::of(L).end_wait(L);
  for (int i = 1; i <= n; ++i) {
    lua_rawgeti(L, 1, i);
    if (state_at(L, -1).what != status::pending) {
      const int results = push_future_results(L, lua_gettop(L));
      lua_pushinteger(L, i);
      lua_insert(L, -(results + 1));
      return results + 1;
    }
    lua_pop(L, 1);
  }
  return wait_for_any(L, static_cast<int>(n), any_step);
}

int all_body(lua_State* L) { return all_step(L, LUA_OK, futures_in(L)); }
int any_body(lua_State* L) { return any_step(L, LUA_OK, futures_in(L)); }

int start_over(lua_State* L, lua_CFunction body, const char* label) {
  lua_settop(L, 1);
  lua_pushcfunction(L, body);
  lua_insert(L, 1);
  return start_task(L, label);
}

int atoll_all(lua_State* L) {
  futures_in(L);
  return start_over(L, all_body, "atoll.all");
}

int atoll_any(lua_State* L) {
  luaL_argcheck(L, futures_in(L) > 0, 1, "no futures in it: it would wait for ever");
  return start_over(L, any_body, "atoll.any");
}

} // namespace

kind_spec future_kind() noexcept {
  static const luaL_Reg methods[] = {{"await", await}, {"done", done}, {nullptr, nullptr}};
  static const luaL_Reg meta[] = {{"__gc", collect}, {"__tostring", to_string}, {nullptr, nullptr}};
  return {meta, methods};
}

void open_futures(lua_State* L) {
  static const luaL_Reg functions[] = {
      {"task", atoll_task}, {"all", atoll_all}, {"any", atoll_any}, {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
}

} // namespace Atoll
