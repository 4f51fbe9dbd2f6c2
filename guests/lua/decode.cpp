// The wire to Lua values. Pushing may raise (no memory, bad bytes): what the rest of the message carries is then paid
// for at the end of the entry point (end_reading).
#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "guests/lua/buffers.hpp"
#include "guests/lua/channels.hpp"
#include "guests/lua/net.hpp"
#include "guests/lua/state.hpp"
#include "guests/lua/value_path.hpp"

namespace Atoll {

namespace {

/// Trivial: an error may jump over it.
struct decoder {
  lua_guest& g;
  lua_State* L;
  wire_reader& in;
  bool plain;
  std::uint64_t promised = in.left(); // entries that tables and packed objects may still announce
  bool numbered_known = false;
  int numbered = 0; // where the list of tables met so far stands, for shared ones; 0: none needed
  lua_Integer tables = 0;
};

int bad(decoder& d) {
  d.in.fail();
  return d.g.raise(d.L, errc::bad_message, "a message could not be decoded");
}

void push_value(decoder& d, int depth, const value_step& way);

/// A table or packed object takes its number. They are remembered only if the message might refer to one again: if the
/// tag's byte occurs in it at all. The list then stands where the first of them would.
lua_Integer take_number(decoder& d) {
  if (!d.numbered_known) {
    d.numbered_known = true;
    if (std::memchr(d.in.position(), static_cast<int>(wire_tag::table_again), d.in.left()) != nullptr) {
      lua_newtable(d.L);
      d.numbered = lua_gettop(d.L);
    }
  }
  return ++d.tables;
}

/// What is on top has this number.
void remember(decoder& d, lua_Integer number) {
  if (d.numbered == 0) return;
  lua_pushvalue(d.L, -1);
  lua_rawseti(d.L, d.numbered, number);
}

/// Every entry takes a byte at least, so all counts of a message together are no more than its bytes: those that lie are
/// found before they cost memory.
void promise(decoder& d, int depth, std::uint64_t entries) {
  if (d.in.failed() || depth >= wire_depth_max || entries > d.promised) bad(d);
  d.promised -= entries;
  luaL_checkstack(d.L, 8, nullptr);
}

void push_table(decoder& d, int depth, const value_step& way) {
  const std::uint32_t items = d.in.get_u32();
  const std::uint32_t pairs = d.in.get_u32();
  promise(d, depth, items + std::uint64_t{2} * pairs);
  const lua_Integer number = take_number(d);
  lua_createtable(d.L, static_cast<int>(items), static_cast<int>(pairs));
  remember(d, number);
  const int at = lua_gettop(d.L);
  value_step step{&way, value_step::kind::item, 0, {}};
  for (std::uint32_t i = 1; i <= items; ++i) {
    step.n = i;
    push_value(d, depth + 1, step);
    lua_rawseti(d.L, at, i);
  }
  for (std::uint32_t i = 0; i < pairs; ++i) {
    step.what = value_step::kind::key;
    push_value(d, depth + 1, step);
    const int type = lua_type(d.L, -1);
    if (type == LUA_TNIL || (type == LUA_TNUMBER && std::isnan(lua_tonumber(d.L, -1)))) bad(d);
    step.what = value_step::kind::entry;
    step.n = at + 1;
    push_value(d, depth + 1, step);
    lua_rawset(d.L, at);
  }
}

/// Pushes the __unpack of a class.
void push_unpack(decoder& d, std::string_view class_name, const value_step& way) {
  lua_rawgeti(d.L, LUA_REGISTRYINDEX, d.g.classes);
  lua_pushlstring(d.L, class_name.data(), class_name.size());
  if (lua_rawget(d.L, -2) != LUA_TTABLE) {
    d.g.fail_with(
        errc::not_shareable,
        fmt::format("{} is an object of class '{}', which {} does not have; call atoll.class('{}', ...) there",
                    path_text(d.L, way), class_name, d.g.name_of_interpreter(d.g.out.id()), class_name));
    d.g.raise_failure(d.L);
  }
  lua_pushliteral(d.L, "__unpack");
  lua_rawget(d.L, -2);
  lua_replace(d.L, -3);
  lua_pop(d.L, 1);
}

void push_packed(decoder& d, int depth, const value_step& way) {
  const std::string_view class_name = d.in.get_text();
  const std::uint32_t n = d.in.get_u32();
  if (d.plain) bad(d);
  promise(d, depth, n);
  const lua_Integer number = take_number(d);
  push_unpack(d, class_name, way);
  value_step step{&way, value_step::kind::packed, 0, class_name};
  for (std::uint32_t i = 1; i <= n; ++i) {
    if (i % 8 == 0) luaL_checkstack(d.L, 16, "too many values in a packed object");
    step.n = i;
    push_value(d, depth + 1, step);
  }
  d.g.call_of_class(d.L, static_cast<int>(n), 1, way, "__unpack", class_name);
  if (lua_isnil(d.L, -1)) {
    d.g.fail_with(errc::guest_error,
                  fmt::format("__unpack of class '{}' answered nil, for {}", class_name, path_text(d.L, way)));
    d.g.raise_failure(d.L);
  }
  remember(d, number);
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

/// As for a connection: the tag is read with the number.
void push_channel_value(decoder& d) {
  if (d.plain || d.in.left() < 9) bad(d);
  wire_reader ahead = d.in;
  ahead.get_u8();
  const channel_number number = ahead.get_u64();
  lua_channel& c = push_channel(d.L, number); // may raise
  d.in = ahead;
  if (!adopt_channel(d.g, c, number)) bad(d);
}

/// The tag has been read. It is read again with what belongs to it, so that an error before that leaves both to the
/// disposer.
void push_shared(decoder& d) {
  if (d.plain) bad(d);
  d.in = wire_reader(d.in.position() - 1, d.in.position() + d.in.left());
  push_received_buffer(d.g, d.L, d.in);
}

void push_tagged(decoder& d, wire_tag tag, int depth, const value_step& way) {
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
  case wire_tag::table: return push_table(d, depth, way);
  case wire_tag::packed: return push_packed(d, depth, way);
  case wire_tag::table_again: {
    const lua_Integer n = static_cast<lua_Integer>(d.in.get_u32()) + 1;
    if (n > d.tables || d.numbered == 0) bad(d);
    if (lua_rawgeti(L, d.numbered, n) == LUA_TNIL) bad(d); // a packed object inside itself
    return;
  }
  case wire_tag::reference: {
    const wire_ref ref = d.in.get_reference();
    if (d.in.failed() || d.plain) bad(d);
    return d.g.push_reference(L, ref);
  }
  case wire_tag::interpreter: return d.g.push_handle(L, interpreter_id{d.in.get_u64()}, {});
  case wire_tag::error_value: return push_error_value(d);
  case wire_tag::buffer: return push_shared(d);
  default: bad(d);
  }
}

void push_value(decoder& d, int depth, const value_step& way) {
  // A connection's tag is read with its number, so that an error between them leaves both to the disposer.
  if (d.in.left() > 0 && *d.in.position() == static_cast<std::uint8_t>(wire_tag::connection)) [[unlikely]] {
    return push_connection(d);
  }
  if (d.in.left() > 0 && *d.in.position() == static_cast<std::uint8_t>(wire_tag::channel)) [[unlikely]] {
    return push_channel_value(d);
  }
  const std::uint8_t byte = d.in.get_u8();
  if (byte >= static_cast<std::uint8_t>(wire_tag::small_int)) {
    lua_pushinteger(d.L, byte - static_cast<int>(wire_tag::small_int) + small_int_min);
  } else if (byte >= static_cast<std::uint8_t>(wire_tag::short_string)) {
    const std::string_view s = d.in.get_bytes(byte - static_cast<std::size_t>(wire_tag::short_string));
    lua_pushlstring(d.L, s.data(), s.size());
  } else {
    push_tagged(d, static_cast<wire_tag>(byte), depth, way);
  }
  if (d.in.failed()) bad(d);
}

int push_values(decoder& d) {
  int n = 0;
  while (!d.in.at_end()) {
    if (n % 8 == 0) luaL_checkstack(d.L, 16, "too many values in a message");
    push_value(d, 0, {nullptr, value_step::kind::value, n + 1, "value"});
    ++n;
  }
  if (d.numbered != 0) lua_remove(d.L, d.numbered);
  return n;
}

} // namespace

void lua_guest::begin_reading(wire_reader values) {
  end_reading(); // of what guest code caught the failure of
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
