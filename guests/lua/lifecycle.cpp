// Birth, start and end of the Lua state, and the dispatch of what it waited for.
#include <fmt/format.h>

#include <algorithm>

#include "guests/lua/calls.hpp"
#include "guests/lua/futures.hpp"
#include "guests/lua/lua_guest.hpp"
#include "guests/lua/net.hpp"

namespace Atoll {

void timer_fired(lua_guest& g, slab_id id);
bool timer_ended(lua_guest& g, slab_id id);
void monitor_fired(lua_guest& g, slab_id id);
void open_atoll(lua_State* L);

std::unique_ptr<guest> make_lua_guest(host& outside) {
  auto g = std::make_unique<lua_guest>(outside);
  if (!g->open()) return nullptr;
  return g;
}

guest_factory make_instrumented_lua(const lua_instruments& with) {
  return [with](host& outside) -> std::unique_ptr<guest> {
    auto g = std::make_unique<lua_guest>(outside);
    if (!g->open() || !g->instrument(with)) return nullptr;
    return g;
  };
}

namespace {

void* allocate(void* memory, void* p, std::size_t old_bytes, std::size_t new_bytes) {
  return static_cast<heap*>(memory)->reallocate(p, old_bytes, new_bytes);
}

int panic(lua_State* L) {
  std::fprintf(stderr, "atoll: a Lua error outside of every protection: %s\n",
               lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1));
  return 0; // Lua aborts
}

int new_anchor(lua_State* L, const char* mode) {
  lua_newtable(L);
  if (mode != nullptr) {
    lua_createtable(L, 0, 1);
    lua_pushstring(L, mode);
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
  }
  return luaL_ref(L, LUA_REGISTRYINDEX);
}

int open_all(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  luaL_openlibs(L);
  if (const auto seed = g.out.seed()) {
    lua_getglobal(L, LUA_MATHLIBNAME);
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, static_cast<lua_Integer>(*seed));
    lua_pushinteger(L, static_cast<lua_Integer>(number(g.out.id())));
    lua_call(L, 2, 0);
    lua_pop(L, 1);
  }
  lua_gc(L, LUA_GCGEN, 0, 0); // as the lua5.4 command does; measured no slower than incremental on our programs
  g.interface_ref = new_anchor(L, nullptr);
  g.exported = new_anchor(L, nullptr);
  g.local_refs = new_anchor(L, "k");
  g.proxies = new_anchor(L, "v");
  g.handles = new_anchor(L, "v");
  g.method_stubs = new_anchor(L, "v");
  g.futures_ref = new_anchor(L, "v");
  g.finalizers_ref = new_anchor(L, "k");
  g.sentinels_ref = new_anchor(L, "v");
  lua_pushliteral(L, "__atoll");
  g.atoll_key = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushliteral(L, "__name");
  g.name_key = luaL_ref(L, LUA_REGISTRYINDEX);
  open_protected(L);
  open_coroutines(L);
  open_atoll(L);
  return 0;
}

} // namespace

lua_guest::~lua_guest() { close(); }

bool lua_guest::open() {
  main = lua_newstate(allocate, &out.memory());
  if (main == nullptr) return false;
  lua_atpanic(main, panic);
  *static_cast<lua_guest**>(lua_getextraspace(main)) = this;
  lua_pushcfunction(main, open_all);
  if (lua_pcall(main, 0, 0, 0) == LUA_OK) return true;
  closing = true;
  lua_close(main);
  main = nullptr;
  return false;
}

bool lua_guest::instrument(const lua_instruments& with) {
  if (!codes.watch()) return false;
  if (with.profile) profile = std::make_unique<profiler>(*this, with.profile);
  if (with.coverage) coverage = std::make_unique<line_coverage>(*this, with.coverage);
  disarm(main); // coroutines have the hook of the one that made them
  return true;
}

namespace {

void set_arg(lua_State* L, const source& from, int first) {
  const int top = lua_gettop(L);
  lua_createtable(L, top - first + 1, 1);
  lua_pushlstring(L, from.text.data(), from.text.size());
  lua_rawseti(L, -2, 0);
  for (int i = first; i <= top; ++i) {
    lua_pushvalue(L, i);
    lua_rawseti(L, -2, i - first + 1);
  }
  lua_setglobal(L, "arg");
}

int load(lua_State* L, const source& from) {
  if (from.kind == source_kind::file) return luaL_loadfilex(L, from.text.c_str(), "t");
  const char* name = from.chunk.empty() ? from.text.c_str() : from.chunk.c_str();
  return luaL_loadbufferx(L, from.text.data(), from.text.size(), name, "t");
}

/// The reason on top of the stack as one line that names the file.
std::string load_message(lua_State* L, const source& from) {
  const char* words = lua_tostring(L, -1);
  std::string text = words == nullptr ? "not loaded" : words;
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (from.kind == source_kind::file && text.find(from.text) == std::string::npos) text = from.text + ": " + text;
  return text;
}

void load_failed(lua_guest& g, lua_State* L, int status) {
  g.traceback.clear();
  g.failed(*g.current, {status == LUA_ERRMEM ? errc::out_of_memory : errc::load_error,
                        load_message(L, *g.starting),
                        {},
                        g.out.id(),
                        g.out.name(),
                        {}});
}

int start_entry(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  lua_pushcfunction(L, lua_guest::with_traceback);
  if (const int status = load(L, *g.starting); status != LUA_OK) {
    load_failed(g, L, status);
    return 0;
  }
  g.push_message_values(L);
  if (g.starting->kind == source_kind::file) set_arg(L, *g.starting, 3);
  return g.run_body(L);
}

} // namespace

void lua_guest::start(request_id request, const source& from, wire_reader args) {
  begin_reading(args);
  task* t = new_task(task_body::start, from.kind == source_kind::file ? std::string_view(from.text) : "the program");
  if (t == nullptr) {
    end_reading();
    return out.reply_error(request, {errc::out_of_memory, "not enough memory", {}, out.id(), out.name(), {}});
  }
  t->request = request;
  chunk_state = 1;
  starting = &from;
  lua_pushcfunction(t->thread, start_entry);
  run(*t, 0);
  starting = nullptr;
  end_reading();
  run_woken();
}

void lua_guest::resume(guest_word token, const outcome& what) {
  if (what.what == outcome::kind::values) begin_reading(what.values);
  wait_outcome = &what;
  const slab_id id = id_of(token);
  if (dead || closing) {
    if (what.what == outcome::kind::accepted) out.close_connection(what.connection);
  } else {
    switch (kind_of(token)) {
    case token_kind::task: resume_task(token, what); break;
    case token_kind::future: settle_future(*this, id, what); break;
    case token_kind::timer:
      // Finalization ends timers with `failed`: their time has not come.
      if (what.what == outcome::kind::timer)
        timer_fired(*this, id);
      else
        timer_ended(*this, id);
      break;
    case token_kind::monitor: monitor_fired(*this, id); break;
    case token_kind::listener: listener_event(*this, id, what); break;
    case token_kind::connection: connection_event(*this, id, what); break;
    }
  }
  wait_outcome = nullptr;
  end_reading();
  if (!dead && !closing) run_woken();
}

void lua_guest::resume_task(guest_word token, const outcome& what) {
  task* t = find_waiting(token);
  if (t == nullptr) {
    if (what.what == outcome::kind::accepted) out.close_connection(what.connection);
    return;
  }
  ++t->serial;
  switch (what.what) {
  case outcome::kind::timer: t->wake = wake_reason::timer; break;
  case outcome::kind::room: t->wake = wake_reason::room; break;
  default: t->wake = wake_reason::outcome; break;
  }
  run(*t, 0);
}

bool lua_guest::waiting() const {
  if (dead || closing) return false;
  // A connection counts through the task that reads or writes it: nothing else will ever come of it.
  return active_ > 0 || timers.size() > 0 || listeners.size() > 0;
}

void lua_guest::close() {
  if (main == nullptr) return;
  if (!dead && !closing) tell_unseen_failures(*this);
  timers.for_each([&](slab_id, timer_state& t) { out.cancel_timer(t.timer); });
  listeners.for_each([&](slab_id, listener_state& l) { out.close_listener(l.listener); });
  monitors.for_each(
      [&](slab_id id, monitor_state& m) { out.demonitor(m.target, make_token(token_kind::monitor, id)); });
  closing = true;
  for (const auto& t : all_tasks_)
    if (t->state != task_state::idle) discard(*t, !dead);
  connections.for_each([&](slab_id, connection_state& c) {
    if (c.what == connection_state::status::open || c.what == connection_state::status::fresh)
      out.close_connection(c.connection);
    c.what = connection_state::status::closed;
  });
  if (!dead) {
    running.store(main, std::memory_order_relaxed);
    run_last_finalizers();
    if (!dead) lua_close(main); // otherwise the heap takes everything back
    running.store(nullptr, std::memory_order_relaxed);
  }
  main = nullptr;
  codes.clear();
}

} // namespace Atoll
