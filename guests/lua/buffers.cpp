// atoll.buffer, atoll.move, and the methods of a buffer. Positions count from 1, as in strings.
#include "guests/lua/buffers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <climits>

#include "channels/buffer_space.hpp"
#include "guests/lua/kinds.hpp"

namespace Atoll {

namespace {

/// Raises. A userdata that is no buffer yet.
slab_id& new_buffer(lua_State* L) {
  luaL_checkstack(L, 4, nullptr);
  auto& id = *static_cast<slab_id*>(lua_newuserdatauv(L, sizeof(slab_id), 0));
  id = 0;
  lua_guest::of(L).set_kind(L, kind::buffer);
  return id;
}

/// Makes the userdata's number stand for the buffer; false and failure() when there is none. Never raises.
bool keep(lua_guest& g, slab_id& id, result<buffer> b) {
  if (!b) {
    g.failure() = std::move(b.error());
    return false;
  }
  id = g.buffers.add();
  *g.buffers.find(id) = std::move(*b);
  return true;
}

slab_id& id_at(lua_State* L, int index) {
  return *static_cast<slab_id*>(lua_guest::of(L).check(L, index, kind::buffer, "buffer"));
}

const buffer& buffer_at(lua_State* L, int index) {
  lua_guest& g = lua_guest::of(L);
  const buffer* b = g.buffers.find(id_at(L, index));
  if (b == nullptr) g.raise(L, errc::reference_released, "the buffer was released");
  return *b;
}

/// Never raises.
bool check_usable(lua_guest& g, const buffer& b) {
  result<void> ok = b.usable();
  if (!ok) g.failure() = std::move(ok.error());
  return ok.has_value();
}

/// `n` bytes from `first` on are not all in the buffer.
bool refuse_range(lua_guest& g, const buffer& b, lua_Integer first, lua_Integer n) {
  const std::string what =
      n == 0 ? fmt::format("position {} is", first) : fmt::format("{} bytes from {} on are", n, first);
  return g.fail_with(errc::invalid_argument,
                     fmt::format("{}: {} out of range: it has {} (1 to {})", b.name(), what, b.size(), b.size()));
}

struct part {
  std::size_t offset = 0;
  std::size_t bytes = 0;
};

/// Raises. `n` bytes from position `first` on; n below 0: all from there on.
part part_of(lua_State* L, const buffer& b, lua_Integer first, lua_Integer n) {
  lua_guest& g = lua_guest::of(L);
  if (!check_usable(g, b)) g.raise_failure(L);
  const auto size = static_cast<lua_Integer>(b.size());
  const bool begins = first >= 1 && first - 1 <= size;
  if (begins && n < 0) n = size - (first - 1);
  if (!begins || n > size - (first - 1)) {
    refuse_range(g, b, first, std::max<lua_Integer>(n, 0));
    g.raise_failure(L);
  }
  return {static_cast<std::size_t>(first - 1), static_cast<std::size_t>(n)};
}

/// Raises. The part that the arguments from `index` on name: a first position, and how many.
part part_at(lua_State* L, const buffer& b, int index) {
  const lua_Integer first = luaL_optinteger(L, index, 1);
  const lua_Integer n = luaL_optinteger(L, index + 1, -1);
  luaL_argcheck(L, n >= 0 || lua_isnoneornil(L, index + 1), index + 1, "a count of 0 or more expected");
  return part_of(L, b, first, n);
}

// -- methods -----------------------------------------------------------------------------------------------------------

int buffer_len(lua_State* L) {
  const buffer& b = buffer_at(L, 1);
  lua_guest& g = lua_guest::of(L);
  if (!check_usable(g, b)) return g.raise_failure(L);
  lua_pushinteger(L, static_cast<lua_Integer>(b.size()));
  return 1;
}

struct string_bytes {
  const char* data;
  std::size_t size;
};

int push_bytes(lua_State* L) {
  const auto& s = *static_cast<const string_bytes*>(lua_touserdata(L, 1));
  lua_pushlstring(L, s.data, s.size);
  return 1;
}

constexpr int not_read = -1; // no status of Lua's

/// Copies straight into a string of Lua's, which is on top when it answers LUA_OK. Raises nothing: the bytes are pinned
/// meanwhile, and an error must not jump over that.
int read_pinned(lua_guest& g, lua_State* L, const buffer& b, const part& p) {
  const result<buffer_view> view = b.look();
  if (!view) {
    g.failure() = view.error();
    return not_read;
  }
  string_bytes s{view->data() + p.offset, p.bytes};
  lua_pushcfunction(L, push_bytes);
  lua_pushlightuserdata(L, &s);
  return lua_pcall(L, 1, 1, 0);
}

int buffer_read(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const buffer& b = buffer_at(L, 1);
  const part p = part_at(L, b, 2);
  luaL_checkstack(L, 4, nullptr);
  const int status = read_pinned(g, L, b, p);
  if (status == not_read) return g.raise_failure(L);
  return status == LUA_OK ? 1 : lua_error(L);
}

/// Never raises.
bool write_pinned(lua_guest& g, const buffer& b, const part& p, const char* bytes) {
  const result<writable_buffer_view> view = b.edit();
  if (!view)
    g.failure() = view.error();
  else if (p.bytes > 0)
    std::memcpy(view->data() + p.offset, bytes, p.bytes);
  return view.has_value();
}

int buffer_write(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const buffer& b = buffer_at(L, 1);
  const lua_Integer first = luaL_checkinteger(L, 2);
  std::size_t size = 0;
  const char* bytes = luaL_checklstring(L, 3, &size);
  const part p = part_of(L, b, first, static_cast<lua_Integer>(size));
  return write_pinned(g, b, p, bytes) ? 0 : g.raise_failure(L);
}

int buffer_slice(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const buffer& b = buffer_at(L, 1);
  const part p = part_at(L, b, 2);
  slab_id& id = new_buffer(L);
  if (!keep(g, id, b.slice(p.offset, p.bytes)))
    return g.raise_failure(L); // not in one: temporaries would be jumped over
  return 1;
}

int buffer_readonly(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const buffer& b = buffer_at(L, 1);
  if (!check_usable(g, b)) return g.raise_failure(L);
  slab_id& id = new_buffer(L);
  keep(g, id, b.read_only());
  return 1;
}

/// Also __gc and __close.
int buffer_release(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  slab_id& id = id_at(L, 1);
  if (buffer* b = g.buffers.find(id)) {
    g.out.buffers().drop(std::move(*b));
    g.buffers.remove(id);
  }
  return 0;
}

int buffer_eq(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const bool both = g.kind_at(L, 1) == kind::buffer && g.kind_at(L, 2) == kind::buffer;
  const buffer* a = both ? g.buffers.find(id_at(L, 1)) : nullptr;
  const buffer* b = both ? g.buffers.find(id_at(L, 2)) : nullptr;
  lua_pushboolean(L, a != nullptr && b != nullptr && *a == *b);
  return 1;
}

int buffer_tostring(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const buffer* b = g.buffers.find(id_at(L, 1));
  g.scratch = b != nullptr ? b->describe() : "buffer (released)";
  lua_pushlstring(L, g.scratch.data(), g.scratch.size());
  return 1;
}

// -- atoll.* -----------------------------------------------------------------------------------------------------------

/// Never raises.
bool make(lua_guest& g, slab_id& id, std::size_t size, const char* text) {
  if (!keep(g, id, g.out.buffers().make(size))) return false;
  return text == nullptr || write_pinned(g, *g.buffers.find(id), {0, size}, text);
}

/// The collector does not see this memory: without a word from here it would let garbage buffers lie.
void tell_collector(lua_State* L, std::size_t bytes) {
  const std::size_t kib = std::min<std::size_t>(bytes / 1024, INT_MAX);
  if (kib > 0 && lua_gc(L, LUA_GCISRUNNING) != 0) lua_gc(L, LUA_GCSTEP, static_cast<int>(kib));
}

int atoll_buffer(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  std::size_t size = 0;
  const char* text = nullptr;
  if (lua_type(L, 1) == LUA_TSTRING) {
    text = lua_tolstring(L, 1, &size);
  } else {
    const lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n >= 0, 1, "a string, or a size of 0 or more bytes expected");
    size = static_cast<std::size_t>(n);
  }
  tell_collector(L, size);
  slab_id& id = new_buffer(L);
  if (make(g, id, size, text)) return 1;
  lua_gc(L, LUA_GCCOLLECT); // maybe there is garbage enough
  if (!make(g, id, size, text)) return g.raise_failure(L);
  return 1;
}

int atoll_move(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const buffer& b = buffer_at(L, 1);
  slab_id& id = new_buffer(L);
  if (!keep(g, id, b.hand_over())) return g.raise_failure(L); // as in slice
  return 1;
}

/// Never raises.
bool receive(lua_guest& g, slab_id& id, wire_reader& in) {
  in.get_u8();
  const wire_slice s = in.get_slice();
  if (in.failed()) return g.fail_with(errc::bad_message, "a message could not be decoded");
  return keep(g, id, g.out.buffers().receive(s));
}

} // namespace

void push_received_buffer(lua_guest& g, lua_State* L, wire_reader& in) {
  slab_id& id = new_buffer(L);
  if (!receive(g, id, in)) g.raise_failure(L);
}

kind_spec buffer_kind() noexcept {
  static const luaL_Reg methods[] = {
      {"len", buffer_len},           {"read", buffer_read},       {"write", buffer_write}, {"slice", buffer_slice},
      {"readonly", buffer_readonly}, {"release", buffer_release}, {nullptr, nullptr}};
  static const luaL_Reg meta[] = {{"__len", buffer_len},           {"__eq", buffer_eq},
                                  {"__tostring", buffer_tostring}, {"__gc", buffer_release},
                                  {"__close", buffer_release},     {nullptr, nullptr}};
  return {meta, methods};
}

void open_buffers(lua_State* L) {
  static const luaL_Reg functions[] = {{"buffer", atoll_buffer}, {"move", atoll_move}, {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
}

} // namespace Atoll
