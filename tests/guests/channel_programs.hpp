// Lua programs about channels, in a fake world.
#pragma once

#include <string>

#include "tests/guests/lua_programs.hpp"

namespace Atoll::testing {

/// What main logged.
inline std::string channel_log(const std::string& code) { return logged("local channel = atoll.channel\n" + code); }

inline fake_interpreter& run_channels(fake_world& world, const std::string& code) {
  return world.run("local atoll = require 'atoll'; local log = atoll.log.info\n"
                   "local channel = atoll.channel\n"
                   + code);
}

/// Runs `code` in a handler with a fresh connection, number 7, as `conn`.
inline fake_interpreter& run_with_connection(fake_world& world, const std::string& code) {
  fake_interpreter& main = run_channels(world, "atoll.net.listen('x', function(conn)\n" + code + "\nend)");
  outcome o;
  o.what = outcome::kind::accepted;
  o.connection = 7;
  o.name = "peer";
  main.program->resume(main.listener_token, o);
  world.settle();
  return main;
}

} // namespace Atoll::testing
