// What the metatables of the runtime's own kinds of values are made of. They are made when first needed
// (lua_guest::need_kind): an interpreter meets few of them.
// Threads: constant.
#pragma once

#include <lua5.4/lua.hpp>

namespace Atoll {

/// Lists end with {nullptr, nullptr}; null: empty. `methods` is the metatable's __index, or the upvalue of its functions.
struct kind_spec {
  const luaL_Reg* meta = nullptr;
  const luaL_Reg* methods = nullptr;
};

kind_spec interpreter_kind() noexcept; // interpreters.cpp
kind_spec proxy_kind() noexcept;       // references.cpp
kind_spec local_ref_kind() noexcept;   // references.cpp
kind_spec connection_kind() noexcept;  // net.cpp
kind_spec error_kind() noexcept;       // library.cpp
kind_spec future_kind() noexcept;      // futures.cpp
kind_spec timer_kind() noexcept;       // timers.cpp
kind_spec monitor_kind() noexcept;     // monitors.cpp
kind_spec finalizer_kind() noexcept;   // finalizers.cpp
kind_spec sentinel_kind() noexcept;    // finalizers.cpp
kind_spec listener_kind() noexcept;    // net.cpp
kind_spec channel_kind() noexcept;     // channels.cpp
kind_spec buffer_kind() noexcept;      // buffers.cpp

} // namespace Atoll
