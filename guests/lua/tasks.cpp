// Tasks: pooled coroutines, waiting and waking. See task.hpp.
//
// A wait, in order:
//   1. begin_wait() gives the task a new serial; its token goes to the host, or to a list of waiters;
//   2. suspend() yields with `suspending` set; coroutines of the guest in between pass it on (coroutines.cpp);
//   3. run() sees the task waiting and returns to the entry point;
//   4. wake() or resume() finds the task by its token, and run() enters it again;
//   5. the continuation calls end_wait(), which raises if the wait failed, and takes its result.
#include "guests/lua/channels.hpp"
#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

// Finished coroutines kept for reuse; more than that is garbage.
constexpr std::size_t idle_max = 256;

int make_thread(lua_State* L) {
  auto* t = static_cast<task*>(lua_touserdata(L, 1));
  lua_State* thread = lua_newthread(L);
  t->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
  t->thread = thread;
  return 0;
}

} // namespace

task* lua_guest::new_task(task_body body, std::string_view label) {
  task* t = nullptr;
  if (!idle_.empty()) {
    t = idle_.back();
    idle_.pop_back();
  } else {
    all_tasks_.push_back(std::make_unique<task>());
    t = all_tasks_.back().get();
    t->index = static_cast<std::uint32_t>(all_tasks_.size() - 1);
  }
  if (t->thread == nullptr) {
    lua_pushcfunction(main, make_thread);
    lua_pushlightuserdata(main, t);
    if (lua_pcall(main, 1, 0, 0) != LUA_OK) {
      lua_pop(main, 1);
      idle_.insert(idle_.begin(), t);
      return nullptr;
    }
  }
  ++active_;
  t->state = task_state::ready;
  t->body = body;
  t->wake = wake_reason::none;
  t->exiting = false;
  t->leaving = false;
  t->cut = false;
  t->request = no_request;
  t->call = 0;
  t->callee = {};
  t->timer = 0;
  t->channels.reset();
  t->future = 0;
  t->repeats = 0;
  t->depth = 0;
  t->cpu_used = 0;
  t->set_label(label);
  return t;
}

void lua_guest::schedule(task& t, int nargs) {
  t.nargs = nargs;
  ready_.push_back(&t);
}

void lua_guest::stop_unwinding(lua_State* L) noexcept {
  if (!unwinding) return;
  disarm(L);
  unwinding = false;
  forced = errc::ok;
}

void lua_guest::run(task& t, int nargs) {
  current = &t;
  t.nargs = 0;
  t.state = task_state::running;
  suspending = suspension::none;
  if (t.wake == wake_reason::failed) { // preempted when it was interrupted: its hook raises the error
    if (t.wake_code != errc::ok) forced = t.wake_code;
    unwinding = true;
    unwinding_count = 1;
    arm(t.thread, 1);
  }
  if (cpu_limit > 0) [[unlikely]] {
    cpu_from = thread_cpu();
    if (over_cpu_limit()) arm(t.thread, 1); // short stretches add up too, though none lasts until a tick
  }
  running.store(t.thread, std::memory_order_relaxed);
  int results = 0;
  const int status = lua_resume(t.thread, main, nargs, &results);
  running.store(nullptr, std::memory_order_relaxed);
  if (cpu_limit > 0) [[unlikely]]
    t.cpu_used += thread_cpu() - cpu_from;
  end_reading(); // of an item that could not be read: its bytes are the wait's or the desk's, which serve again
  stop_unwinding(t.thread);
  if (status == LUA_YIELD) {
    current = nullptr;
    if (suspending == suspension::preempted) {
      t.state = task_state::ready;
      t.wake = wake_reason::none;
      ready_.push_back(&t);
    }
    suspending = suspension::none;
    return;
  }
  if (status != LUA_OK) { // outside the body's own protection: decoding, or no memory
    lua_xmove(t.thread, main, 1);
    const error why = capture(main, -1, status);
    lua_pop(main, 1);
    failed(t, why);
  }
  current = nullptr;
  if (t.channels != nullptr)
    out.channels().recycle(std::move(t.channels)); // it keeps its channels' memory, and their heirs
  --active_;
  t.state = task_state::idle;
  ++t.serial;
  if (status != LUA_OK || idle_.size() >= idle_max) {
    luaL_unref(main, LUA_REGISTRYINDEX, t.anchor);
    t.thread = nullptr;
    t.anchor = LUA_NOREF;
  } else {
    lua_settop(t.thread, 0);
  }
  if (t.thread != nullptr) {
    idle_.push_back(&t);
  } else {
    idle_.insert(idle_.begin(), &t);
  }
}

void lua_guest::require_wait(lua_State* L) {
  if (can_wait(L)) return;
  if (closing) raise(L, errc::runtime_finalizing, "cannot wait here: the interpreter is closing");
  raise(L, errc::invalid_argument,
        current == nullptr ? "cannot wait in a finalizer" : "cannot wait across a C call (a comparison, a metamethod)");
}

guest_word lua_guest::begin_wait() noexcept {
  ++current->serial;
  current->wake = wake_reason::none;
  return current->token();
}

int lua_guest::suspend(lua_State* L, lua_KContext ctx, lua_KFunction k) {
  current->state = task_state::waiting;
  suspending = suspension::wait;
  return lua_yieldk(L, 0, ctx, k);
}

void lua_guest::end_wait(lua_State* L) {
  task& t = *current;
  const wake_reason why = t.wake;
  t.wake = wake_reason::none;
  t.call = 0;
  t.callee = {};
  if (t.timer != 0) {
    if (why != wake_reason::timer) out.cancel_timer(t.timer);
    t.timer = 0;
  }
  if (why == wake_reason::failed) {
    raise_control(L, t.wake_code);
  } else if (why == wake_reason::cannot_wait) {
    raise(L, errc::invalid_argument, "cannot wait across a C call (a comparison, a metamethod, a finalizer)");
  } else if (why == wake_reason::outcome && wait_outcome->what == outcome::kind::failed) {
    push_error(L, *wait_outcome->failure);
    lua_error(L);
  }
}

task* lua_guest::find_waiting(guest_word token) noexcept {
  const std::size_t index = id_of(token) >> 32U;
  if (kind_of(token) != token_kind::task || index >= all_tasks_.size()) return nullptr;
  task* t = all_tasks_[index].get();
  return t->state == task_state::waiting && t->serial == static_cast<std::uint32_t>(token) ? t : nullptr;
}

void lua_guest::wake(guest_word token, wake_reason why, errc code) {
  task* t = find_waiting(token);
  if (t == nullptr) return;
  ++t->serial;
  t->wake = why;
  t->wake_code = code;
  t->state = task_state::ready;
  ready_.push_back(t);
}

void lua_guest::give_up_wait(task& t) {
  if (t.call != 0) out.forget_call(t.call);
  if (t.timer != 0) out.cancel_timer(t.timer);
  if (t.channels != nullptr) abandon_wait(*this, t);
  t.call = 0;
  t.timer = 0;
  ++t.serial;
}

// A turn that was asked to end leaves the rest to run_ready(): what was preempted does not go on at once.
void lua_guest::run_woken() {
  while (ready_at_ < ready_.size() && !out.pending_controls().yield) run_next_ready();
  forget_run();
}

void lua_guest::run_next_ready() {
  task* t = ready_[ready_at_++];
  if (t->state == task_state::ready) run(*t, t->nargs);
}

void lua_guest::forget_run() {
  if (ready_at_ == ready_.size()) {
    ready_.clear();
    ready_at_ = 0;
  } else if (ready_at_ > 64) {
    ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(ready_at_));
    ready_at_ = 0;
  }
}

bool lua_guest::run_ready() {
  if (dead || closing) return false;
  // One at least, also when messages took the whole turn: they and the tasks behind them take turns.
  if (ready_at_ < ready_.size()) run_next_ready();
  run_woken();
  return ready_at_ < ready_.size();
}

void lua_guest::discard(task& t, bool run_close_handlers) {
  give_up_wait(t);
  if (t.state == task_state::idle || t.state == task_state::running) return;
  if (run_close_handlers) {
    running.store(t.thread, std::memory_order_relaxed);
    lua_resetthread(t.thread);
    running.store(nullptr, std::memory_order_relaxed);
  }
  std::erase_if(captured, [&](const auto& entry) { return entry.second == &t; });
  luaL_unref(main, LUA_REGISTRYINDEX, t.anchor);
  t.thread = nullptr;
  t.anchor = LUA_NOREF;
  t.state = task_state::idle;
  --active_;
  idle_.insert(idle_.begin(), &t);
}

} // namespace Atoll
