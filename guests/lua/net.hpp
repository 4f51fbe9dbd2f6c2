// TCP connections as Lua userdata; their bytes are in connections.hpp's connection_state.
// Threads: owner only.
#pragma once

#include <lua5.4/lua.hpp>
#include <string_view>

#include "guests/lua/connections.hpp"
#include "guests/lua/slab.hpp"
#include "runtime/host.hpp"

namespace Atoll {

class lua_guest;

/// Raises. Pushes the userdata of a connection that is still to arrive.
slab_id& new_connection(lua_State* L);
/// It has arrived: `id` owns it from now on.
void arrived(lua_guest& g, slab_id& id, std::uint64_t connection, std::string_view peer);
/// Raises. The connection at `index`, adopted if it was fresh.
connection_state& connection_at(lua_State* L, int index);

/// Events of the host.
void connection_event(lua_guest& g, slab_id id, const outcome& what);
void listener_event(lua_guest& g, slab_id id, const outcome& what);

int conn_read(lua_State* L); // read.cpp

} // namespace Atoll
