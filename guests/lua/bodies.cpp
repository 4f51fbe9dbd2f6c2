// What a task runs and what becomes of its results: answers, futures, the interface, or a line in the log.
#include <fmt/format.h>

#include "guests/lua/futures.hpp"
#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

int body_done(lua_State* L, int status, lua_KContext) {
  lua_guest& g = lua_guest::of(L);
  task& t = *g.current;
  if (status == LUA_OK || status == LUA_YIELD) {
    g.finished(t, L);
  } else if (t.leaving) {
    // The shell answers.
  } else if (t.exiting) {
    lua_settop(L, 1);
    g.finished(t, L);
  } else {
    error why = g.capture(L, -1, status);
    if (g.unwinding && g.forced != errc::ok) { // whatever a handler or a __close made of it
      why.code = g.forced;
      why.message = g.control_text(g.forced);
    }
    g.failed(t, why);
  }
  return 0;
}

const char* verb(const task& t) noexcept {
  switch (t.body) {
  case task_body::start: return "";
  case task_body::exit: return "at exit";
  default: return "in ";
  }
}

} // namespace

int lua_guest::run_body(lua_State* L) {
  return body_done(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, body_done), 0);
}

void lua_guest::finished(task& t, lua_State* L) {
  if (timer_state* timer = timers.find(t.repeats)) timer->busy = false;
  switch (t.body) {
  case task_body::message:
    if (t.request != no_request) reply(L, t, 2);
    return;
  case task_body::start:
    if (lua_istable(L, 2)) {
      lua_pushvalue(L, 2);
      lua_rawseti(L, LUA_REGISTRYINDEX, interface_ref);
    }
    chunk_state = 2;
    for (task* w : waiting_for_start) wake(w->token(), wake_reason::ready);
    waiting_for_start.clear();
    if (t.request != no_request) reply(L, t, lua_gettop(L) + 1);
    return;
  case task_body::future: complete_future(*this, L, t.future, 2); return;
  case task_body::callback:
  case task_body::exit: return;
  }
}

void lua_guest::failed(task& t, const error& why) {
  if (dead) return; // the shell answers for a killed interpreter: interpreter_gone
  if (timer_state* timer = timers.find(t.repeats)) timer->busy = false;
  switch (t.body) {
  case task_body::start:
    chunk_state = 3;
    for (task* w : waiting_for_start) wake(w->token(), wake_reason::failed, errc::interpreter_gone);
    waiting_for_start.clear();
    [[fallthrough]];
  case task_body::message:
    if (t.request != no_request) return out.reply_error(t.request, why);
    return report(t, why);
  case task_body::future:
    if (!fail_future(*this, t.future, why)) report(t, why);
    return;
  case task_body::callback: return report(t, why);
  case task_body::exit: return out.count_finalizer(&why);
  }
}

void lua_guest::report(const task& t, const error& why) {
  std::string text = fmt::format("{}{}{}{}", verb(t), t.body == task_body::start ? "" : t.label,
                                 t.body == task_body::start ? "" : ": ", why.message);
  if (!why.traceback.empty()) text += "\n" + why.traceback;
  // A worker that waits for more when the program ends is in order.
  out.log(why.code == errc::runtime_finalizing ? log_level::info : log_level::error, text);
}

void lua_guest::run_callback(int function_ref, std::string_view label, lua_CFunction entry, slab_id repeats) {
  task* t = new_task(task_body::callback, label);
  if (t == nullptr) return out.log(log_level::error, fmt::format("no memory for {}", label));
  t->repeats = repeats;
  lua_pushcfunction(t->thread, entry);
  lua_rawgeti(t->thread, LUA_REGISTRYINDEX, function_ref);
  run(*t, 1);
}

} // namespace Atoll
