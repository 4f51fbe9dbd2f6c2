// What a guest is doing, for the log of turns that hold others up (runtime/guest.hpp, activity).
#include <string>
#include <unordered_map>

#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

using names = std::unordered_map<const void*, std::string>;

/// Of the C functions in the table at the top, as "module.function".
void add_functions(lua_State* L, names& all, const char* module) {
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
    if (lua_iscfunction(L, -1) == 0 || lua_type(L, -2) != LUA_TSTRING) continue;
    const bool global = std::strcmp(module, LUA_GNAME) == 0;
    all.emplace(reinterpret_cast<const void*>(lua_tocfunction(L, -1)),
                (global ? "" : std::string(module) + ".") + lua_tostring(L, -2));
  }
}

/// Of the standard library: a state of its own has the same functions as every guest.
names standard_names() {
  names all;
  lua_State* const L = luaL_newstate();
  if (L == nullptr) return all;
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING && lua_istable(L, -1)) add_functions(L, all, lua_tostring(L, -2));
  if (luaL_getmetatable(L, LUA_FILEHANDLE) == LUA_TTABLE && lua_getfield(L, -1, "__index") == LUA_TTABLE)
    add_functions(L, all, "file");
  lua_close(L);
  return all;
}

const char* name_of_c_function(const void* function, const char* symbol) {
  static const names all = standard_names();
  if (const auto it = all.find(function); it != all.end()) return it->second.c_str();
  // Both end in a jump to the function that does the work: nothing of them is on the stack.
  if (std::strcmp(symbol, "str_find_aux") == 0) return "string.find or string.match";
  return nullptr;
}

} // namespace

activity lua_guest::doing() const noexcept {
  activity now;
  now.name_of = name_of_c_function;
  if (current != nullptr) std::memcpy(now.what, current->label, sizeof now.what);
  return now;
}

} // namespace Atoll
