// Birth, start and end of the Lua state, and the dispatch of what it waited for.
#include <fmt/format.h>

#include <algorithm>

#include "guests/lua/calls.hpp"
#include "guests/lua/channels.hpp"
#include "guests/lua/futures.hpp"
#include "guests/lua/libraries.hpp"
#include "guests/lua/lua_guest.hpp"
#include "guests/lua/net.hpp"

namespace Atoll {

void timer_fired(lua_guest& g, slab_id id);
bool timer_ended(lua_guest& g, slab_id id);
void monitor_fired(lua_guest& g, slab_id id);
void warn_through(lua_guest& g, lua_State* L);

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

/// The metatable of weak tables, on the stack.
int push_weakness(lua_State* L, const char* mode) {
  lua_createtable(L, 0, 1);
  lua_pushstring(L, mode);
  lua_setfield(L, -2, "__mode");
  return lua_gettop(L);
}

int new_anchor(lua_State* L, int weakness = 0) {
  lua_newtable(L);
  if (weakness != 0) {
    lua_pushvalue(L, weakness);
    lua_setmetatable(L, -2);
  }
  return luaL_ref(L, LUA_REGISTRYINDEX);
}

/// A state without libraries (libraries.hpp). The collector rests until the program's text is compiled (start_entry).
int make_state(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  lua_gc(L, LUA_GCSTOP);
  open_none(L);
  const int weak_keys = push_weakness(L, "k");
  const int weak_values = push_weakness(L, "v");
  g.interface_ref = new_anchor(L);
  g.exported = new_anchor(L);
  g.local_refs = new_anchor(L, weak_keys);
  g.proxies = new_anchor(L, weak_values);
  g.handles = new_anchor(L, weak_values);
  g.method_stubs = new_anchor(L, weak_values);
  g.channels_ref = new_anchor(L, weak_values);
  g.futures_ref = new_anchor(L, weak_values);
  g.finalizers_ref = new_anchor(L, weak_keys);
  g.sentinels_ref = new_anchor(L, weak_values);
  g.classes = new_anchor(L);
  lua_pushboolean(L, 0);
  g.packed_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushliteral(L, "__atoll");
  g.atoll_key = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushliteral(L, "__name");
  g.name_key = luaL_ref(L, LUA_REGISTRYINDEX);
  warn_through(g, L);
  return 0;
}

} // namespace

lua_guest::~lua_guest() {
  try {
    close();
  } catch (const std::bad_alloc&) {
    // Its memory is the heap's, which takes it back.
  }
}

bool lua_guest::open() {
  cpu_limit = static_cast<std::uint64_t>(std::chrono::nanoseconds(out.bounds().message_cpu).count());
  if (const std::uint32_t depth = out.bounds().call_depth; depth > 0) deepest = depth;
  random_ = out.seed().value_or(reinterpret_cast<std::uintptr_t>(this)) + number(out.id());
  main = lua_newstate(allocate, &out.memory());
  if (main == nullptr) return false;
  lua_atpanic(main, panic);
  *static_cast<lua_guest**>(lua_getextraspace(main)) = this;
  lua_pushcfunction(main, make_state);
  if (lua_pcall(main, 0, 0, 0) == LUA_OK) return true;
  closing = true;
  lua_close(main);
  main = nullptr;
  return false;
}

bool lua_guest::instrument(const lua_instruments& with) {
  if (!codes().watch()) return false;
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

bool read_file(const std::string& path, std::string& text) {
  text.clear();
  std::FILE* f = std::fopen(path.c_str(), "r");
  if (f == nullptr) return false;
  char piece[4096];
  while (const std::size_t n = std::fread(piece, 1, sizeof piece, f)) text.append(piece, n);
  const bool good = std::ferror(f) == 0;
  std::fclose(f);
  return good;
}

/// As luaL_loadfilex, whose text cannot be looked at: without a mark of UTF-8, and without a first line that begins with #.
int load_file(lua_State* L, const std::string& path) {
  std::string& text = lua_guest::of(L).scratch;
  if (!read_file(path, text)) {
    open_named(L, "_G");                         // everything: what is said may be wrong by then
    return luaL_loadfilex(L, path.c_str(), "t"); // it knows what to say
  }
  open_named(L, text);
  std::string_view rest = text;
  if (rest.substr(0, 3) == "\xEF\xBB\xBF") rest.remove_prefix(3);
  if (rest.substr(0, 1) == "#") rest.remove_prefix(std::min(rest.find('\n'), rest.size()));
  lua_pushfstring(L, "@%s", path.c_str());
  const int status = luaL_loadbufferx(L, rest.data(), rest.size(), lua_tostring(L, -1), "t");
  lua_remove(L, -2);
  std::string().swap(text);
  return status;
}

int load(lua_State* L, const source& from) {
  if (from.kind == source_kind::file) return load_file(L, from.text);
  open_named(L, from.text);
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
  lua_gc(L, LUA_GCRESTART);
  lua_gc(L, LUA_GCGEN, 0, 0); // as the lua5.4 command does; measured no slower than incremental on our programs
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
    case token_kind::hook: hook_event(*this, id, what); break;
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

namespace {

/// The allocator while a state closes. Up to the end a tick may be needed, for finalizers that never return; but it writes into
/// the state, so none may come once the block with the state goes: that one is malloc's.
struct closing_allocator {
  lua_guest& guest;
  lua_Alloc before = nullptr;
  void* memory = nullptr;

  static void* run(void* self, void* p, std::size_t old_bytes, std::size_t new_bytes) {
    auto& c = *static_cast<closing_allocator*>(self);
    const auto* const state = reinterpret_cast<const char*>(c.guest.main);
    if (new_bytes == 0 && p != nullptr && static_cast<const char*>(p) <= state
        && state < static_cast<const char*>(p) + old_bytes) {
      c.guest.running.store(nullptr, std::memory_order_relaxed);
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    return c.before(c.memory, p, old_bytes, new_bytes);
  }
};

void close_state(lua_guest& g) {
  closing_allocator closing{g};
  closing.before = lua_getallocf(g.main, &closing.memory);
  lua_setallocf(g.main, closing_allocator::run, &closing);
  lua_close(g.main);
}

} // namespace

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
    if (!dead) close_state(*this); // otherwise the heap takes everything back
    running.store(nullptr, std::memory_order_relaxed);
  }
  main = nullptr;
  if (codes_) codes_->clear();
}

} // namespace Atoll
