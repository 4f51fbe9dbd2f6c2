// Stopping guest code in the middle: ticks, the count hook, and errors that pcall can't keep. Samples come this way too.
//
// How an interrupt or a kill reaches code that runs, in order:
//   1. tick(), in a signal handler, sets a count hook on the running coroutine (never call, return or line hooks:
//      yielding from those gives wrong results);
//   2. the hook disarms itself and reads the host's controls;
//   3. interrupt: raise_control(); the hook stays armed with a long count, so that __close and __gc get their time but
//      an endless one does not; kill: it stays armed with a count of 1, so that no instruction runs any more;
//   4. everything that catches errors for the guest (pcall, xpcall, coroutine.resume and close, load, a __gc) and in whose
//      course control_raises changed passes the error on (protected.cpp, coroutines.cpp, uncaught.cpp); calls that began
//      later, in a __close, work as ever;
//   5. the task ends with the error; run() disarms its coroutine.
// The limit of processor time (limits::message_cpu) is an interrupt that the hook makes by itself: while there is one, every
// turn that lasts is ticked.
// A sample (profile.cpp) is steps 1 and 2, with sample_due for the controls. A guest under coverage (coverage.cpp) has a
// line hook at rest, so its count hook never yields: it is interrupted and killed as any, but not preempted.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "guests/lua/state.hpp"

namespace Atoll {

void drop_handlers(lua_State* L); // protected.cpp

namespace {

// Instructions a handler of __close or __gc may run before it is interrupted too: about a millisecond.
constexpr int grace = 200000;
// And how many ticks, if its instructions are slow ones: about a tenth of a second.
constexpr int grace_ticks = 20;

/// Where the code on L is: "file.lua:12".
void tell_where(lua_guest& g, lua_State* L) {
  lua_Debug ar;
  if (lua_getstack(L, 0, &ar) == 0 || lua_getinfo(L, "Sl", &ar) == 0) return;
  g.out.came_back(ar.currentline > 0 ? fmt::format("{}:{}", ar.short_src, ar.currentline) : ar.short_src);
}

void on_event(lua_State* L, lua_Debug* ar) {
  lua_guest& g = lua_guest::of(L);
  if (ar->event == LUA_HOOKLINE) return g.coverage->count(L, ar);
  lua_guest::disarm(L);
  if (g.sample_due.load(std::memory_order_relaxed)) {
    g.sample_due.store(false, std::memory_order_relaxed);
    g.profile->take(L);
  }
  const controls c = g.out.pending_controls();
  if (c.where) tell_where(g, L);
  if (g.dead || c.kill) {
    g.dead = true;
    g.raise_control(L, errc::killed);
  } else if (c.interrupt) {
    if (g.current != nullptr) g.current->cut = true;
    g.raise_control(L, errc::interrupted);
  } else if (g.forced != errc::ok) {
    g.raise_control(L, g.forced);
  } else if (g.over_cpu_limit()) {
    g.raise_control(L, errc::cpu_limit);
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
  if (unwinding && unwinding_count != 1 && ++unwinding_ticks < grace_ticks && !out.pending_controls().kill) return;
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
  if (code == errc::killed) {
    unwinding_count = 1;
  } else if (!unwinding || unwinding_count == 1) { // 1: it was to be raised, and no handler has run yet
    unwinding_count = grace;
  } else { // less for each, as a __close may make another one without end
    unwinding_count = std::max(2, unwinding_count - grace / 1000);
  }
  unwinding = true;
  forced = code;
  unwinding_ticks = 0;
  arm(L, unwinding_count);
  drop_handlers(L);
  fail_with(code, control_text(code));
  return raise_failure(L);
}

std::string lua_guest::control_text(errc code) const {
  if (code != errc::cpu_limit) return name_of(code);
  return fmt::format("{} used {} s of processor time, which is the limit for a message",
                     current != nullptr ? current->label : "it", static_cast<double>(cpu_limit) / 1e9);
}

std::uint64_t lua_guest::thread_cpu() noexcept {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

bool lua_guest::over_cpu_limit() const noexcept {
  return cpu_limit > 0 && current != nullptr && current->body != task_body::exit
         && current->cpu_used + (thread_cpu() - cpu_from) >= cpu_limit;
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
