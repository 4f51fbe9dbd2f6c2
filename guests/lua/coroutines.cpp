// The coroutine library, so that tasks can wait inside the guest's own coroutines.
// Why: a wait yields out of everything up to the task's entry. A coroutine that yields with lua_guest::suspending set
// does so on the task's behalf: whoever resumed it yields outward in turn, and on the way back resumes it again; its
// own continuation then takes the result. An ordinary yield pays for one comparison.
// From lcorolib.c (Lua 5.4, MIT licence): the order of checks and the texts are those of the stock library.
// Invariants: (1) a coroutine in `captured` waits as part of a task; nobody else may resume or close it.
#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

constexpr int passed_on = -2; // the coroutine waits: yield outward

bool is_captured(lua_guest& g, lua_State* co) { return !g.captured.empty() && g.captured.find(co) != g.captured.end(); }

lua_State* coroutine_at(lua_State* L, int index) {
  lua_State* co = lua_tothread(L, index);
  luaL_argexpected(L, co, index, "coroutine");
  return co;
}

// A longjmp leaves the processor's prediction of returns in ruins: each frame between lua_resume and the interpreter
// costs a misprediction on the way back, some 10 ns. So the hot path below is one frame.
[[gnu::always_inline]] inline int step(lua_guest& g, lua_State* L, lua_State* co, int nargs, int* results) {
  if (g.unwinding) [[unlikely]]
    lua_guest::arm(co, g.unwinding_count);
  g.running.store(co, std::memory_order_relaxed);
  const int status = lua_resume(co, L, nargs, results);
  g.running.store(L, std::memory_order_relaxed);
  return status;
}

/// What a status that is not plain success means: passed_on stands for a wait; a control error goes on its way.
[[gnu::noinline]] int look_closer(lua_guest& g, lua_State* L, lua_State* co, int status, std::uint32_t raises,
                                  int* results) {
  for (;;) {
    if (g.unwinding) lua_guest::arm(L, g.unwinding_count);
    if (status > LUA_YIELD && raises != g.control_raises) {
      lua_xmove(co, L, 1);
      return lua_error(L);
    }
    if (status != LUA_YIELD || g.suspending == suspension::none) return status;
    if (lua_isyieldable(L) != 0) return passed_on;
    if (g.suspending == suspension::wait) {
      g.give_up_wait(*g.current);
      g.current->state = task_state::running;
      g.current->wake = wake_reason::cannot_wait;
    }
    g.suspending = suspension::none;
    raises = g.control_raises;
    status = step(g, L, co, 0, results);
  }
}

/// Lets `co` run until it yields for itself or ends: its status, or passed_on.
[[gnu::always_inline]] inline int enter(lua_guest& g, lua_State* L, lua_State* co, int nargs, int* results) {
  const std::uint32_t raises = g.control_raises;
  const int status = step(g, L, co, nargs, results);
  if (status > LUA_YIELD || g.suspending != suspension::none || g.unwinding) [[unlikely]]
    return look_closer(g, L, co, status, raises, results);
  return status;
}

/// Results, or the error message, moved to L: their number, -1 for an error.
[[gnu::always_inline]] inline int after(lua_State* L, lua_State* co, int status, int results) {
  if (status == LUA_OK || status == LUA_YIELD) [[likely]] {
    if (lua_checkstack(L, results + 1) == 0) [[unlikely]] {
      lua_pop(co, results);
      lua_pushliteral(L, "too many results to resume");
      return -1;
    }
    lua_xmove(co, L, results);
    return results;
  }
  lua_xmove(co, L, 1);
  return -1;
}

[[gnu::always_inline]] inline int begin(lua_guest& g, lua_State* L, lua_State* co, int nargs) {
  if (is_captured(g, co)) [[unlikely]] {
    lua_pushliteral(L, "cannot resume non-suspended coroutine");
    return -1;
  }
  if (lua_checkstack(co, nargs) == 0) [[unlikely]] {
    lua_pushliteral(L, "too many arguments to resume");
    return -1;
  }
  lua_xmove(L, co, nargs);
  int results = 0;
  const int status = enter(g, L, co, nargs, &results);
  return status == passed_on ? passed_on : after(L, co, status, results);
}

int pass_on(lua_guest& g, lua_State* L, lua_State* co, lua_KFunction k) {
  g.captured[co] = g.current;
  return lua_yieldk(L, 0, reinterpret_cast<lua_KContext>(co), k);
}

int go_on(lua_guest& g, lua_State* L, lua_State* co) {
  g.captured.erase(co);
  int results = 0;
  const int status = enter(g, L, co, 0, &results);
  return status == passed_on ? passed_on : after(L, co, status, results);
}

int resume_done(lua_State* L, int n) {
  lua_pushboolean(L, n >= 0);
  if (n < 0) n = 1;
  lua_insert(L, -(n + 1));
  return n + 1;
}

int resume_again(lua_State* L, int, lua_KContext ctx) {
  lua_guest& g = lua_guest::of(L);
  auto* co = reinterpret_cast<lua_State*>(ctx);
  const int n = go_on(g, L, co);
  return n == passed_on ? pass_on(g, L, co, resume_again) : resume_done(L, n);
}

int coro_resume(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  lua_State* co = coroutine_at(L, 1);
  const int n = begin(g, L, co, lua_gettop(L) - 1);
  return n == passed_on ? pass_on(g, L, co, resume_again) : resume_done(L, n);
}

int reset(lua_guest& g, lua_State* L, lua_State* co) {
  g.running.store(co, std::memory_order_relaxed);
  if (g.unwinding) lua_guest::arm(co, g.unwinding_count);
  const int status = lua_resetthread(co);
  g.running.store(L, std::memory_order_relaxed);
  return status;
}

int wrap_done(lua_guest& g, lua_State* L, lua_State* co, int n) {
  if (n >= 0) [[likely]]
    return n;
  const int status = lua_status(co);
  if (status != LUA_OK && status != LUA_YIELD) {
    if (reset(g, L, co) != LUA_OK) lua_xmove(co, L, 1);
  }
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

int wrap_again(lua_State* L, int, lua_KContext ctx) {
  lua_guest& g = lua_guest::of(L);
  auto* co = reinterpret_cast<lua_State*>(ctx);
  const int n = go_on(g, L, co);
  return n == passed_on ? pass_on(g, L, co, wrap_again) : wrap_done(g, L, co, n);
}

int call_wrapped(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  lua_State* co = lua_tothread(L, lua_upvalueindex(1));
  const int n = begin(g, L, co, lua_gettop(L));
  return n == passed_on ? pass_on(g, L, co, wrap_again) : wrap_done(g, L, co, n);
}

int coro_create(lua_State* L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State* co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  return 1;
}

int coro_wrap(lua_State* L) {
  coro_create(L);
  lua_pushcclosure(L, call_wrapped, 1);
  return 1;
}

bool is_task(lua_State* L) {
  const lua_guest& g = lua_guest::of(L);
  return g.current != nullptr && g.current->thread == L;
}

int coro_yield(lua_State* L) {
  if (is_task(L)) return luaL_error(L, "attempt to yield from outside a coroutine");
  return lua_yield(L, lua_gettop(L));
}

const char* status_of(lua_State* L, lua_State* co) {
  if (L == co) return "running";
  if (is_captured(lua_guest::of(L), co)) return "normal";
  switch (lua_status(co)) {
  case LUA_YIELD: return "suspended";
  case LUA_OK: {
    lua_Debug ar;
    if (lua_getstack(co, 0, &ar) != 0) return "normal";
    return lua_gettop(co) == 0 ? "dead" : "suspended";
  }
  default: return "dead";
  }
}

int coro_status(lua_State* L) {
  lua_pushstring(L, status_of(L, coroutine_at(L, 1)));
  return 1;
}

int coro_close(lua_State* L) {
  lua_State* co = coroutine_at(L, 1);
  const char* status = status_of(L, co);
  if (status[0] != 'd' && status[0] != 's') return luaL_error(L, "cannot close a %s coroutine", status);
  lua_guest& g = lua_guest::of(L);
  const std::uint32_t raises = g.control_raises;
  if (reset(g, L, co) == LUA_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushboolean(L, 0);
  lua_xmove(co, L, 1);
  if (g.unwinding) lua_guest::arm(L, g.unwinding_count);
  g.pass_on_control(L, raises);
  return 2;
}

int coro_running(lua_State* L) {
  const bool outermost = lua_pushthread(L) != 0 || is_task(L);
  lua_pushboolean(L, outermost);
  return 2;
}

int coro_isyieldable(lua_State* L) {
  lua_State* co = lua_isnone(L, 1) ? L : coroutine_at(L, 1);
  lua_pushboolean(L, !is_task(co) && lua_isyieldable(co) != 0);
  return 1;
}

} // namespace

/// Raises. Replaces what stands in the library, which is on top.
void open_coroutines(lua_State* L) {
  static const luaL_Reg functions[] = {
      {"create", coro_create}, {"resume", coro_resume}, {"running", coro_running}, {"status", coro_status},
      {"wrap", coro_wrap},     {"yield", coro_yield},   {"close", coro_close},     {"isyieldable", coro_isyieldable},
      {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
}

} // namespace Atoll
