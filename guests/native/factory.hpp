// Makes native guests of an interface.
// Threads: the factory may be called on any thread, each time for one interpreter in its first turn.
#pragma once

#include "runtime/host.hpp"

namespace Atoll {

class native_interface;

guest_factory make_native_guest(native_interface offered);

} // namespace Atoll
