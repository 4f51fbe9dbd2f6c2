// The end of a program: atoll.exit, atoll.at_exit, and the run of exit handlers and finalizers.
#include <utility>

#include "guests/lua/calls.hpp"
#include "guests/lua/libraries.hpp"

namespace Atoll {

namespace {

int atoll_at_exit(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  if (g.exit_handlers_over || g.closing)
    return g.raise(L, errc::runtime_finalizing, "at_exit: the exit handlers of this interpreter have run");
  lua_settop(L, 1);
  g.exit_handlers.push_back(luaL_ref(L, LUA_REGISTRYINDEX));
  return 0;
}

/// As os.exit: does not return. The task ends without an error that anyone sees.
int atoll_exit(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  int code = 0;
  if (lua_isboolean(L, 1)) {
    code = lua_toboolean(L, 1) != 0 ? 0 : 1;
  } else {
    code = static_cast<int>(luaL_optinteger(L, 1, 0));
  }
  g.out.request_exit(code);
  // Without a task: a last finalizer ends as well (run_last_finalizers); a __gc goes on.
  if (g.current == nullptr && (!g.closing || g.finalizers_over)) return 0;
  if (g.current != nullptr) g.current->exiting = true;
  return g.raise_control(L, errc::runtime_finalizing);
}

/// Pushes the next exit handler, then the next finalizer with its object; the arguments' number, -1 when all have run.
int push_next(lua_guest& g, lua_State* L) {
  if (!g.exit_handlers.empty()) {
    const int ref = g.exit_handlers.back();
    g.exit_handlers.pop_back();
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    luaL_unref(L, LUA_REGISTRYINDEX, ref);
    return 0;
  }
  return g.push_next_finalizer(L, 0) ? 1 : -1;
}

int exit_step(lua_State* L, int status, lua_KContext finalizer);

/// One that called atoll.exit has not failed. Those behind it have all their time; behind one that an interrupt cut they
/// have the grace of interrupt.cpp, as the time of the whole interpreter is up.
void handler_ran(lua_State* L, int status, lua_KContext finalizer) {
  lua_guest& g = lua_guest::of(L);
  const bool left = std::exchange(g.current->leaving, false);
  const bool exited = std::exchange(g.current->exiting, false) || left;
  if (exited && g.forced == errc::runtime_finalizing) {
    g.unwinding = false;
    g.forced = errc::ok;
    lua_guest::disarm(L);
  }
  const bool fine = status == LUA_YIELD || exited;
  g.finalizer_ran(L, fine ? LUA_OK : status, finalizer == 0 ? "an exit handler" : "a finalizer");
}

/// One handler after the other; each may wait. The handler of errors is at index 1.
int run_all(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  for (;;) {
    lua_settop(L, 1);
    const int nargs = push_next(g, L);
    if (nargs < 0) break;
    handler_ran(L, lua_pcallk(L, nargs, 0, 1, nargs, exit_step), nargs);
  }
  g.exit_handlers_over = true;
  g.out.exited();
  return 0;
}

int exit_step(lua_State* L, int status, lua_KContext finalizer) {
  handler_ran(L, status, finalizer);
  return run_all(L);
}

int exit_entry(lua_State* L) {
  lua_pushcfunction(L, lua_guest::with_traceback);
  return run_all(L);
}

} // namespace

bool lua_guest::acts_at_exit() const { return !exit_handlers.empty() || (finalizers && finalizers->next(0)); }

bool lua_guest::acts_at_close() const {
  return (finalizers && finalizers->size() > 0) || futures.size() > 0 || may_run_at_close(*this)
         || (codes_ && codes_->watches());
}

void lua_guest::run_exit_handlers() {
  task* t = dead || closing ? nullptr : new_task(task_body::exit, "exit");
  if (t == nullptr) return out.exited();
  lua_pushcfunction(t->thread, exit_entry);
  run(*t, 0);
  run_woken();
}

void open_exit(lua_State* L) {
  lua_pushcfunction(L, atoll_at_exit);
  lua_setfield(L, -2, "at_exit");
  lua_pushcfunction(L, atoll_exit);
  lua_setfield(L, -2, "exit");
}

/// Raises. Replaces os.exit; the library is on top.
void open_os_exit(lua_State* L) {
  lua_pushcfunction(L, atoll_exit);
  lua_setfield(L, -2, "exit");
}

} // namespace Atoll
