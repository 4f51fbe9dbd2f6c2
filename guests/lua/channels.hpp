// Channels as Lua userdata (channels.cpp, channel_making.cpp), and the waits of tasks on them (channel_waits.cpp, select.cpp).
// Ownership: the guest keeps a handle for each userdata (lua_guest::channels), so that a killed guest lets go of them too.
// Threads: owner only.
// Invariants: (1) one userdata for each channel of this interpreter, while anybody has it. (2) what a task's wait holds
//                 when it ends without a result is given back: what was to be sent returns to the tables, what was received
//                 counts as undelivered.
#pragma once

#include <lua5.4/lua.hpp>

#include "guests/lua/state.hpp"

namespace Atoll {

struct lua_channel {
  slab_id id = 0;
  basic_channel* channel = nullptr; // null: collected
};

/// Raises. The channel at `index`.
basic_channel& channel_at(lua_State* L, int index);
/// Raises. Pushes the userdata of this number, a new one if there is none; adopt_channel() must follow.
lua_channel& push_channel(lua_State* L, channel_number number);
/// The userdata has this channel from now on.
void keep_channel(lua_guest& g, lua_channel& c, channel_handle&& handle);
/// Takes the handle that a message brought. False: there is no such channel.
bool adopt_channel(lua_guest& g, lua_channel& c, channel_number number);

// -- waits of the current task ------------------------------------------------------------------------------------
/// Raises. A new wait for the current task; the caller adds cases, writes their items, and calls wait_begins().
guest_wait& new_wait(lua_guest& g);
/// True: decided at once. Else the task is to suspend, with its timer set if limit >= 0.
bool wait_begins(lua_guest& g, double limit);
/// In the continuation, before end_wait(): true when a case took effect; false when none did and what was to be sent is
/// given back.
bool wait_ends(lua_guest& g);
/// A wait that is given up from outside (lua_guest::give_up_wait).
void abandon_wait(lua_guest& g, task& t);
/// Writes the value at `index`; false: failure() says why, nothing is written. May run guest code (__pack); never raises.
bool try_write_item(lua_State* L, int index, channel_item& item);
/// The same, raising.
void write_item(lua_State* L, int index, channel_item& item);
/// Raises where receiving would replace the message that is being read.
void prepare_to_receive(lua_State* L);
/// What was written does not go: `item` is empty after it, what it carried is as before.
void take_item_back(lua_guest& g, channel_item& item);
/// Raises. Pushes the value of an item that was received.
void push_item(lua_State* L, wire_reader values);
/// Raises. The time limit at `index`, in seconds; none or nil: -1.
double limit_at(lua_State* L, int index);
/// Raises. The orphan policy at `index`; nil: the usual one.
orphan_policy orphans_at(lua_State* L, int index, orphan_policy usual);
/// Raises. nil and the word for it.
int push_status(lua_State* L, const char* word);

/// The hidden channel of undelivered items has something (atoll.channel{undelivered = f}), or is gone.
void hook_event(lua_guest& g, slab_id id, const outcome& what);

/// Raises. Metatable, atoll.channel and atoll.select (into the table on top).
void open_channels(lua_State* L);
int atoll_channel(lua_State* L); // channel_making.cpp
int atoll_select(lua_State* L);  // select.cpp

} // namespace Atoll
