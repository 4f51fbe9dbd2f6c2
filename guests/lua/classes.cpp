// Classes whose objects cross packed: atoll.class(name, metatable) with __pack(object) -> values... and
// __unpack(values...) -> object. The receiver finds the class by its name among those it has registered itself.
//
// __pack is guest code, and none may run while a message is open (state.hpp, invariant 3). So:
//   1. the encoder meets an object of a packed class, sets must_pack_ and gives up; the record is rolled back;
//   2. pack() walks the values as the encoder would, calls __pack once for each object, and keeps what it answered in a
//      table object -> record, a table with the values and their number at 0;
//   3. the message is encoded again, with that table at hand (packed_ref).
// A message without such objects pays nothing. Nothing waits in a __pack or __unpack: a C call is around it.
#include <fmt/format.h>

#include <cstring>

#include "guests/lua/calls.hpp"
#include "guests/lua/value_path.hpp"

namespace Atoll {

bool lua_guest::push_packed_class(lua_State* L, int metatable) const {
  lua_rawgeti(L, LUA_REGISTRYINDEX, classes);
  lua_pushvalue(L, metatable);
  const bool found = lua_rawget(L, -2) == LUA_TSTRING;
  lua_remove(L, -2);
  if (!found) lua_pop(L, 1);
  return found;
}

void lua_guest::call_of_class(lua_State* L, int nargs, int nresults, const value_step& where, const char* what,
                              std::string_view class_name) {
  const int function = lua_gettop(L) - nargs;
  lua_pushcfunction(L, with_traceback);
  lua_insert(L, function);
  const std::uint32_t raises = control_raises;
  const bool reads = std::strcmp(what, "__unpack") == 0;
  unpacking += reads ? 1 : 0;
  const int status = lua_pcall(L, nargs, nresults, function);
  unpacking -= reads ? 1 : 0;
  if (status == LUA_OK) return lua_remove(L, function);
  if (control_raises != raises) lua_error(L);
  failure_ = capture(L, -1, status);
  failure_.message += fmt::format(" (in {} of class '{}', for {})", what, class_name, path_text(L, where));
  raise_failure(L);
}

namespace {

/// Trivial: an error may jump over it.
struct packer {
  lua_guest& g;
  lua_State* L;
  int seen = 0;          // table or object -> level it was opened at + 1, 0 when it is done
  int packed = 0;        // object -> record
  lua_Integer level = 0; // packed objects around
};

/// Whether the value at `index` is to be walked; raises when the way to it leads through a packed object.
bool first_meeting(packer& p, int index, const value_step& way) {
  lua_pushvalue(p.L, index);
  const bool met = lua_rawget(p.L, p.seen) != LUA_TNIL;
  const lua_Integer opened = lua_tointeger(p.L, -1);
  lua_pop(p.L, 1);
  if (opened > 0 && opened <= p.level) {
    p.g.fail_with(errc::not_shareable, fmt::format("not shareable: {} leads back to what contains its packed object; "
                                                   "pass atoll.ref instead",
                                                   path_text(p.L, way)));
    p.g.raise_failure(p.L);
  }
  return !met;
}

void mark(packer& p, int index, lua_Integer opened) {
  lua_pushvalue(p.L, index);
  lua_pushinteger(p.L, opened);
  lua_rawset(p.L, p.seen);
}

void visit(packer& p, int index, const value_step& way, int depth);

void visit_table(packer& p, int index, const value_step& way, int depth) {
  lua_State* L = p.L;
  mark(p, index, p.level + 1);
  const int key = lua_gettop(L) + 1;
  lua_pushnil(L);
  while (lua_next(L, index) != 0) {
    visit(p, key, {&way, value_step::kind::key, 0, {}}, depth + 1);
    visit(p, key + 1, {&way, value_step::kind::entry, key, {}}, depth + 1);
    lua_settop(L, key);
  }
  mark(p, index, 0);
}

/// Replaces the values above `base` by one table of them.
void collect(lua_State* L, int base) {
  const int n = lua_gettop(L) - base;
  luaL_checkstack(L, 4, nullptr);
  lua_createtable(L, n, 1);
  lua_insert(L, base + 1);
  for (int i = n; i >= 1; --i) lua_rawseti(L, base + 1, i);
  lua_pushinteger(L, n);
  lua_rawseti(L, base + 1, 0);
}

/// The class's name is on top, its metatable below it.
void visit_object(packer& p, int index, const value_step& way, int depth) {
  lua_State* L = p.L;
  std::size_t length = 0;
  const char* name = lua_tolstring(L, -1, &length);
  const std::string_view class_name(name, length);
  const int base = lua_gettop(L);
  mark(p, index, p.level + 1);
  lua_pushliteral(L, "__pack");
  lua_rawget(L, base - 1);
  lua_pushvalue(L, index);
  p.g.call_of_class(L, 1, LUA_MULTRET, way, "__pack", class_name);
  collect(L, base);
  lua_pushvalue(L, index);
  lua_pushvalue(L, base + 1);
  lua_rawset(L, p.packed);
  ++p.level;
  lua_rawgeti(L, base + 1, 0);
  const lua_Integer n = lua_tointeger(L, -1);
  lua_settop(L, base + 1);
  for (lua_Integer i = 1; i <= n; ++i) {
    lua_rawgeti(L, base + 1, i);
    visit(p, base + 2, {&way, value_step::kind::packed, i, class_name}, depth + 1);
    lua_settop(L, base + 1);
  }
  --p.level;
  mark(p, index, 0);
}

void visit(packer& p, int index, const value_step& way, int depth) {
  lua_State* L = p.L;
  const int type = lua_type(L, index);
  if ((type != LUA_TTABLE && type != LUA_TUSERDATA) || depth >= wire_depth_max) return; // too deep: encode() refuses it
  luaL_checkstack(L, 10, nullptr);
  const int top = lua_gettop(L);
  const bool plain = lua_getmetatable(L, index) == 0;
  const bool object = !plain && p.g.push_packed_class(L, top + 1);
  if ((object || (plain && type == LUA_TTABLE)) && first_meeting(p, index, way)) {
    if (object) {
      visit_object(p, index, way, depth);
    } else {
      visit_table(p, index, way, depth);
    }
  }
  lua_settop(L, top);
}

/// The values of a message; their common name is the light userdata at 1, at 2 the number of the first, 0 for one that has
/// none. Answers the table object -> record.
int pack_values(lua_State* L) {
  const auto* const what = static_cast<const char*>(lua_touserdata(L, 1));
  const int last = lua_gettop(L);
  luaL_checkstack(L, 4, nullptr);
  lua_newtable(L);
  lua_newtable(L);
  packer p{lua_guest::of(L), L, last + 1, last + 2};
  const lua_Integer number = lua_tointeger(L, 2) - 3;
  for (int i = 3; i <= last; ++i) visit(p, i, {nullptr, value_step::kind::value, i + number, what}, 0);
  return 1;
}

} // namespace

bool lua_guest::pack(lua_State* L, int first, const char* what, bool alone) {
  const int top = lua_gettop(L);
  if (lua_checkstack(L, top - first + 8) == 0) return fail_with(errc::out_of_memory, "no memory for the message");
  lua_pushcfunction(L, pack_values);
  lua_pushlightuserdata(L, const_cast<char*>(what));
  lua_pushinteger(L, alone ? 0 : 1);
  for (int i = first; i <= top; ++i) lua_pushvalue(L, i);
  const int status = lua_pcall(L, top - first + 3, 1, 0);
  if (status == LUA_OK) {
    lua_rawseti(L, LUA_REGISTRYINDEX, packed_ref); // the field exists: nothing is allocated, nothing raises
    packed_ = true;
  } else {
    failure_ = capture(L, -1, status);
  }
  lua_settop(L, top);
  return status == LUA_OK;
}

void lua_guest::forget_packed(lua_State* L) {
  if (!packed_) return;
  packed_ = false;
  lua_pushboolean(L, 0);
  lua_rawseti(L, LUA_REGISTRYINDEX, packed_ref);
}

namespace {

void check_method(lua_State* L, const char* name) {
  lua_pushstring(L, name);
  if (lua_rawget(L, 2) != LUA_TFUNCTION) luaL_argerror(L, 2, lua_pushfstring(L, "a class needs a function %s", name));
  lua_pop(L, 1);
}

/// atoll.class(name, metatable): answers the metatable.
int atoll_class(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  std::size_t length = 0;
  luaL_checktype(L, 1, LUA_TSTRING);
  lua_tolstring(L, 1, &length);
  luaL_argcheck(L, length > 0, 1, "a class needs a name");
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  check_method(L, "__pack");
  check_method(L, "__unpack");
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.classes);
  lua_pushvalue(L, 1);
  if (lua_rawget(L, 3) != LUA_TNIL && !lua_rawequal(L, 4, 2))
    luaL_argerror(L, 1, lua_pushfstring(L, "another class is registered as '%s'", lua_tostring(L, 1)));
  lua_pushvalue(L, 2);
  if (lua_rawget(L, 3) != LUA_TNIL && !lua_rawequal(L, 5, 1))
    luaL_argerror(L, 2, lua_pushfstring(L, "the class is registered as '%s' already", lua_tostring(L, 5)));
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_rawset(L, 3);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 1);
  lua_rawset(L, 3);
  lua_settop(L, 2);
  return 1;
}

} // namespace

void open_classes(lua_State* L) {
  lua_pushcfunction(L, atoll_class);
  lua_setfield(L, -2, "class");
}

} // namespace Atoll
