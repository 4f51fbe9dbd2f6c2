// conn:read(): whatever has arrived, at least a byte; conn:read(n): n bytes, or what is left before the end of the
// stream; conn:read("line"): a line without its end ("\n" or "\r\n"). nil at the end of the stream, nil and a message
// after an error.
// Why the bytes are kept outside Lua: lines and counts are cut out of one buffer, each byte copied once, and the search
// for an end of line goes on where the last one stopped.
#include <cstring>

#include "guests/lua/net.hpp"
#include "guests/lua/state.hpp"

namespace Atoll {

namespace {

using status = connection_state::status;

constexpr lua_KContext any = 0;
constexpr lua_KContext line = -1;

/// How many bytes a read takes, 0 when it has to wait. An ended stream gives what is left.
std::size_t available(connection_state& c, lua_KContext wanted) {
  const std::size_t unread = c.unread();
  if (unread == 0) return 0;
  if (wanted == any) return unread;
  if (wanted > 0 && unread >= static_cast<std::size_t>(wanted)) return static_cast<std::size_t>(wanted);
  if (wanted == line) {
    const char* from = c.bytes.data() + c.scanned;
    // NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, not a string
    const void* end = std::memchr(from, '\n', c.bytes.size() - c.scanned);
    if (end != nullptr) return static_cast<std::size_t>(static_cast<const char*>(end) - c.data()) + 1;
    c.scanned = c.bytes.size();
  }
  return c.what == status::open ? 0 : unread;
}

/// Tells the host of all bytes but the last `kept`.
void tell_consumed(host& out, connection_state& c, std::size_t kept) {
  if (c.untold <= kept) return;
  if (c.what == status::open) out.consumed(c.connection, c.untold - kept);
  c.untold = kept;
}

int push_bytes(lua_State* L, connection_state& c, std::size_t n, lua_KContext wanted) {
  host& out = lua_guest::of(L).out;
  std::size_t shown = n;
  if (wanted == line && c.data()[n - 1] == '\n') {
    --shown;
    if (shown > 0 && c.data()[shown - 1] == '\r') --shown;
  }
  lua_pushlstring(L, c.data(), shown); // may raise: the bytes are taken after it
  c.take(n);
  tell_consumed(out, c, c.unread());
  return 1;
}

int push_end(lua_State* L, const connection_state& c) {
  lua_pushnil(L);
  if (c.what == status::closed) {
    lua_pushliteral(L, "connection closed");
    return 2;
  }
  if (c.reason.empty()) return 1;
  lua_pushlstring(L, c.reason.data(), c.reason.size());
  return 2;
}

int read_again(lua_State* L, int, lua_KContext wanted);

int read_step(lua_State* L, lua_KContext wanted) {
  lua_guest& g = lua_guest::of(L);
  connection_state& c = connection_at(L, 1);
  if (const std::size_t n = available(c, wanted); n > 0) return push_bytes(L, c, n, wanted);
  if (c.what != status::open) return push_end(L, c);
  if (g.find_waiting(c.reader) != nullptr) return luaL_error(L, "another task reads from this connection already");
  g.require_wait(L);
  tell_consumed(g.out, c, 0); // a reader that waits for more than the broker's window must get it
  c.reader = g.begin_wait();
  return g.suspend(L, wanted, read_again);
}

int read_again(lua_State* L, int, lua_KContext wanted) {
  lua_guest::of(L).end_wait(L);
  return read_step(L, wanted);
}

} // namespace

int conn_read(lua_State* L) {
  if (lua_isnoneornil(L, 2)) return read_step(L, any);
  if (lua_type(L, 2) == LUA_TNUMBER) {
    const lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n > 0, 2, "a count is more than 0");
    return read_step(L, n);
  }
  const char* what = luaL_checkstring(L, 2);
  luaL_argcheck(L, std::strcmp(what, "line") == 0, 2, "a count or \"line\" expected");
  return read_step(L, line);
}

} // namespace Atoll
