// The wire to Lua values. Pushing may raise (no memory, bad bytes): what the rest of the message carries is then paid
// for at the end of the entry point (end_reading).
#include <cstring>

#include "guests/lua/net.hpp"
#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

/// Trivial: an error may jump over it.
struct decoder {
  lua_guest& g;
  lua_State* L;
  wire_reader& in;
  bool plain;
  bool numbered_known = false;
  int numbered = 0; // where the list of tables met so far stands, for shared ones; 0: none needed
  lua_Integer tables = 0;
};

int bad(decoder& d) {
  d.in.fail();
  return d.g.raise(d.L, errc::bad_message, "a message could not be decoded");
}

void push_value(decoder& d, int depth);

/// Tables are remembered only if the message might refer to one again: if the tag's byte occurs in it at all.
void remember(decoder& d) {
  if (!d.numbered_known) {
    d.numbered_known = true;
    if (std::memchr(d.in.position(), static_cast<int>(wire_tag::table_again), d.in.left()) != nullptr) {
      lua_newtable(d.L);
      lua_insert(d.L, -2);
      d.numbered = lua_gettop(d.L) - 1;
    }
  }
  ++d.tables;
  if (d.numbered == 0) return;
  lua_pushvalue(d.L, -1);
  lua_rawseti(d.L, d.numbered, d.tables);
}

void push_table(decoder& d, int depth) {
  const std::uint32_t items = d.in.get_u32();
  const std::uint32_t pairs = d.in.get_u32();
  if (depth >= wire_depth_max || items > d.in.left() || pairs > d.in.left() / 2) bad(d);
  luaL_checkstack(d.L, 6, nullptr);
  lua_createtable(d.L, static_cast<int>(items), static_cast<int>(pairs));
  remember(d);
  const int at = lua_gettop(d.L);
  for (std::uint32_t i = 1; i <= items; ++i) {
    push_value(d, depth + 1);
    lua_rawseti(d.L, at, i);
  }
  for (std::uint32_t i = 0; i < pairs; ++i) {
    push_value(d, depth + 1);
    const bool nan = lua_type(d.L, -1) == LUA_TNUMBER && lua_tonumber(d.L, -1) != lua_tonumber(d.L, -1);
    if (lua_isnil(d.L, -1) || nan) bad(d);
    push_value(d, depth + 1);
    lua_rawset(d.L, at);
  }
}

void push_error_value(decoder& d) {
  error& e = d.g.failure();
  e = d.in.get_error();
  if (d.in.failed() || d.plain) bad(d);
  d.g.push_error(d.L, e);
}

void push_connection(decoder& d) {
  if (d.plain || d.in.left() < 9) bad(d);
  slab_id& id = new_connection(d.L); // may raise
  d.in.get_u8();
  arrived(d.g, id, d.in.get_u64(), {});
}

void push_tagged(decoder& d, wire_tag tag, int depth) {
  lua_State* L = d.L;
  switch (tag) {
  case wire_tag::nil: return lua_pushnil(L);
  case wire_tag::false_value: return lua_pushboolean(L, 0);
  case wire_tag::true_value: return lua_pushboolean(L, 1);
  case wire_tag::int32: return lua_pushinteger(L, d.in.get_i32());
  case wire_tag::int64: return lua_pushinteger(L, d.in.get_i64());
  case wire_tag::float64: return lua_pushnumber(L, d.in.get_double());
  case wire_tag::string: {
    const std::string_view s = d.in.get_text();
    lua_pushlstring(L, s.data(), s.size());
    return;
  }
  case wire_tag::table: return push_table(d, depth);
  case wire_tag::table_again: {
    const lua_Integer n = static_cast<lua_Integer>(d.in.get_u32()) + 1;
    if (n > d.tables || d.numbered == 0) bad(d);
    lua_rawgeti(L, d.numbered, n);
    return;
  }
  case wire_tag::reference: {
    const wire_ref ref = d.in.get_reference();
    if (d.in.failed() || d.plain) bad(d);
    return d.g.push_reference(L, ref);
  }
  case wire_tag::interpreter: return d.g.push_handle(L, interpreter_id{d.in.get_u64()}, {});
  case wire_tag::error_value: return push_error_value(d);
  default: bad(d);
  }
}

void push_value(decoder& d, int depth) {
  // A connection's tag is read with its number, so that an error between them leaves both to the disposer.
  if (d.in.left() > 0 && *d.in.position() == static_cast<std::uint8_t>(wire_tag::connection)) [[unlikely]] {
    return push_connection(d);
  }
  const std::uint8_t byte = d.in.get_u8();
  if (byte >= static_cast<std::uint8_t>(wire_tag::small_int)) {
    lua_pushinteger(d.L, byte - static_cast<int>(wire_tag::small_int) + small_int_min);
  } else if (byte >= static_cast<std::uint8_t>(wire_tag::short_string)) {
    const std::string_view s = d.in.get_bytes(byte - static_cast<std::size_t>(wire_tag::short_string));
    lua_pushlstring(d.L, s.data(), s.size());
  } else {
    push_tagged(d, static_cast<wire_tag>(byte), depth);
  }
  if (d.in.failed()) bad(d);
}

int push_values(decoder& d) {
  int n = 0;
  while (!d.in.at_end()) {
    if (n % 8 == 0) luaL_checkstack(d.L, 16, "too many values in a message");
    push_value(d, 0);
    ++n;
  }
  if (d.numbered != 0) lua_remove(d.L, d.numbered);
  return n;
}

} // namespace

void lua_guest::begin_reading(wire_reader values) noexcept {
  reading.active = true;
  reading.in = values;
  reading.use = import_table::none;
}

int lua_guest::push_message_values(lua_State* L) {
  decoder d{*this, L, reading.in, false};
  const int n = push_values(d);
  reading.active = false;
  return n;
}

int lua_guest::push_plain_values(lua_State* L, std::string_view bytes) {
  wire_reader in(bytes);
  decoder d{*this, L, in, true};
  return push_values(d);
}

void lua_guest::end_reading() {
  if (!reading.active) return;
  reading.active = false;
  if (reading.use != import_table::none) out.imports().drop_use(reading.use);
  out.give_back(reading.in);
}

} // namespace Atoll
