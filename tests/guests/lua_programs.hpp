// Runs Lua programs in a fake world and gives what they logged.
#pragma once

#include <string>

#include "guests/lua/lua_guest.hpp"
#include "tests/guests/fake_host.hpp"

namespace Atoll::testing {

inline std::string lines(const fake_interpreter& who) {
  std::string all;
  for (const std::string& line : who.logged) all += line + "\n";
  return all;
}

/// What interpreter `number` logged while main ran this code, a line each.
inline std::string logged(const std::string& code, std::size_t number = 1) {
  fake_world world(make_lua_guest);
  world.run("local atoll = require 'atoll'; local log = atoll.log.info\n" + code);
  return lines(world[number]);
}

} // namespace Atoll::testing
