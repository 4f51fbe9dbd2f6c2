// The tables behind references: objects that others hold (exported), and proxies of others' objects.
//
// exported: word -> object and object -> word, strong: it keeps an object alive while its export's `out` is > 0. Words
// are small integers, so looking one up is an array access; no object is an integer, so the two halves never meet.
#include "guests/lua/proxies.hpp"

#include <fmt/format.h>

#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

/// Arguments: exported, object, word. Enters both directions.
int enter_export(lua_State* L) {
  lua_pushvalue(L, 2);
  lua_rawseti(L, 1, lua_tointeger(L, 3));
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_rawset(L, 1);
  return 0;
}

bool enter(lua_State* L, int exported, int index, guest_word word) {
  const bool collecting = lua_gc(L, LUA_GCISRUNNING) != 0;
  lua_gc(L, LUA_GCSTOP); // a message is open: no finalizer may send now
  lua_pushcfunction(L, enter_export);
  lua_rawgeti(L, LUA_REGISTRYINDEX, exported);
  lua_pushvalue(L, index);
  lua_pushinteger(L, static_cast<lua_Integer>(word));
  const bool ok = lua_pcall(L, 3, 0, 0) == LUA_OK;
  if (!ok) lua_pop(L, 1);
  if (collecting) lua_gc(L, LUA_GCRESTART);
  return ok;
}

} // namespace

std::optional<export_table::slot_index> lua_guest::export_object(lua_State* L, int index) {
  if (lua_checkstack(L, 6) == 0) return std::nullopt;
  lua_rawgeti(L, LUA_REGISTRYINDEX, exported);
  lua_pushvalue(L, index);
  lua_rawget(L, -2);
  guest_word word = static_cast<guest_word>(lua_tointeger(L, -1));
  lua_pop(L, 2);
  if (word == 0) {
    if (free_words_.empty()) {
      slots_.push_back(0);
      free_words_.push_back(slots_.size());
    }
    word = free_words_.back();
    if (!enter(L, exported, index, word)) return std::nullopt;
    free_words_.pop_back();
    slots_[word - 1] = out.exports().add(word, type_at(L, index));
  }
  return slots_[word - 1];
}

/// A class's name (__name in the metatable), or the type's. Raises nothing.
type_id lua_guest::type_at(lua_State* L, int index) {
  const int top = lua_gettop(L);
  std::string_view name = luaL_typename(L, index);
  if (lua_getmetatable(L, index) != 0) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, name_key);
    std::size_t n = 0;
    if (lua_rawget(L, -2) == LUA_TSTRING) {
      const char* s = lua_tolstring(L, -1, &n);
      name = {s, n};
    }
  }
  // Objects exported one after the other are mostly of one class.
  if (name != last_type_name_) {
    last_type_ = out.type_named(name);
    last_type_name_ = name;
  }
  lua_settop(L, top);
  return last_type_;
}

std::string lua_guest::object_text(const object_id& id, type_id type) const {
  return fmt::format("{} {} of {}", out.type_name(type), id.slot, name_of_interpreter(id.owner));
}

std::string lua_guest::own_object_text(guest_word object) const {
  const export_table::slot_index slot = slots_[object - 1];
  return object_text({out.id(), slot, 0}, out.exports().type_of(slot));
}

void lua_guest::drop(guest_word object) {
  if (closing || dead) return;
  // Fields set to nil exist: nothing is allocated, nothing raises.
  lua_rawgeti(main, LUA_REGISTRYINDEX, exported);
  lua_rawgeti(main, -1, static_cast<lua_Integer>(object));
  lua_pushnil(main);
  lua_rawset(main, -3);
  lua_pushnil(main);
  lua_rawseti(main, -2, static_cast<lua_Integer>(object));
  lua_pop(main, 1);
  free_words_.push_back(object);
}

namespace {

/// Arguments: the object. Pushes its class's name or its type's.
int type_name(lua_State* L) {
  if (luaL_getmetafield(L, 1, "__name") != LUA_TSTRING) lua_pushstring(L, luaL_typename(L, 1));
  return 1;
}

} // namespace

std::string lua_guest::describe(guest_word object) {
  if (main == nullptr || dead) return "object";
  std::string text = "object";
  lua_pushcfunction(main, type_name);
  push_exported(main, object);
  if (lua_pcall(main, 1, 1, 0) == LUA_OK)
    if (const char* s = lua_tostring(main, -1)) text = s;
  lua_pop(main, 1);
  return text;
}

void lua_guest::push_reference(lua_State* L, const wire_ref& ref) {
  luaL_checkstack(L, 6, nullptr);
  const auto got = out.receive_reference(ref);
  if (!got) return lua_pushnil(L);
  if (got->own) return push_exported(L, got->object);
  const import_table::index i = got->import;
  lua_rawgeti(L, LUA_REGISTRYINDEX, proxies);
  if (lua_rawgeti(L, -1, i) == LUA_TUSERDATA && static_cast<proxy*>(lua_touserdata(L, -1))->held) {
    out.imports().drop_use(i); // the proxy has a use of its own
  } else {
    lua_pop(L, 1);
    reading.use = i;
    need_kind(L, kind::proxy);
    auto* p = static_cast<proxy*>(lua_newuserdatauv(L, sizeof(proxy), 0));
    *p = proxy{i, true, ref.type, ref.id};
    reading.use = import_table::none;
    set_kind(L, kind::proxy);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, i);
  }
  lua_remove(L, -2);
}

} // namespace Atoll
