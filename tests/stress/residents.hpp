// Who lives in a stress round: interpreters, half of them C++ and half of them Lua, that do the same things when told.
//
//   make n, route      makes n objects and sends references to them along the route, a list of interpreters
//   pass refs, route   keeps some of the references, sends all of them on
//   touch n            calls n of the objects it has references to
//   drop               lets go of everything, in bulk
//   give n             answers n references to new objects;  some n   to n of those it keeps
//   bear n             (Lua) has a child, gives it n references, ends it
//   figures            how many references it has sent; how many objects it called were gone while it held them
//
// Threads: what they share is the count of references moved by those in C++; relaxed, a figure.
#pragma once

#include <atomic>
#include <cstdint>

#include <atoll/native.hpp>

namespace Atoll::stress {

/// What a native resident exports.
struct node {
  int hit() { return ++hits; }
  int hits = 0;
};

native_interface native_resident(std::atomic<std::uint64_t>& moved);
source lua_resident();

} // namespace Atoll::stress
