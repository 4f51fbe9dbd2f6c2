// Lua 5.4 as a guest: makes the guest that runs a Lua program in an interpreter.
// Why: everything about Lua stays behind this page; it needs no header of Lua.
// Threads: owner only, in the owner's turn.
#pragma once

#include "runtime/host.hpp"

namespace Atoll {

/// A fresh Lua state in the interpreter's heap. Null when the heap has no room for it.
std::unique_ptr<guest> make_lua_guest(host& outside);

} // namespace Atoll
