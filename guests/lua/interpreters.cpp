// Interpreter handles: atoll.spawn, self, list, find, and the methods of a handle.
#include <fmt/format.h>

#include "guests/lua/calls.hpp"
#include "guests/lua/kinds.hpp"

namespace Atoll {

interpreter_id interpreter_at(lua_State* L, int index) {
  return *static_cast<interpreter_id*>(lua_guest::of(L).check(L, index, kind::interpreter, "interpreter"));
}

void lua_guest::push_handle(lua_State* L, interpreter_id id, std::string_view name) {
  luaL_checkstack(L, 6, nullptr);
  lua_rawgeti(L, LUA_REGISTRYINDEX, handles);
  if (lua_rawgeti(L, -1, static_cast<lua_Integer>(number(id))) != LUA_TUSERDATA) {
    lua_pop(L, 1);
    *static_cast<interpreter_id*>(lua_newuserdatauv(L, sizeof(interpreter_id), 1)) = id;
    set_kind(L, kind::interpreter);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, static_cast<lua_Integer>(number(id)));
  }
  if (!name.empty()) {
    lua_pushlstring(L, name.data(), name.size());
    lua_setiuservalue(L, -2, 1);
  }
  lua_remove(L, -2);
}

namespace {

outgoing to_function(lua_State* L, record_kind kind) {
  std::size_t n = 0;
  outgoing m;
  m.to = interpreter_at(L, 1);
  m.kind = kind;
  const char* name = luaL_checklstring(L, 2, &n);
  m.text = {name, n};
  m.first = 3;
  return m;
}

int handle_call(lua_State* L) { return call_and_wait(L, to_function(L, record_kind::call)); }
int handle_send(lua_State* L) { return send_only(L, to_function(L, record_kind::send)); }
int handle_async(lua_State* L) { return call_later(L, to_function(L, record_kind::call)); }
int handle_eval(lua_State* L) { return call_and_wait(L, to_function(L, record_kind::eval)); }

run_state state_of(const host& out, interpreter_id id) {
  const auto info = out.look_up(id);
  return info ? info->state : run_state::gone;
}

int handle_state(lua_State* L) {
  lua_pushstring(L, name_of(state_of(lua_guest::of(L).out, interpreter_at(L, 1))));
  return 1;
}

/// Raises when it was refused.
int controlled(lua_State* L, bool (*control)(lua_guest& g, interpreter_id target)) {
  lua_guest& g = lua_guest::of(L);
  return control(g, interpreter_at(L, 1)) ? 0 : g.raise_failure(L);
}

bool noted(lua_guest& g, result<void> controlled) {
  if (!controlled) g.failure() = std::move(controlled.error());
  return controlled.has_value();
}

int handle_interrupt(lua_State* L) {
  return controlled(L, [](lua_guest& g, interpreter_id target) { return noted(g, g.out.interrupt(target)); });
}

int handle_kill(lua_State* L) {
  return controlled(L, [](lua_guest& g, interpreter_id target) { return noted(g, g.out.kill(target)); });
}

// -- stop and stats: records without a text ------------------------------------------------------------------------

int word_answered(lua_State* L, int, lua_KContext stop) {
  lua_guest& g = lua_guest::of(L);
  g.end_wait(L);
  const int n = g.push_message_values(L);
  if (stop == 0 || n > 0) return n;
  lua_pushboolean(L, 1);
  return 1;
}

int post_word(lua_State* L, record_kind kind, std::uint64_t milliseconds) {
  lua_guest& g = lua_guest::of(L);
  const interpreter_id to = interpreter_at(L, 1);
  g.require_wait(L);
  const call_id call = g.out.open_call(g.begin_wait());
  wire_writer& w = g.out.open_message(to, kind);
  w.put_u64(call);
  if (kind == record_kind::stop) w.put_u64(milliseconds);
  if (g.out.commit() > send_status::crowded) {
    g.out.rollback();
    g.fail_with(errc::interpreter_gone, g.name_of_interpreter(to) + " is gone");
    return g.raise_failure(L);
  }
  g.current->call = call;
  g.current->callee = to;
  return g.suspend(L, kind == record_kind::stop, word_answered);
}

int handle_stop(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  if (interpreter_at(L, 1) == g.out.id())
    return g.raise(L, errc::invalid_argument,
                   "an interpreter cannot wait for its own end: atoll.stop() ends it, atoll.exit() the program");
  if (lua_isnoneornil(L, 2)) return post_word(L, record_kind::stop, usual_stop_limit);
  double seconds = luaL_checknumber(L, 2);
  if (!(seconds >= 0)) seconds = 0;
  if (seconds > 1e9) seconds = 1e9;
  return post_word(L, record_kind::stop, static_cast<std::uint64_t>(seconds * 1000));
}

int handle_stats(lua_State* L) { return post_word(L, record_kind::stats, 0); }

int handle_index(lua_State* L) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  std::size_t n = 0;
  const char* key = lua_tolstring(L, 2, &n);
  const std::string_view name(key == nullptr ? "" : key, n);
  const interpreter_id id = interpreter_at(L, 1);
  if (name == "id") {
    lua_pushinteger(L, static_cast<lua_Integer>(number(id)));
  } else if (name == "name") {
    if (lua_getiuservalue(L, 1, 1) != LUA_TNIL) return 1;
    lua_guest& g = lua_guest::of(L);
    if (const auto info = g.out.look_up(id); info)
      g.scratch = info->name;
    else
      g.scratch.clear();
    if (g.scratch.empty()) return 1;
    lua_pushlstring(L, g.scratch.data(), g.scratch.size());
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 1);
  }
  return 1;
}

int handle_eq(lua_State* L) {
  const lua_guest& g = lua_guest::of(L);
  lua_pushboolean(L, g.kind_at(L, 1) == kind::interpreter && g.kind_at(L, 2) == kind::interpreter
                         && interpreter_at(L, 1) == interpreter_at(L, 2));
  return 1;
}

int handle_tostring(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  g.scratch = g.name_of_interpreter(interpreter_at(L, 1));
  lua_pushlstring(L, g.scratch.data(), g.scratch.size());
  return 1;
}

// -- spawn ----------------------------------------------------------------------------------------------------------

/// The string field `key` of the table at `index`, into `text`; false when it is absent.
bool text_option(lua_State* L, int index, const char* key, std::string& text) {
  const int type = lua_getfield(L, index, key);
  if (type != LUA_TNIL && type != LUA_TSTRING)
    luaL_argerror(L, index, lua_pushfstring(L, "%s must be a string, not a %s", key, luaL_typename(L, -1)));
  std::size_t n = 0;
  if (const char* s = lua_tolstring(L, -1, &n)) text.assign(s, n);
  lua_pop(L, 1);
  return type == LUA_TSTRING;
}

void read_source(lua_State* L, source& from) {
  from.text.clear();
  from.chunk.clear();
  from.kind = source_kind::file;
  std::size_t n = 0;
  if (const char* path = lua_tolstring(L, 1, &n)) {
    from.text.assign(path, n);
    return;
  }
  static const char* const known[] = {"code", "file", "chunk", nullptr};
  if (!lua_istable(L, 1)) luaL_typeerror(L, 1, "path or table");
  lua_guest::check_options(L, 1, known);
  text_option(L, 1, "chunk", from.chunk);
  if (text_option(L, 1, "code", from.text)) {
    from.kind = source_kind::code;
  } else if (!text_option(L, 1, "file", from.text)) {
    luaL_argerror(L, 1, "a path, {code = ...} or {file = ...} expected");
  }
}

/// Fields of the options at index 2, when they are there: seconds, 0 for no limit; whole numbers.
template <class Duration>
void seconds_option(lua_State* L, const char* key, std::optional<Duration>& to) {
  if (lua_getfield(L, 2, key) != LUA_TNIL) {
    const lua_Number seconds = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(seconds >= 0 && seconds <= 1e9))
      luaL_argerror(L, 2, lua_pushfstring(L, "%s must be a number of seconds, or 0 for no limit", key));
    const auto exact = std::chrono::ceil<Duration>(std::chrono::duration<double>(seconds));
    to = exact;
  }
  lua_pop(L, 1);
}

template <class Number>
void count_option(lua_State* L, const char* key, lua_Integer least, std::optional<Number>& to) {
  if (lua_getfield(L, 2, key) != LUA_TNIL) {
    const lua_Integer n = lua_tointeger(L, -1);
    if (!lua_isinteger(L, -1) || n < least || n > 0xFFFFFFFF)
      luaL_argerror(L, 2, lua_pushfstring(L, "%s must be a whole number from %d", key, static_cast<int>(least)));
    to = static_cast<Number>(n);
  }
  lua_pop(L, 1);
}

void read_options(lua_State* L, spawn_options& options) {
  options = {};
  if (lua_isnoneornil(L, 2)) return;
  static const char* const known[] = {"name",         "args",       "memory",     "language",
                                      "message_cpu",  "call_time",  "time_slice", "high_water",
                                      "interpreters", "call_depth", nullptr};
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_guest::check_options(L, 2, known);
  text_option(L, 2, "name", options.name);
  text_option(L, 2, "language", options.language);
  const bool limited = lua_getfield(L, 2, "memory") != LUA_TNIL;
  const lua_Number bytes = lua_tonumber(L, -1);
  luaL_argcheck(L, !limited || (lua_type(L, -1) == LUA_TNUMBER && bytes >= 0 && bytes < 9e18), 2,
                "memory must be a number of bytes");
  options.memory = static_cast<std::size_t>(bytes);
  lua_pop(L, 1);
  seconds_option(L, "message_cpu", options.message_cpu);
  seconds_option(L, "call_time", options.call_time);
  seconds_option(L, "time_slice", options.time_slice);
  count_option(L, "high_water", 1, options.high_water);
  count_option(L, "interpreters", 0, options.interpreters);
  count_option(L, "call_depth", 0, options.call_depth);
}

/// Puts the arguments from opts.args on the stack, above index 2.
void push_args(lua_State* L) {
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) return;
  const int type = lua_getfield(L, 2, "args");
  if (type == LUA_TNIL) return lua_settop(L, 2);
  if (type != LUA_TTABLE)
    luaL_argerror(L, 2, lua_pushfstring(L, "args must be a table, not a %s", luaL_typename(L, -1)));
  lua_getfield(L, 3, "n");
  const int n = lua_isinteger(L, -1) ? static_cast<int>(lua_tointeger(L, -1)) : static_cast<int>(luaL_len(L, 3));
  lua_pop(L, 1);
  luaL_checkstack(L, n + 4, "too many args");
  for (int i = 1; i <= n; ++i) lua_rawgeti(L, 3, i);
  lua_remove(L, 3);
}

/// The child's id, 0 when it could not be born: failure() says why. Never raises.
interpreter_id spawn_child(lua_guest& g, lua_State* L, guest_word token, int first, const char* what, bool alone) {
  bool refused = false;
  auto child = g.out.spawn(
      g.spawning().options, g.spawning().from,
      [&](wire_writer& w) {
        g.for_newborn = true;
        refused = !g.encode(L, first, w, what, alone);
        g.for_newborn = false;
        return !refused;
      },
      token);
  g.moving_done(child.has_value());
  if (child) return *child;
  if (!refused) g.failure() = child.error();
  return {};
}

/// The child's handle is on top.
int spawned(lua_State* L, int, lua_KContext) {
  lua_guest::of(L).end_wait(L);
  return 1;
}

int atoll_spawn(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  read_source(L, g.spawning().from);
  read_options(L, g.spawning().options);
  push_args(L);
  return spawn_and_wait(L, 3, "args");
}

int atoll_self(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  g.push_handle(L, g.out.id(), g.out.name());
  return 1;
}

int atoll_find(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  std::size_t n = 0;
  const char* name = luaL_checklstring(L, 1, &n);
  interpreter_id id{};
  if (const auto info = g.out.find({name, n}); info) id = info->id;
  if (id == interpreter_id{}) {
    lua_pushnil(L);
    return 1;
  }
  g.push_handle(L, id, {name, n});
  return 1;
}

/// Into `ids`, before anything in Lua is allocated.
void list_ids(lua_guest& g, std::vector<interpreter_id>& ids) {
  ids.clear();
  for (const interpreter_info& info : g.out.list()) ids.push_back(info.id);
}

int atoll_list(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  list_ids(g, g.listed);
  lua_createtable(L, static_cast<int>(g.listed.size()), 0);
  for (std::size_t i = 0; i < g.listed.size(); ++i) {
    g.push_handle(L, g.listed[i], {});
    lua_rawseti(L, -2, static_cast<lua_Integer>(i) + 1);
  }
  return 1;
}

// -- supervisors answer these calls (actors/supervision) -------------------------------------------------------------

int call_supervisor(lua_State* L, std::string_view function) {
  outgoing m;
  m.to = interpreter_at(L, 1);
  m.kind = record_kind::call;
  m.text = function;
  m.first = 2;
  return call_and_wait(L, m);
}

int handle_children(lua_State* L) { return call_supervisor(L, "children"); }
int handle_start_child(lua_State* L) { return call_supervisor(L, "start_child"); }
int handle_stop_child(lua_State* L) { return call_supervisor(L, "stop_child"); }
int handle_restart_child(lua_State* L) { return call_supervisor(L, "restart_child"); }
int handle_delete_child(lua_State* L) { return call_supervisor(L, "delete_child"); }

} // namespace

int spawn_and_wait(lua_State* L, int first, const char* what, bool alone) {
  lua_guest& g = lua_guest::of(L);
  g.require_wait(L);
  const interpreter_id child = spawn_child(g, L, g.begin_wait(), first, what, alone);
  if (child == interpreter_id{}) return g.raise_failure(L);
  g.push_handle(L, child, g.spawning().options.name);
  g.current->callee = child;
  return g.suspend(L, 0, spawned);
}

kind_spec interpreter_kind() noexcept {
  static const luaL_Reg methods[] = {{"call", handle_call},
                                     {"send", handle_send},
                                     {"async", handle_async},
                                     {"eval", handle_eval},
                                     {"state", handle_state},
                                     {"stats", handle_stats},
                                     {"stop", handle_stop},
                                     {"interrupt", handle_interrupt},
                                     {"kill", handle_kill},
                                     {"children", handle_children},
                                     {"start_child", handle_start_child},
                                     {"stop_child", handle_stop_child},
                                     {"restart_child", handle_restart_child},
                                     {"delete_child", handle_delete_child},
                                     {nullptr, nullptr}};
  static const luaL_Reg meta[] = {
      {"__index", handle_index}, {"__eq", handle_eq}, {"__tostring", handle_tostring}, {nullptr, nullptr}};
  return {meta, methods};
}

void open_interpreters(lua_State* L) {
  static const luaL_Reg functions[] = {
      {"spawn", atoll_spawn}, {"self", atoll_self}, {"find", atoll_find}, {"list", atoll_list}, {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
}

} // namespace Atoll
