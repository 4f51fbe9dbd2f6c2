// Which lines of a guest's files ran, how often.
// Why a line hook: it is Lua's own word for "a new line"; it costs much, but only when asked for. A guest with line
// hooks must not yield from its count hook (wrong results in Lua 5.4.4), so it is not preempted while it is covered.
// Ownership: lua_guest. Its counters are code extras. Threads: owner only.
#pragma once

#include <lua5.4/lua.hpp>
#include <string>

#include "guests/lua/code_table.hpp"
#include "guests/lua/instruments.hpp"

namespace Atoll {

class line_coverage {
public:
  line_coverage(lua_guest& g, std::shared_ptr<line_counts> sums);
  /// A line event. Raises nothing.
  void count(lua_State* L, lua_Debug* ar) noexcept;

private:
  struct function_lines;
  static void free_lines(void* extra);
  function_lines* of_top(lua_State* L, lua_Debug* ar);
  void add_lines_of_chunk(lua_State* L, const std::string& file);

  lua_guest& guest_;
  const std::shared_ptr<line_counts> sums_;
  code_extra_registry::index index_ = 0;
};

/// Calls take(line) for every line that can run in a dumped chunk (lua_dump of Lua 5.4, not stripped), its functions'
/// too. False when the bytes are no such dump.
bool lines_of_dump(std::string_view dump, void (*take)(void* to, int line), void* to);

} // namespace Atoll
