// Who lives in a torture's runtime: interpreters in C++ and in Lua with the same functions, and habits for their end.
//
//   make        answers a reference to a new object;  hit  calls one
//   touch x     answers x;  pass refs  keeps them
//   fail        raises an error, or throws
//   chain       registers a finalizer that registers a finalizer that registers one
//
// Habits (a set of letters, in Lua): e an exit handler that calls a peer, s one that spawns, c finalizers that make
// finalizers, r errors in handlers and finalizers, t timers all the time, w an endless handler, f an endless last finalizer,
// k a task that keeps computing, m as much memory as there is.
//
// Threads: what they share is the ledger.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include <atoll/native.hpp>

namespace Atoll::torture {

/// What a life is judged by.
struct ledger {
  std::atomic<bool> over{false};          // finalize() has returned
  std::atomic<std::uint64_t> too_late{0}; // guest code, or a line of the log, after that
  std::atomic<std::uint64_t> accepted{0}; // pending calls
  std::atomic<bool> release{false};       // native code that blocks may return

  void note() noexcept {
    if (over.load()) ++too_late;
  }
};

struct thing {
  int hit() { return ++hits; }
  int hits = 0;
};

native_interface native_resident(std::shared_ptr<ledger> book);
source lua_resident();

} // namespace Atoll::torture
