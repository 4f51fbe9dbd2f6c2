// A C module for Lua, as others write them: it knows nothing of Atoll. Its objects are finalized by code of its own, so
// that code must be there until the last state that loaded it is closed (tests/shell/c_modules.sh).
//
//   probe.new(text)   an object; when it dies, text is appended to the file that PROBE_LOG names
//   probe.live()      how many there are in the process
//   probe.block(s)    blocks the thread for s seconds
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

extern "C" {
#include <lauxlib.h>
#include <lua.h>
}

namespace {

std::atomic<int> living{0};

int live(lua_State* L) {
  lua_pushinteger(L, living);
  return 1;
}

int end(lua_State* L) {
  --living;
  const char* const path = std::getenv("PROBE_LOG"); // NOLINT(concurrency-mt-unsafe): nobody sets it
  std::FILE* const out = path != nullptr ? std::fopen(path, "a") : nullptr;
  if (out == nullptr) return 0;
  lua_getiuservalue(L, 1, 1);
  std::fprintf(out, "%s\n", lua_tostring(L, -1));
  std::fclose(out);
  return 0;
}

int fresh(lua_State* L) {
  luaL_checkstring(L, 1);
  lua_newuserdatauv(L, 16, 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, "probe");
  ++living;
  return 1;
}

int block(lua_State* L) {
  std::this_thread::sleep_for(std::chrono::duration<double>(luaL_checknumber(L, 1)));
  return 0;
}

} // namespace

extern "C" __attribute__((visibility("default"))) int luaopen_probe(lua_State* L) {
  luaL_newmetatable(L, "probe");
  lua_pushcfunction(L, end);
  lua_setfield(L, -2, "__gc");
  const luaL_Reg functions[] = {{"new", fresh}, {"live", live}, {"block", block}, {nullptr, nullptr}};
  luaL_newlib(L, functions);
  return 1;
}
