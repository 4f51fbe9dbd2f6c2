// Futures: a result that comes later, of a call (async) or of a task.
// Ownership: the userdata owns the slab entry; it dies with it, and then the call's answer is thrown away.
// Threads: owner only.
#pragma once

#include <lua5.4/lua.hpp>

#include "guests/lua/slab.hpp"
#include "runtime/host.hpp"

namespace Atoll {

class lua_guest;

/// Raises. Pushes a new pending future: its id.
slab_id push_future(lua_guest& g, lua_State* L);
/// Its results are the values from `first` to the top of L's stack. Nothing when the future is gone.
void complete_future(lua_guest& g, lua_State* L, slab_id id, int first);
/// False when the future is gone.
bool fail_future(lua_guest& g, slab_id id, const error& why);
/// The answer to the call it stands for.
void settle_future(lua_guest& g, slab_id id, const outcome& what);
/// Logs the failures that nobody looked at, before the end.
void tell_unseen_failures(lua_guest& g);
/// For select: the future at `index`, whether it is settled, and its waiters' list.
bool future_done(lua_State* L, int index);
void await_future(lua_State* L, int index, guest_word token);
void leave_future(lua_State* L, int index, guest_word token);
/// Raises. Pushes the results of the settled future at `index`: how many; or raises its error.
int push_future_results(lua_State* L, int index);
/// Raises. Starts a task with the function at 1 and its arguments; leaves its future on the stack and answers 1. It runs
/// once the current task waits or ends.
int start_task(lua_State* L, const char* label);
/// Raises. Metatable and atoll.task, atoll.all, atoll.any (into the table on top).
void open_futures(lua_State* L);

} // namespace Atoll
