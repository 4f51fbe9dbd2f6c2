// The way to a value inside a message, for errors that are raised on the way: steps chained through the C stack.
// Why: an error jumps over everything that could note where it was; the chain costs a few stores for each table.
// Ownership: each step is a local of the function that walks; all of them are trivial.
// Threads: owner only.
#pragma once

#include <lua5.4/lua.hpp>
#include <string>
#include <string_view>

namespace Atoll {

struct value_step {
  enum class kind : std::uint8_t {
    value,  // number n of the message; 0: the only one
    item,   // n of a table's array
    key,    // a key itself
    entry,  // the value of the key that stands at stack index n
    packed, // value n of a packed object
  };
  const value_step* outer = nullptr;
  kind what = kind::value;
  lua_Integer n = 0;
  std::string_view subject{}; // value: what the message's values are called; packed: the class
};

/// The key at `index` as Lua would write it behind a table: .name, [3], ["a b"].
std::string key_text(lua_State* L, int index);

/// "argument 2.items[3] (value 1 of class 'vector')". Raises nothing.
std::string path_text(lua_State* L, const value_step& innermost);

/// One step into a packed object, as paths show it.
std::string packed_step_text(lua_Integer n, std::string_view class_name);

} // namespace Atoll
