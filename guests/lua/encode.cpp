// Lua values to the wire, in one pass and without a single allocation in Lua: nothing here raises, so that the open
// message can always be taken back.
// Why lua_next alone for arrays: keys 1..n come first and in order when they lie in the table's array part; the first
// key out of order ends the array, and what follows goes as pairs. No second look at any entry.
#include <fmt/format.h>

#include <algorithm>

#include "guests/lua/state.hpp"
#include "guests/lua/value_path.hpp"
#include "runtime/references.hpp"

namespace Atoll {

/// One message's worth of encoding.
class encoder {
public:
  encoder(lua_guest& g, lua_State* L, wire_writer& w, identity_map& seen, bool plain)
      : g_(g), L_(L), w_(w), seen_(seen), plain_(plain) {
    seen_.clear();
  }

  bool value(int index, int depth) {
    switch (lua_type(L_, index)) {
    case LUA_TNIL: w_.put_nil(); return true;
    case LUA_TBOOLEAN: w_.put_bool(lua_toboolean(L_, index) != 0); return true;
    case LUA_TNUMBER:
      if (lua_isinteger(L_, index)) {
        w_.put_int(lua_tointeger(L_, index));
      } else {
        w_.put_float(lua_tonumber(L_, index));
      }
      return true;
    case LUA_TSTRING: {
      std::size_t n = 0;
      const char* s = lua_tolstring(L_, index, &n);
      w_.put_string({s, n});
      return true;
    }
    case LUA_TTABLE: return table(index, depth);
    case LUA_TUSERDATA: return userdata(index, depth);
    case LUA_TFUNCTION: return refuse("is a function; pass atoll.ref(f)");
    case LUA_TTHREAD: return refuse("is a coroutine; pass atoll.ref(co)");
    default: return refuse("is a light userdata, which means nothing elsewhere");
    }
  }

  const char* reason() const noexcept { return reason_; }
  errc code() const noexcept { return code_; }

private:
  static constexpr const char* too_deep = "is nested too deep (200 tables at most)";

  bool refuse(const char* reason, errc code = errc::not_shareable) {
    g_.path_.clear();
    reason_ = reason;
    code_ = code;
    return false;
  }

  bool table(int index, int depth) {
    if (lua_checkstack(L_, 10) == 0) return refuse("does not fit: no memory", errc::out_of_memory);
    if (lua_getmetatable(L_, index) != 0) {
      if (lua_topointer(L_, -1) != g_.metatables[static_cast<int>(kind::error)])
        return instance(index, depth,
                        "is a table with a metatable; pass atoll.ref(t), or register its class with atoll.class");
      lua_pop(L_, 1);
      return error_object(index);
    }
    if (met_before(index)) return true;
    if (depth >= wire_depth_max) return refuse(too_deep);
    return entries(index, depth + 1);
  }

  /// Writes the number of a table or packed object that stands in the message already; false: it is new.
  bool met_before(int index) {
    const std::uint32_t before = seen_.number(lua_topointer(L_, index));
    if (before == identity_map::fresh) return false;
    w_.put_tag(wire_tag::table_again);
    w_.put_u32(before);
    return true;
  }

  /// Something with a metatable, which is on top and is taken off.
  bool instance(int index, int depth, const char* otherwise) {
    const int metatable = lua_gettop(L_);
    bool whole = false;
    if (says_ref()) {
      whole = reference(index);
    } else if (g_.push_packed_class(L_, metatable)) {
      whole = packed(index, depth);
    } else {
      whole = refuse(otherwise);
    }
    lua_settop(L_, metatable - 1);
    return whole;
  }

  /// An object of the packed class whose name is on top.
  bool packed(int index, int depth) {
    if (plain_) return refuse("is an object of a packed class");
    if (g_.for_newborn)
      return refuse("is an object of a packed class, and a new interpreter has none; send it in a call");
    if (!g_.packed_) {
      g_.must_pack_ = true;
      return false;
    }
    if (met_before(index)) return true;
    if (depth >= wire_depth_max) return refuse(too_deep);
    std::size_t length = 0;
    const char* s = lua_tolstring(L_, -1, &length);
    const std::string_view name(s, length);
    lua_rawgeti(L_, LUA_REGISTRYINDEX, g_.packed_ref);
    lua_pushvalue(L_, index);
    if (lua_rawget(L_, -2) != LUA_TTABLE) return refuse("came in while a __pack ran: it must not change what is sent");
    return packed_values(lua_gettop(L_), name, depth + 1);
  }

  bool packed_values(int record, std::string_view name, int depth) {
    lua_rawgeti(L_, record, 0);
    const lua_Integer n = lua_tointeger(L_, -1);
    w_.put_tag(wire_tag::packed);
    w_.put_text(name);
    w_.put_u32(static_cast<std::uint32_t>(n));
    for (lua_Integer i = 1; i <= n; ++i) {
      lua_rawgeti(L_, record, i);
      if (!value(record + 2, depth) || full()) {
        if (!g_.must_pack_) g_.path_.insert(0, packed_step_text(i, name));
        return false;
      }
      lua_settop(L_, record + 1);
    }
    return true;
  }

  /// Whether the writer has failed; the path is then where that was found.
  bool full() { return w_.failed() && !refuse(""); }

  bool entries(int index, int depth) {
    w_.put_tag(wire_tag::table);
    const std::size_t counts = w_.size();
    w_.put_u64(0);
    std::uint32_t items = 0;
    std::uint32_t pairs = 0;
    const int top = lua_gettop(L_);
    lua_pushnil(L_);
    while (lua_next(L_, index) != 0) {
      if (pairs == 0 && lua_isinteger(L_, top + 1)
          && lua_tointeger(L_, top + 1) == static_cast<lua_Integer>(items) + 1) {
        ++items;
      } else {
        ++pairs;
        if (!value(top + 1, depth)) return refused_key();
      }
      if (!value(top + 2, depth)) return refused_at(top + 1);
      if (full()) return refused_at(top + 1);
      lua_settop(L_, top + 1);
    }
    w_.patch_u32(counts, items);
    w_.patch_u32(counts + 4, pairs);
    return true;
  }

  bool refused_key() {
    if (!g_.must_pack_) g_.path_.insert(0, " (a key)");
    return false;
  }

  /// Puts the key at `index` before the path.
  bool refused_at(int index) {
    if (!g_.must_pack_) g_.path_.insert(0, key_text(L_, index));
    return false;
  }

  /// Whether the metatable on top says __atoll = "ref".
  bool says_ref() {
    lua_rawgeti(L_, LUA_REGISTRYINDEX, g_.atoll_key);
    lua_rawget(L_, -2);
    std::size_t n = 0;
    const char* s = lua_type(L_, -1) == LUA_TSTRING ? lua_tolstring(L_, -1, &n) : nullptr;
    const bool ref = s != nullptr && std::string_view(s, n) == "ref";
    lua_pop(L_, 1);
    return ref;
  }

  bool userdata(int index, int depth) {
    if (lua_checkstack(L_, 10) == 0) return refuse("does not fit: no memory", errc::out_of_memory);
    switch (g_.kind_at(L_, index)) {
    case kind::interpreter: w_.put_interpreter(*static_cast<interpreter_id*>(lua_touserdata(L_, index))); return true;
    case kind::proxy: return proxy(index);
    case kind::local_ref: {
      lua_getiuservalue(L_, index, 1);
      const bool ok = reference(lua_gettop(L_));
      lua_pop(L_, 1);
      return ok;
    }
    case kind::connection: return connection(index);
    case kind::channel: return channel(index);
    case kind::buffer: return shared(index);
    case kind::future: return refuse("is a future");
    case kind::timer: return refuse("is a timer");
    case kind::monitor: return refuse("is a monitor");
    case kind::finalizer: return refuse("is a finalizer");
    case kind::listener: return refuse("is a listener");
    default: break;
    }
    const char* const otherwise = "is a userdata; pass atoll.ref(u)";
    return lua_getmetatable(L_, index) != 0 ? instance(index, depth, otherwise) : refuse(otherwise);
  }

  bool reference(int index) {
    if (plain_) return refuse("is a reference");
    const auto slot = w_.failed() ? std::nullopt : g_.export_object(L_, index);
    if (!slot || !put_exported(w_, g_.out.exports(), *slot))
      return refuse("does not fit: no memory", errc::out_of_memory);
    return true;
  }

  bool proxy(int index);
  bool channel(int index);
  bool connection(int index);
  bool shared(int index);

  bool error_object(int index) {
    if (plain_) return refuse("is an error object");
    const bool collecting = lua_gc(L_, LUA_GCISRUNNING) != 0;
    lua_gc(L_, LUA_GCSTOP); // no finalizer may send while this message is open
    const error e = g_.capture(L_, index, LUA_ERRRUN);
    if (collecting) lua_gc(L_, LUA_GCRESTART);
    w_.put_tag(wire_tag::error_value);
    w_.put_error(e);
    return true;
  }

  lua_guest& g_;
  lua_State* L_;
  wire_writer& w_;
  identity_map& seen_;
  bool plain_; // no references, connections, errors
  const char* reason_ = "";
  errc code_ = errc::not_shareable;
};

} // namespace Atoll

#include "guests/lua/channels.hpp"
#include "guests/lua/proxies.hpp"

namespace Atoll {

bool encoder::proxy(int index) {
  const auto& p = *static_cast<const struct proxy*>(lua_touserdata(L_, index));
  if (plain_) return refuse("is a reference");
  if (!p.held || g_.imports_over) {
    g_.scratch = fmt::format("is a reference to {} that was released", g_.object_text(p.id, p.type));
    return refuse(g_.scratch.c_str(), errc::reference_released);
  }
  if (!put_imported(w_, g_.out.imports(), p.import)) return refuse("does not fit: no memory", errc::out_of_memory);
  return true;
}

bool encoder::channel(int index) {
  if (plain_) return refuse("is a channel");
  const channel_handle* c = g_.channels.find(static_cast<lua_channel*>(lua_touserdata(L_, index))->id);
  if (c == nullptr) return refuse("is a channel that was collected"); // in a finalizer that runs after its own
  channel_space& all = g_.out.channels().space();
  all.hold(*c);
  if (w_.put_channel((*c)->id())) return true;
  all.drop_held((*c)->id());
  return refuse("does not fit: no memory", errc::out_of_memory);
}

bool encoder::connection(int index) {
  if (plain_) return refuse("is a connection");
  const slab_id id = *static_cast<slab_id*>(lua_touserdata(L_, index));
  const connection_state* c = g_.connections.find(id);
  if (c == nullptr) return refuse("is a closed connection");
  switch (c->what) {
  case connection_state::status::fresh: break;
  case connection_state::status::open: return refuse("is a connection in use; pass it on before reading or writing");
  case connection_state::status::ended: return refuse("is a connection that has ended");
  case connection_state::status::closed: return refuse("is a closed connection");
  case connection_state::status::moved: return refuse("is a connection that was passed on already");
  }
  if (std::find(g_.moving.begin(), g_.moving.end(), id) != g_.moving.end())
    return refuse("is a connection that is passed on here already");
  g_.moving.push_back(id);
  w_.put_connection(c->connection);
  return true;
}

bool encoder::shared(int index) {
  if (plain_) return refuse("is a buffer");
  if (w_.failed()) return refuse("does not fit: no memory", errc::out_of_memory);
  const buffer* b = g_.buffers.find(*static_cast<slab_id*>(lua_touserdata(L_, index)));
  if (b == nullptr) return refuse("is a buffer that was released", errc::reference_released);
  const result<void> put = b->put(w_);
  if (put) return true;
  g_.scratch = fmt::format("is a buffer that cannot cross: {}", put.error().message);
  return refuse(g_.scratch.c_str(), put.error().code);
}

namespace {

/// Collects bytes in a string.
class string_writer final : public wire_writer {
public:
  explicit string_writer(std::string& bytes) : bytes_(bytes) { bytes_.clear(); }
  void done() { bytes_.resize(size()); }

private:
  bool grow(std::size_t n) noexcept override {
    const std::size_t used = size();
    bytes_.resize(used * 2 + n + 64);
    set_buffer(reinterpret_cast<std::uint8_t*>(bytes_.data()), used, bytes_.size());
    return true;
  }
  std::string& bytes_;
};

} // namespace

bool lua_guest::encode(lua_State* L, int first, wire_writer& w, const char* what, bool alone) {
  const int top = lua_gettop(L);
  must_pack_ = false;
  encoder e(*this, L, w, seen_, false);
  for (int i = first; i <= top; ++i) {
    if (e.value(i, 0)) continue;
    lua_settop(L, top);
    if (must_pack_) return false;
    const std::string subject = alone ? what : fmt::format("{} {}", what, i - first + 1);
    if (w.failed()) {
      failure_ = w.failure();
      return fail_with(failure_.code, fmt::format("{} ({}{})", failure_.message, subject, path_));
    }
    return fail_with(e.code(), fmt::format("{}{}{} {}", e.code() == errc::not_shareable ? "not shareable: " : "",
                                           subject, path_, e.reason()));
  }
  if (!w.failed()) return true;
  failure_ = w.failure();
  return fail_with(failure_.code, failure_.message);
}

bool lua_guest::encode_payload(lua_State* L, int index, std::string& bytes) {
  identity_map seen;
  string_writer w(bytes);
  w.limit(error_payload_max);
  encoder e(*this, L, w, seen, true);
  const int top = lua_gettop(L);
  const bool ok = e.value(index, 0) && !w.failed();
  lua_settop(L, top);
  w.done();
  return ok;
}

} // namespace Atoll
