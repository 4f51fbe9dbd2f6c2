// A task's wait on channels, from its beginning to each of its ends, and the items it sends and receives. See channels.hpp.
#include "guests/lua/channels.hpp"

namespace Atoll {

guest_wait& new_wait(lua_guest& g) {
  task& t = *g.current;
  g.end_reading(); // of an item of the last wait that could not be read
  if (t.channels != nullptr) g.out.channels().recycle(std::move(t.channels));
  t.channels = g.out.channels().make_wait();
  return *t.channels;
}

bool wait_begins(lua_guest& g, double limit) {
  task& t = *g.current;
  const guest_word token = g.begin_wait();
  if (g.out.channels().decide(*t.channels, token, g.next_random())) return true;
  if (limit >= 0) t.timer = g.out.set_timer(g.later(limit), token);
  return false;
}

namespace {

/// Of a wait that is over: what was to be sent returns, what was received is undelivered.
void give_back_items(lua_guest& g, guest_wait& w) {
  std::vector<aftermath::undelivered> lost;
  for (std::size_t i = 0; i < w.size(); ++i) {
    channel_case& c = w.at(i);
    if (c.item.bytes.empty()) continue;
    if (c.sends)
      take_item_back(g, c.item);
    else
      lost.push_back({std::move(c.item), c.where});
  }
  g.out.channels().space().give_up(std::move(lost));
}

} // namespace

bool wait_ends(lua_guest& g) {
  task& t = *g.current;
  if (t.channels == nullptr) return false; // given up from outside
  guest_wait& w = *t.channels;
  channel_desk& desk = g.out.channels();
  const bool told = t.wake == wake_reason::outcome && g.wait_outcome->what == outcome::kind::channel;
  const bool counts = told || t.wake == wake_reason::timer || t.wake == wake_reason::ready;
  if (told) {
    desk.finish(w);
    return true;
  }
  const bool decided = !desk.withdraw(w);
  if (decided && counts) return true;
  give_back_items(g, w);
  return false;
}

void abandon_wait(lua_guest& g, task& t) {
  if (!channel_desk::is_waiting(*t.channels)) return; // an earlier one, long read
  const boost::intrusive_ptr<guest_wait> w = std::move(t.channels);
  g.out.channels().withdraw(*w);
  give_back_items(g, *w);
}

bool try_write_item(lua_State* L, int index, channel_item& item) {
  lua_guest& g = lua_guest::of(L);
  if (g.closing) return g.fail_with(errc::runtime_finalizing, "the interpreter is closing: nothing goes out any more");
  lua_pushvalue(L, index);
  const int at = lua_gettop(L);
  item.bytes.clear();
  item.bytes.limit(record_bytes_max);
  bool written = g.encode(L, at, item.bytes, "value", true);
  if (!written) take_item_back(g, item);
  if (!written && g.must_pack()) {
    g.moving_done(false);
    written = g.pack(L, at, "value", true) && g.encode(L, at, item.bytes, "value", true);
    g.forget_packed(L);
    if (!written) take_item_back(g, item);
  }
  lua_settop(L, at - 1);
  if (!g.moving.empty()) g.moving_done(written);
  return written;
}

void write_item(lua_State* L, int index, channel_item& item) {
  if (!try_write_item(L, index, item)) lua_guest::of(L).raise_failure(L);
}

void take_item_back(lua_guest& g, channel_item& item) {
  if (item.bytes.empty()) return;
  struct returned final : wire_visitor {
    explicit returned(lua_guest& to) : guest(to) {}
    void on_connection(std::uint64_t connection) override { guest.move_back(connection); }
    lua_guest& guest;
  } mine(g);
  wire_reader in = item.bytes.reader();
  walk_values(in, mine);
  g.out.put_back(item.bytes.reader());
  item.bytes.clear();
}

void push_item(lua_State* L, wire_reader values) {
  lua_guest& g = lua_guest::of(L);
  g.begin_reading(values);
  const int n = g.push_message_values(L);
  if (n != 1) [[unlikely]]
    lua_settop(L, lua_gettop(L) - n + 1);
}

int push_status(lua_State* L, const char* word) {
  lua_pushnil(L);
  lua_pushstring(L, word);
  return 2;
}

} // namespace Atoll
