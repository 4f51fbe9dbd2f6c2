// Stopping guest code in the middle: ticks, the count hook, and errors that pcall can't keep. Samples come this way too.
//
// How an interrupt or a kill reaches code that runs, in order:
//   1. tick(), in a signal handler, sets a count hook on the running coroutine (never call, return or line hooks:
//      yielding from those gives wrong results);
//   2. the hook disarms itself and reads the host's controls;
//   3. interrupt: raise_control(); the hook stays armed with a long count, so that __close and __gc get their time but
//      an endless one does not; kill: it stays armed with a count of 1, so that no instruction runs any more;
//   4. every pcall, xpcall and coroutine.resume of the guest in whose course control_raises changed passes the error on
//      (protected.cpp, coroutines.cpp); calls that began later, in a __close, work as ever;
//   5. the task ends with the error; run() disarms its coroutine.
// A sample (profile.cpp) is steps 1 and 2, with sample_due for the controls. A guest under coverage (coverage.cpp) has a
// line hook at rest, so its count hook never yields: it is interrupted and killed as any, but not preempted.
#include <utility>

#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

// Instructions a handler of __close or __gc may run before it is interrupted too: about a millisecond.
constexpr int grace = 200000;

void on_event(lua_State* L, lua_Debug* ar) {
  lua_guest& g = lua_guest::of(L);
  if (ar->event == LUA_HOOKLINE) return g.coverage->count(L, ar);
  lua_guest::disarm(L);
  if (g.sample_due.load(std::memory_order_relaxed)) {
    g.sample_due.store(false, std::memory_order_relaxed);
    g.profile->take(L);
  }
  const controls c = g.out.pending_controls();
  if (g.dead || c.kill) {
    g.dead = true;
    g.raise_control(L, errc::killed);
  } else if (c.interrupt) {
    if (g.current != nullptr) g.current->cut = true;
    g.raise_control(L, errc::interrupted);
  } else if (g.forced != errc::ok) {
    g.raise_control(L, g.forced);
  } else if (c.yield && g.coverage == nullptr && g.can_wait(L)) {
    g.suspending = suspension::preempted;
    lua_yield(L, 0);
  }
}

} // namespace

void lua_guest::arm(lua_State* L, int count) noexcept {
  lua_sethook(L, on_event, of(L).coverage != nullptr ? LUA_MASKCOUNT | LUA_MASKLINE : LUA_MASKCOUNT, count);
}

void lua_guest::disarm(lua_State* L) noexcept {
  if (of(L).coverage != nullptr)
    lua_sethook(L, on_event, LUA_MASKLINE, 0);
  else
    lua_sethook(L, nullptr, 0, 0);
}

void lua_guest::tick() noexcept {
  lua_State* L = running.load(std::memory_order_relaxed);
  if (L == nullptr) return;
  // Handlers that run because of an interrupt have their grace; only a kill cuts it short.
  if (unwinding && unwinding_count != 1 && !out.pending_controls().kill) return;
  arm(L, 1);
}

void lua_guest::sample() noexcept {
  lua_State* L = running.load(std::memory_order_relaxed);
  if (L == nullptr || profile == nullptr || unwinding) return;
  sample_due.store(true, std::memory_order_relaxed);
  arm(L, 1);
}

int lua_guest::raise_control(lua_State* L, errc code) {
  ++control_raises;
  unwinding = true;
  forced = code;
  unwinding_count = code == errc::killed ? 1 : grace;
  arm(L, unwinding_count);
  return raise(L, code, "%s", name_of(code));
}

void lua_guest::interrupt(errc code) {
  if (code == errc::killed) dead = true; // whoever waits for an answer gets it from the shell: interpreter_gone
  for (std::size_t i = 0; i < all_tasks_.size(); ++i) {
    task& t = *all_tasks_[i];
    // What waits there now is the next finalizer: the one that was to be cut has been.
    if (std::exchange(t.cut, false) && t.body == task_body::exit && !dead) continue;
    if (t.state == task_state::idle || t.state == task_state::running) continue;
    if (dead) {
      discard(t, false);
    } else if (t.state == task_state::waiting) {
      const guest_word token = t.token();
      give_up_wait(t);
      --t.serial;
      wake(token, wake_reason::failed, code);
    } else {
      t.wake = wake_reason::failed;
      t.wake_code = code;
    }
  }
  if (!dead) run_woken();
}

} // namespace Atoll
