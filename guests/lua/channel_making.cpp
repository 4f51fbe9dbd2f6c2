// atoll.channel: its options, and the function that gets what nobody receives (through a hidden channel that is listened to
// here). See channels.hpp.
#include <cmath>
#include <cstring>

#include "guests/lua/channels.hpp"

namespace Atoll {

namespace {

// -- undelivered items -------------------------------------------------------------------------------------------------

int hook_entry(lua_State* L) {
  lua_pushcfunction(L, lua_guest::with_traceback);
  lua_insert(L, 1);
  lua_guest::of(L).push_message_values(L);
  return lua_guest::of(L).run_body(L);
}

void end_hook(lua_guest& g, slab_id id) {
  luaL_unref(g.main, LUA_REGISTRYINDEX, g.hooks.find(id)->function);
  g.hooks.remove(id);
}

/// Runs the function for the item that `w` brought. False: no item comes any more.
bool run_hook(lua_guest& g, const lua_guest::undelivered_hook& h, guest_wait& w) {
  if (w.status() != channel_status::done && w.status() != channel_status::orphaned) return false;
  g.begin_reading(w.at(0).item.bytes.reader());
  g.run_callback(h.function, "an undelivered hook", hook_entry);
  g.end_reading();
  return !g.dead;
}

/// Runs the function for what is there, then waits for more. A turn that was asked to end goes on here in the next one.
void listen(lua_guest& g, slab_id id) {
  channel_desk& desk = g.out.channels();
  lua_guest::undelivered_hook& h = *g.hooks.find(id);
  const guest_word token = make_token(token_kind::hook, id);
  for (;;) {
    boost::intrusive_ptr<guest_wait> w = desk.make_wait();
    w->add(h.from.pointer(), false);
    if (!desk.decide(*w, token, 0)) {
      h.wait = std::move(w);
      return;
    }
    if (!run_hook(g, h, *w)) return end_hook(g, id);
    desk.recycle(std::move(w));
    if (g.out.pending_controls().yield) {
      g.out.set_timer(g.out.now(), token);
      return;
    }
  }
}

} // namespace

void hook_event(lua_guest& g, slab_id id, const outcome& what) {
  lua_guest::undelivered_hook* h = g.hooks.find(id);
  if (h == nullptr) return;
  const boost::intrusive_ptr<guest_wait> w = std::move(h->wait);
  bool more = what.what == outcome::kind::timer;
  if (what.what == outcome::kind::channel) {
    g.out.channels().finish(*w);
    more = run_hook(g, *h, *w);
  } else if (w != nullptr) { // the runtime ends
    g.out.channels().withdraw(*w);
  }
  if (more) return listen(g, id);
  end_hook(g, id);
}

namespace {

// -- making one --------------------------------------------------------------------------------------------------------

/// The place of the word at `index` among `names`, which end with null.
int word_at(lua_State* L, int index, const char* const* names, const char* otherwise) {
  const char* word = lua_tostring(L, index);
  for (int i = 0; word != nullptr && names[i] != nullptr; ++i)
    if (std::strcmp(word, names[i]) == 0) return i;
  return luaL_error(L, "%s", otherwise);
}

std::size_t capacity_at(lua_State* L, int index) {
  if (lua_isnil(L, index)) return channel_options{}.capacity;
  if (lua_type(L, index) == LUA_TNUMBER) {
    if (lua_tonumber(L, index) == HUGE_VAL) return channel_options::unbounded;
    int whole = 0;
    const lua_Integer n = lua_tointegerx(L, index, &whole);
    if (whole != 0 && n >= 0) return static_cast<std::size_t>(n);
  }
  return luaL_error(L, "a channel's capacity is a whole number of items, 0 or more, or math.huge");
}

} // namespace

orphan_policy orphans_at(lua_State* L, int index, orphan_policy usual) {
  static const char* const names[] = {"keep", "error", "remove", nullptr};
  if (lua_isnil(L, index)) return usual;
  return static_cast<orphan_policy>(word_at(L, index, names, "orphans is \"keep\", \"error\" or \"remove\""));
}

namespace {

full_policy full_at(lua_State* L, int index) {
  static const char* const names[] = {"block", "drop_oldest", "drop_newest", "fail", nullptr};
  if (lua_isnil(L, index)) return full_policy::block;
  return static_cast<full_policy>(
      word_at(L, index, names, "full is \"block\", \"drop_oldest\", \"drop_newest\" or \"fail\""));
}

/// What Lua's options say, without anything that an error would jump over.
struct plain_options {
  std::size_t capacity = channel_options{}.capacity;
  full_policy full = full_policy::block;
  orphan_policy orphans = orphan_policy::keep;
  bool stay_open = false;
  int hook = 0;                  // where the function of undelivered items stands; 0: there is none,
  basic_channel* heir = nullptr; // perhaps another channel
};

plain_options options_at(lua_State* L, int index) {
  plain_options o;
  if (lua_isnoneornil(L, index)) return o;
  if (lua_type(L, index) == LUA_TNUMBER) {
    o.capacity = capacity_at(L, index);
    return o;
  }
  static const char* const known[] = {"capacity", "full", "orphans", "stay_open", "undelivered", nullptr};
  if (!lua_istable(L, index)) luaL_typeerror(L, index, "capacity or table of options");
  lua_guest::check_options(L, index, known);
  lua_getfield(L, index, "capacity");
  o.capacity = capacity_at(L, -1);
  lua_getfield(L, index, "full");
  o.full = full_at(L, -1);
  lua_getfield(L, index, "orphans");
  o.orphans = orphans_at(L, -1, orphan_policy::keep);
  lua_getfield(L, index, "stay_open");
  o.stay_open = lua_toboolean(L, -1) != 0;
  lua_getfield(L, index, "undelivered");
  if (lua_isfunction(L, -1)) {
    o.hook = lua_gettop(L);
  } else if (!lua_isnil(L, -1)) {
    if (lua_guest::of(L).kind_at(L, -1) != kind::channel) luaL_error(L, "undelivered is a function or a channel");
    o.heir = &channel_at(L, -1);
  }
  return o;
}

/// Empty: failure() says why.
channel_handle make(lua_guest& g, channel_options options) {
  auto made = g.out.channels().space().make(std::move(options));
  if (made) return *std::move(made);
  g.failure() = std::move(made.error());
  return {};
}

/// Makes the channel for the userdata, and for a function a hidden one that it listens to: `hook`. False: failure().
bool fill(lua_guest& g, lua_channel& c, const plain_options& o, int function, slab_id& hook) {
  channel_handle heir;
  if (o.heir != nullptr) heir = g.out.channels().space().find(o.heir->id());
  if (o.hook != 0) {
    heir = make(g, {.capacity = channel_options::unbounded, .stay_open = true});
    if (!heir) return false;
  }
  channel_handle made = make(g, {o.capacity, o.full, o.orphans, o.stay_open, heir, o.hook != 0});
  if (!made) return false;
  keep_channel(g, c, std::move(made));
  if (o.hook == 0) return true;
  hook = g.hooks.add();
  *g.hooks.find(hook) = {function, std::move(heir), nullptr};
  return true;
}

} // namespace

int atoll_channel(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const plain_options o = options_at(L, 1);
  lua_channel* c = new (lua_newuserdatauv(L, sizeof(lua_channel), 0)) lua_channel;
  g.set_kind(L, kind::channel);
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.channels_ref);
  int function = LUA_NOREF;
  if (o.hook != 0) {
    lua_pushvalue(L, o.hook);
    function = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  slab_id hook = 0;
  if (!fill(g, *c, o, function, hook)) {
    luaL_unref(L, LUA_REGISTRYINDEX, function);
    return g.raise_failure(L);
  }
  if (hook != 0) listen(g, hook);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, static_cast<lua_Integer>(c->channel->id()));
  lua_pop(L, 1);
  return 1;
}

} // namespace Atoll
