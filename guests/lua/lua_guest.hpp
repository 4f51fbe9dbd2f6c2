// Lua 5.4 as a guest: all that the rest of the house sees of it.
// Why: everything about Lua stays behind this page; it needs no header of Lua.
// Threads: make_lua_guest in the owner's turn; the others on any thread.
#pragma once

#include "guests/lua/instruments.hpp"
#include "runtime/host.hpp"

namespace Atoll {

/// A fresh Lua state in the interpreter's heap. Null when the heap has no room for it.
std::unique_ptr<guest> make_lua_guest(host& outside);

/// Makes guests that are profiled or covered (guests/lua/instruments.hpp).
guest_factory make_instrumented_lua(const lua_instruments& with);

/// Whether a file compiles; it is not run. load_error: one line with file, line and reason.
result<void> check_lua_file(const std::string& path);

} // namespace Atoll
