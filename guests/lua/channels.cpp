// See channels.hpp. The userdata, and the methods of a channel.
//
// A send or a receive, in order:
//   1. at once, if that is possible: one lock of the channel;
//   2. else a wait of one case (channels/channel_wait.hpp), the task suspends, with a timer if there is a limit;
//   3. the continuation sees who came first: the other party, the timer, an interrupt; exactly one counts.
#include "guests/lua/channels.hpp"

#include "guests/lua/calls.hpp"
#include "guests/lua/kinds.hpp"

namespace Atoll {

// -- userdata ----------------------------------------------------------------------------------------------------------

basic_channel& channel_at(lua_State* L, int index) {
  auto* c = static_cast<lua_channel*>(lua_guest::of(L).check(L, index, kind::channel, "channel"));
  if (c->channel == nullptr) luaL_argerror(L, index, "the channel was collected");
  return *c->channel;
}

lua_channel& push_channel(lua_State* L, channel_number number) {
  lua_guest& g = lua_guest::of(L);
  luaL_checkstack(L, 5, nullptr);
  lua_guest::push_anchored(L, g.channels_ref, static_cast<lua_Integer>(number));
  if (lua_isuserdata(L, -1) != 0) return *static_cast<lua_channel*>(lua_touserdata(L, -1));
  lua_pop(L, 1);
  lua_channel* c = new (lua_newuserdatauv(L, sizeof(lua_channel), 0)) lua_channel;
  g.set_kind(L, kind::channel);
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.channels_ref);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, static_cast<lua_Integer>(number));
  lua_pop(L, 1);
  return *c;
}

void keep_channel(lua_guest& g, lua_channel& c, channel_handle&& handle) {
  c.id = g.channels.add();
  c.channel = handle.get();
  *g.channels.find(c.id) = std::move(handle);
}

namespace {

int collect(lua_State* L) {
  auto* c = static_cast<lua_channel*>(lua_touserdata(L, 1));
  lua_guest::of(L).channels.remove(c->id);
  *c = {};
  return 0;
}

} // namespace

bool adopt_channel(lua_guest& g, lua_channel& c, channel_number number) {
  channel_handle handle = g.out.channels().space().take(number);
  if (!handle) return false;
  if (c.channel == nullptr) keep_channel(g, c, std::move(handle));
  return true;
}

namespace {

// -- sending -----------------------------------------------------------------------------------------------------------

int push_sent(lua_State* L, channel_status how) {
  if (how == channel_status::no_memory)
    return lua_guest::of(L).raise(L, errc::out_of_memory, "no memory for the value in the channel");
  if (how != channel_status::done) return push_status(L, name_of(how));
  lua_pushboolean(L, 1);
  return 1;
}

int sent(lua_State* L, int, lua_KContext) {
  lua_guest& g = lua_guest::of(L);
  const bool decided = wait_ends(g);
  g.end_wait(L);
  if (!decided) return push_status(L, "timeout");
  guest_wait& w = *g.current->channels;
  const channel_status how = w.status();
  if (how != channel_status::done) take_item_back(g, w.at(0).item);
  return push_sent(L, how);
}

/// With the item written into the desk's. `limit` < 0: as long as it takes.
int send_written(lua_State* L, basic_channel& c, orphan_policy orphans, double limit, const char* no_room) {
  lua_guest& g = lua_guest::of(L);
  channel_desk& desk = g.out.channels();
  const channel_status how = desk.send(c, orphans);
  if (how == channel_status::done) [[likely]] {
    lua_pushboolean(L, 1);
    return 1;
  }
  if (how != channel_status::full || c.options().full != full_policy::block || limit == 0 || !g.can_wait(L)) {
    take_item_back(g, desk.outgoing());
    if (how != channel_status::full) return push_sent(L, how);
    if (c.options().full == full_policy::block && limit != 0) g.require_wait(L);
    return push_status(L, c.options().full == full_policy::fail ? "full" : no_room);
  }
  channel_case& one = new_wait(g).add(&c, true);
  one.item.bytes.swap(desk.outgoing().bytes);
  one.item.info.orphans = orphans;
  if (!wait_begins(g, limit)) return g.suspend(L, 0, sent);
  const channel_status then = g.current->channels->status();
  if (then != channel_status::done) take_item_back(g, one.item);
  return push_sent(L, then);
}

} // namespace

double limit_at(lua_State* L, int index) {
  if (lua_isnoneornil(L, index)) return -1;
  const double limit = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : -1;
  if (!(limit >= 0)) luaL_error(L, "a time limit is a number of seconds, 0 or more");
  return limit;
}

namespace {

/// c:send(v, limit) or c:send(v, {timeout =, orphans =}). True is no limit: c:send(d:recv()) passes on what came.
int channel_send(lua_State* L) {
  basic_channel& c = channel_at(L, 1);
  luaL_checkany(L, 2);
  channel_desk& desk = lua_guest::of(L).out.channels();
  double limit = -1;
  orphan_policy orphans = c.options().orphans;
  if (lua_type(L, 3) == LUA_TTABLE) [[unlikely]] {
    static const char* const known[] = {"timeout", "orphans", nullptr};
    lua_guest::check_options(L, 3, known);
    lua_getfield(L, 3, "timeout");
    limit = limit_at(L, -1);
    lua_getfield(L, 3, "orphans");
    orphans = orphans_at(L, -1, orphans);
  } else if (lua_type(L, 3) != LUA_TBOOLEAN || lua_toboolean(L, 3) == 0) {
    limit = limit_at(L, 3);
  }
  write_item(L, 2, desk.outgoing());
  return send_written(L, c, orphans, limit, "timeout");
}

int channel_try_send(lua_State* L) {
  basic_channel& c = channel_at(L, 1);
  luaL_checkany(L, 2);
  write_item(L, 2, lua_guest::of(L).out.channels().outgoing());
  return send_written(L, c, c.options().orphans, 0, "full");
}

// -- receiving ---------------------------------------------------------------------------------------------------------

enum class wanted : std::uint8_t { value_and_true, value_alone };

int push_received(lua_State* L, channel_status how, wire_reader values, wanted what) {
  if (how == channel_status::done) [[likely]] {
    push_item(L, values);
    if (what == wanted::value_alone) {
      if (lua_isnil(L, -1)) return luaL_error(L, "a nil in the channel would end the loop; receive it with recv()");
      return 1;
    }
    lua_pushboolean(L, 1);
    return 2;
  }
  lua_guest& g = lua_guest::of(L);
  if (how == channel_status::orphaned) {
    g.out.give_back(values);
    if (what == wanted::value_alone)
      return g.raise(L, errc::interpreter_gone, "the sender of an item in the channel is gone");
  }
  return push_status(L, name_of(how));
}

int received(lua_State* L, int, lua_KContext what) {
  lua_guest& g = lua_guest::of(L);
  const bool decided = wait_ends(g);
  g.end_wait(L);
  if (!decided) return push_status(L, "timeout");
  guest_wait& w = *g.current->channels;
  return push_received(L, w.status(), w.at(0).item.bytes.reader(), static_cast<wanted>(what));
}

} // namespace

void prepare_to_receive(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  if (g.unpacking > 0) g.raise(L, errc::invalid_argument, "cannot receive from a channel in an __unpack");
  g.end_reading(); // of an item whose reading failed: its buffer is used again now
}

namespace {

int receive(lua_State* L, basic_channel& c, double limit, const char* nothing, wanted what) {
  lua_guest& g = lua_guest::of(L);
  channel_desk& desk = g.out.channels();
  prepare_to_receive(L);
  channel_status how = desk.receive(c);
  if (how != channel_status::empty) return push_received(L, how, desk.received(), what);
  if (limit == 0) return push_status(L, nothing);
  g.require_wait(L);
  new_wait(g).add(&c, false);
  if (!wait_begins(g, limit)) return g.suspend(L, static_cast<lua_KContext>(what), received);
  guest_wait& w = *g.current->channels;
  return push_received(L, w.status(), w.at(0).item.bytes.reader(), what);
}

int channel_recv(lua_State* L) {
  basic_channel& c = channel_at(L, 1);
  return receive(L, c, limit_at(L, 2), "timeout", wanted::value_and_true);
}

int channel_try_recv(lua_State* L) { return receive(L, channel_at(L, 1), 0, "empty", wanted::value_and_true); }

int next_item(lua_State* L) { return receive(L, channel_at(L, 1), -1, "", wanted::value_alone); }

int channel_items(lua_State* L) {
  channel_at(L, 1);
  lua_pushcfunction(L, next_item);
  lua_pushvalue(L, 1);
  return 2;
}

// -- the end, and what it is -------------------------------------------------------------------------------------------

int channel_close(lua_State* L) {
  basic_channel& c = channel_at(L, 1);
  bool force = false;
  if (!lua_isnoneornil(L, 2)) {
    static const char* const known[] = {"force", nullptr};
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_guest::check_options(L, 2, known);
    lua_getfield(L, 2, "force");
    force = lua_toboolean(L, -1) != 0;
  }
  channel_desk& desk = lua_guest::of(L).out.channels();
  lua_pushboolean(L, force ? desk.destroy(c) : desk.close(c));
  return 1;
}

int channel_release(lua_State* L) {
  static const char* const ends[] = {"both", "send", "recv", nullptr};
  basic_channel& c = channel_at(L, 1);
  const int which = luaL_checkoption(L, 2, "both", ends);
  lua_guest::of(L).out.channels().release(c, which != 2, which != 1);
  return 0;
}

/// A list of handles. `all` is moved from and freed before anything is raised, but for memory.
void push_users(lua_State* L, std::vector<interpreter_id>& listed) {
  lua_createtable(L, static_cast<int>(listed.size()), 0);
  for (std::size_t i = 0; i < listed.size(); ++i) {
    lua_guest::of(L).push_handle(L, listed[i], {});
    lua_rawseti(L, -2, static_cast<lua_Integer>(i) + 1);
  }
}

int channel_ends_of(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  basic_channel& c = channel_at(L, 1);
  lua_createtable(L, 0, 2);
  g.listed = c.ends().senders;
  push_users(L, g.listed);
  lua_setfield(L, -2, "senders");
  g.listed = c.ends().receivers;
  push_users(L, g.listed);
  lua_setfield(L, -2, "receivers");
  return 1;
}

int channel_stats(lua_State* L) {
  const channel_figures f = channel_at(L, 1).figures();
  const std::pair<const char*, std::uint64_t> all[] = {{"sent", f.sent},
                                                       {"received", f.received},
                                                       {"dropped", f.dropped},
                                                       {"refused", f.refused},
                                                       {"orphaned", f.orphaned},
                                                       {"items", f.items},
                                                       {"senders_waiting", f.senders_waiting},
                                                       {"receivers_waiting", f.receivers_waiting}};
  lua_createtable(L, 0, static_cast<int>(std::size(all)));
  for (const auto& [name, figure] : all) {
    lua_pushinteger(L, static_cast<lua_Integer>(figure));
    lua_setfield(L, -2, name);
  }
  return 1;
}

int channel_len(lua_State* L) {
  lua_pushinteger(L, static_cast<lua_Integer>(channel_at(L, 1).size()));
  return 1;
}

int channel_id_of(lua_State* L) {
  lua_pushinteger(L, static_cast<lua_Integer>(channel_at(L, 1).id()));
  return 1;
}

int channel_state(lua_State* L) {
  lua_pushstring(L, channel_at(L, 1).is_closed() ? "closed" : "open");
  return 1;
}

int to_string(lua_State* L) {
  const basic_channel& c = channel_at(L, 1);
  lua_pushfstring(L, "channel %I (%s, %I items)", static_cast<LUAI_UACINT>(c.id()), c.is_closed() ? "closed" : "open",
                  static_cast<LUAI_UACINT>(c.size()));
  return 1;
}

} // namespace

kind_spec channel_kind() noexcept {
  static const luaL_Reg methods[] = {
      {"send", channel_send},         {"try_send", channel_try_send}, {"recv", channel_recv},
      {"try_recv", channel_try_recv}, {"items", channel_items},       {"close", channel_close},
      {"release", channel_release},   {"ends", channel_ends_of},      {"stats", channel_stats},
      {"id", channel_id_of},          {"state", channel_state},       {nullptr, nullptr}};
  static const luaL_Reg meta[] = {
      {"__gc", collect}, {"__len", channel_len}, {"__tostring", to_string}, {nullptr, nullptr}};
  return {meta, methods};
}

void open_channels(lua_State* L) {
  static const luaL_Reg functions[] = {{"channel", atoll_channel}, {"select", atoll_select}, {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
}

} // namespace Atoll
