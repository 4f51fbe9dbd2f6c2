// Compiling a file only to see whether it compiles (`atoll check`).
#include <lua5.4/lua.hpp>
#include <memory>

#include "guests/lua/lua_guest.hpp"

namespace Atoll {

result<void> check_lua_file(const std::string& path) {
  const std::unique_ptr<lua_State, decltype(&lua_close)> state(luaL_newstate(), &lua_close);
  if (state == nullptr) return fail(errc::out_of_memory, "no memory to compile " + path);
  if (luaL_loadfilex(state.get(), path.c_str(), "t") == LUA_OK) return {};
  return fail(errc::load_error, lua_tostring(state.get(), -1));
}

} // namespace Atoll
