// References in Lua: proxies of other interpreters' objects, and local refs that mark one's own for sharing.
// Ownership: a proxy has one use of its import entry, until it is released or collected.
// Threads: owner only.
#pragma once

#include "runtime/imports.hpp"

namespace Atoll {

/// The userdata of a proxy; trivial, as everything in Lua's memory is.
struct proxy {
  import_table::index import = import_table::none;
  bool held = false;
  type_id type{};
  object_id id;
};

} // namespace Atoll
