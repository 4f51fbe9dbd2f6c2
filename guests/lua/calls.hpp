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
int send_only(lua_State* L, const outgoing& m);

interpreter_id interpreter_at(lua_State* L, int index);

void open_interpreters(lua_State* L);
void open_references(lua_State* L);
void open_timers(lua_State* L);
void open_monitors(lua_State* L);
void open_net(lua_State* L);
void open_exit(lua_State* L);
void open_finalizers(lua_State* L);
void open_coroutines(lua_State* L);
void open_protected(lua_State* L);

} // namespace Atoll
