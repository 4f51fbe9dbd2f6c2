// The standard libraries, and Atoll's own, opened when a text first names them.
// Why: to open all of them costs 47 us and 20 KiB, a bare state 3 us and 5 KiB, and most interpreters use few.
// How that stays unseen: a program reaches a library through a name in its text. A name is an identifier, written out; and
// whoever finds names in another way (_G, _ENV, load, require, debug, ...) has to name that first. So each text is looked
// through before it is compiled, and what it names is opened before it runs; what may find any name opens everything.
// Words in comments and strings count too: too much is opened, never too little.
// Nothing has a metatable that Lua's own would not have, and a library once opened is never touched again. One thing hangs on
// values instead of names: methods of strings. Until the string library is named its first use opens it (string_index).
// Threads: owner only.
// Invariants: (1) no text is compiled from outside (start, eval) without open_named(). (2) what is open stays open.
#pragma once

#include <lua5.4/lua.hpp>
#include <string_view>

namespace Atoll {

class lua_guest;

/// Raises. Before anything else: what C functions of ours find in the registry.
void open_none(lua_State* L);
/// Raises. Opens what the text names.
void open_named(lua_State* L, std::string_view text);

/// Whether any text could set metatables, and with them __gc and __close; or opened io, which closes files.
bool may_run_at_close(const lua_guest& g) noexcept;

} // namespace Atoll
