// The three ways to ask another interpreter for something, given a message whose values are on the stack.
// Threads: owner only. All of them raise.
#pragma once

#include "guests/lua/state.hpp"

namespace Atoll {

/// Waits for the answer: return call_and_wait(...).
int call_and_wait(lua_State* L, outgoing m);
/// The future of the answer. Takes its place at the bottom of the stack, so m.first is counted without it.
int call_later(lua_State* L, outgoing m);
/// Waits only for room in the receiver's inbox.
int send_only(lua_State* L, outgoing m);

interpreter_id interpreter_at(lua_State* L, int index);
/// Waits until an interpreter made with g.spawning has started, and gives its handle: return spawn_and_wait(...). Its
/// arguments are on the stack from `first` on; errors call them `what`, with numbers unless there is one `alone`.
int spawn_and_wait(lua_State* L, int first, const char* what, bool alone = false);
/// monitors.cpp: an entry for the function at `index`, which is called once with an end: its token.
guest_word add_monitor(lua_State* L, interpreter_id target, int index);
void forget_monitor(lua_guest& g, slab_id id);

void open_interpreters(lua_State* L);
void open_references(lua_State* L);
void open_timers(lua_State* L);
void open_monitors(lua_State* L);
void open_links(lua_State* L);
void open_supervision(lua_State* L);
void open_net(lua_State* L);
void open_exit(lua_State* L);
void open_os_exit(lua_State* L);
void open_classes(lua_State* L);
void open_finalizers(lua_State* L);
void open_coroutines(lua_State* L);
void open_protected(lua_State* L);
/// Raise. Of what would keep an interrupt to itself, in the table of globals and in `debug`, which is on top.
void guard_globals(lua_State* L);
void guard_debug(lua_State* L);

} // namespace Atoll
