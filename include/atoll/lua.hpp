// Lua 5.4 as a language of a runtime: config.languages["lua"] = Atoll::lua();
#pragma once

#include "atoll/atoll.hpp"
#include "guests/lua/lua_guest.hpp"

namespace Atoll {

struct lua {
  static constexpr const char* language = "lua";
  std::unique_ptr<guest> operator()(host& outside) const { return make_lua_guest(outside); }
};

} // namespace Atoll
