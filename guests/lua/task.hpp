// A task: one thread of the Lua program, which may wait while others go on.
// Why: each message, timer and callback runs in a coroutine of its own, so that waiting for an answer holds nobody up.
// Ownership: lua_guest (all_tasks_). Its coroutine is anchored in the registry while the task exists.
// Threads: owner only.
// Invariants: (1) serial changes whenever a wait begins or ends: a wake-up for an earlier wait finds nothing.
//             (2) an idle task's coroutine is finished and empty, ready for the next body.
#pragma once

#include <cstring>
#include <lua5.4/lua.hpp>

#include "channels/channel_desk.hpp"
#include "guests/lua/slab.hpp"
#include "runtime/host.hpp"

namespace Atoll {

enum class task_state : std::uint8_t { idle, ready, running, waiting };

/// What becomes of a task's results.
enum class task_body : std::uint8_t {
  message,  // answered to its request, if it has one
  start,    // the program's chunk: its result is the interface
  callback, // dropped; an error is logged
  future,   // kept by a future (atoll.task)
  exit,     // exit handlers and finalizers
};

/// Why a waiting task goes on.
enum class wake_reason : std::uint8_t {
  none,
  outcome, // of a call, spawn or connect: lua_guest::wait_outcome
  timer,
  room,
  ready,       // a future is done, a connection has bytes or is out of them
  failed,      // raise wake_code
  cannot_wait, // a C call is in between: raise that
};

struct task {
  lua_State* thread = nullptr;
  int anchor = LUA_NOREF;
  std::uint32_t index = 0;
  std::uint32_t serial = 1;
  task_state state = task_state::idle;
  task_body body = task_body::callback;
  wake_reason wake = wake_reason::none;
  errc wake_code = errc::ok;
  int nargs = 0;        // of a first run that was put off
  bool exiting = false; // atoll.exit: ends without results and without an error
  bool leaving = false; // atoll.fail: whoever waits for it hears of the interpreter's end
  bool cut = false;     // its hook has raised an interrupt that interrupt() is still to be called for
  request_id request = no_request;
  call_id call = 0;        // what it waits for, to be forgotten when the wait is given up
  interpreter_id callee{}; // whose answer it waits for; none: the host program
  std::uint64_t timer = 0;
  boost::intrusive_ptr<guest_wait> channels; // the wait under way, or the last one
  slab_id future = 0;                        // whom its results go to
  slab_id repeats = 0;                       // the `every` timer it runs for
  char label[48] = {};                       // what it runs, for logs
  std::uint32_t depth = 0;                   // how many calls wait for it
  std::uint64_t cpu_used = 0;                // nanoseconds of the stretches before this one, when that is limited

  guest_word token() const noexcept {
    return make_token(token_kind::task, static_cast<slab_id>(index) << 32U | serial);
  }
  void set_label(std::string_view text) noexcept {
    const std::size_t n = text.size() < sizeof label ? text.size() : sizeof label - 1;
    std::memcpy(label, text.data(), n);
    label[n] = 0;
  }
};

} // namespace Atoll
