// Errors as Lua programs see them: a table with message, code, interpreter, traceback and value, and its way to and
// from runtime/errors.hpp.
#include <cstdarg>
#include <cstdio>

#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

void set_text(lua_State* L, const char* key, std::string_view text) {
  lua_pushlstring(L, text.data(), text.size());
  lua_setfield(L, -2, key);
}

std::string_view text_field(lua_State* L, int index, const char* key) {
  std::size_t n = 0;
  lua_getfield(L, index, key); // the error table anchors the text
  const char* s = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : "";
  lua_pop(L, 1);
  return {s, n};
}

void take_error_object(lua_State* L, error& e) {
  const std::string_view code = text_field(L, 1, "code");
  e.code = errc_of(code);
  e.message = text_field(L, 1, "message");
  e.traceback = text_field(L, 1, "traceback");
  lua_getfield(L, 1, "interpreter");
  lua_guest& g = lua_guest::of(L);
  if (g.kind_at(L, -1) == kind::interpreter) {
    e.interpreter = *static_cast<interpreter_id*>(lua_touserdata(L, -1));
    lua_getiuservalue(L, -1, 1);
    std::size_t n = 0;
    if (const char* s = lua_tolstring(L, -1, &n)) e.interpreter_name.assign(s, n);
  }
  lua_settop(L, 2);
  lua_getfield(L, 1, "value");
  if (!lua_isnil(L, -1) && !lua_isstring(L, -1) && !g.encode_payload(L, lua_gettop(L), e.payload)) e.payload.clear();
}

/// Arguments: the error value, the error to be filled (light userdata). Run protected.
int describe_value(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  error& e = *static_cast<error*>(lua_touserdata(L, 2));
  if (g.kind_at(L, 1) == kind::error) {
    take_error_object(L, e);
    return 0;
  }
  const int type = lua_type(L, 1);
  if (type != LUA_TSTRING && !g.encode_payload(L, 1, e.payload)) e.payload.clear();
  std::size_t n = 0;
  if (type == LUA_TSTRING || type == LUA_TNUMBER || luaL_getmetafield(L, 1, "__tostring") != LUA_TNIL) {
    const char* s = luaL_tolstring(L, 1, &n);
    e.message.assign(s, n);
  } else {
    e.message.assign("(error object is a ").append(luaL_typename(L, 1)).append(" value)");
  }
  return 0;
}

} // namespace

bool lua_guest::fail_with(errc code, std::string message) {
  failure_ = error{code, std::move(message), {}, out.id(), out.name(), {}};
  return false;
}

int lua_guest::raise_failure(lua_State* L) {
  push_error(L, failure_);
  return lua_error(L);
}

int lua_guest::raise(lua_State* L, errc code, const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  fail_with(code, text);
  return raise_failure(L);
}

void lua_guest::push_error(lua_State* L, const error& e) {
  luaL_checkstack(L, 6, nullptr);
  lua_createtable(L, 0, 5);
  set_text(L, "message", e.message);
  set_text(L, "traceback", e.traceback);
  lua_pushstring(L, name_of(e.code));
  lua_setfield(L, -2, "code");
  push_handle(L, e.interpreter, e.interpreter_name);
  lua_setfield(L, -2, "interpreter");
  if (e.payload.empty()) {
    lua_pushlstring(L, e.message.data(), e.message.size());
  } else if (push_plain_values(L, e.payload) != 1) {
    lua_pushnil(L);
  }
  lua_setfield(L, -2, "value");
  set_kind(L, kind::error);
}

error lua_guest::capture(lua_State* L, int index, int status) {
  error e;
  e.interpreter = out.id();
  e.interpreter_name = out.name();
  index = lua_absindex(L, index);
  if (lua_type(L, index) == LUA_TSTRING) {
    std::size_t n = 0;
    const char* s = lua_tolstring(L, index, &n);
    e.message.assign(s, n);
    if (status == LUA_ERRMEM || e.message == "not enough memory") e.code = errc::out_of_memory;
  } else {
    if (lua_checkstack(L, 8) == 0) {
      e.code = errc::out_of_memory;
      e.message = "not enough memory";
      return e;
    }
    lua_pushcfunction(L, describe_value);
    lua_pushvalue(L, index);
    lua_pushlightuserdata(L, &e);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
      lua_pop(L, 1);
      if (e.message.empty()) e.message = "(the error could not be described)";
    }
  }
  if (e.traceback.empty()) e.traceback = traceback;
  traceback.clear();
  return e;
}

int lua_guest::with_traceback(lua_State* L) {
  lua_guest& g = of(L);
  g.traceback.clear();
  luaL_traceback(L, L, nullptr, 1);
  std::size_t n = 0;
  const char* s = lua_tolstring(L, -1, &n);
  g.traceback.assign(s, n);
  lua_pop(L, 1);
  return 1;
}

} // namespace Atoll
