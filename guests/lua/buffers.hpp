// Shared memory as Lua userdata: the userdata is a number in lua_guest::buffers, whose handles outlive a killed state.
// Threads: owner only.
#pragma once

#include "guests/lua/state.hpp"

namespace Atoll {

/// Raises. Takes a buffer off a message, its tag included, and pushes it; nothing is taken when memory is out.
void push_received_buffer(lua_guest& g, lua_State* L, wire_reader& in);

void open_buffers(lua_State* L);

} // namespace Atoll
