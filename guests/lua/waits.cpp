// What the tasks wait for, in words: lua_guest::waits(). Nothing is allocated in Lua's heap: no guest code may run in here.
#include <fmt/format.h>

#include <algorithm>

#include "channels/wait_text.hpp"
#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

/// The line of the guest's code that waits; in a coroutine of its own, the line that resumed that.
std::string line_of(lua_State* thread) {
  lua_Debug at;
  for (int level = 0; lua_getstack(thread, level, &at) != 0; ++level)
    if (lua_getinfo(thread, "Sl", &at) != 0 && at.currentline > 0)
      return fmt::format("{}:{}", at.short_src, at.currentline);
  return {};
}

std::string what_runs(const task& t) {
  switch (t.body) {
  case task_body::start: return "its program";
  case task_body::message: return fmt::format("'{}'", t.label);
  case task_body::exit: return "an exit handler";
  case task_body::callback:
  case task_body::future: break;
  }
  return t.label;
}

} // namespace

std::vector<task_wait> lua_guest::waits() {
  std::unordered_map<guest_word, const future_state*> awaited;
  futures.for_each([&](slab_id, const future_state& f) {
    for (const guest_word waiter : f.waiters) awaited.emplace(waiter, &f);
  });
  std::vector<task_wait> all;
  for (const auto& one : all_tasks_) {
    task& t = *one;
    if (t.state != task_state::waiting) continue;
    task_wait w;
    const auto future = awaited.find(t.token());
    interpreter_id callee = t.callee;
    if (future != awaited.end()) callee = future->second->callee;
    if (callee != host_interpreter) {
      w.on = "an answer of " + name_of_interpreter(callee);
      w.whom.push_back(callee);
    } else if (future != awaited.end()) {
      w.on = "another task of its own";
    } else if (t.channels != nullptr && channel_desk::is_waiting(*t.channels)) {
      w = wait_of(*t.channels);
    } else if (std::find(waiting_for_start.begin(), waiting_for_start.end(), &t) != waiting_for_start.end()) {
      w.on = "its program to return";
    } else {
      w.on = "something outside";
    }
    w.task = what_runs(t);
    w.where = line_of(t.thread);
    all.push_back(std::move(w));
  }
  return all;
}

} // namespace Atoll
