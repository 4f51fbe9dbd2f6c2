// Compiling without running, for `atoll check`.
#include <algorithm>

#include "guests/lua/lua_guest.hpp"
#include "guests/lua/state.hpp"

namespace Atoll {

result<void> check_lua_file(const std::string& path) {
  lua_State* L = luaL_newstate();
  if (L == nullptr) return fail(errc::out_of_memory, "no memory to check " + path);
  result<void> checked;
  if (luaL_loadfilex(L, path.c_str(), "t") != LUA_OK) {
    std::string words = lua_tostring(L, -1);
    std::replace(words.begin(), words.end(), '\n', ' ');
    if (words.find(path) == std::string::npos) words = path + ": " + words;
    checked = fail(errc::load_error, std::move(words));
  }
  lua_close(L);
  return checked;
}

} // namespace Atoll
