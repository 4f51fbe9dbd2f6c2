// The sampling profiler of one guest: which functions were running when a tick came.
// Why: a tick costs the same whatever the program does, and between ticks nothing is paid.
// Ownership: lua_guest. Its counters are code extras of the innermost functions.
// Threads: owner only.
#pragma once

#include <lua5.4/lua.hpp>
#include <string>
#include <vector>

#include "guests/lua/code_table.hpp"
#include "guests/lua/instruments.hpp"

namespace Atoll {

class profiler {
public:
  /// Deeper stacks are cut: the innermost frames stay, under one called "...".
  static constexpr int deepest = 128;

  profiler(lua_guest& g, std::shared_ptr<stack_counts> sums);
  /// Counts what runs on L now, from a hook. Raises nothing; a sample for which there is no memory is lost.
  void take(lua_State* L) noexcept;

private:
  struct function_profile;
  static void free_profile(void* extra);
  function_profile* of_top(lua_State* L, lua_Debug* ar);
  std::string frame_name(lua_State* L, lua_Debug* ar) const;
  void count(lua_State* L);

  lua_guest& guest_;
  const std::shared_ptr<stack_counts> sums_;
  code_extra_registry::index index_ = 0;
  std::vector<std::string> frames_; // innermost first; kept for their memory
  std::string stack_;
};

} // namespace Atoll
