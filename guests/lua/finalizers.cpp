// atoll.finalizer(obj, fn, {priority = n}): fn(obj) once, when obj dies, when called by hand, or at exit.
//
// The object is held weakly: an ephemeron table leads from it to a sentinel, whose user values are the function, the
// object, and the object's next sentinel. When the object is unreachable so is the sentinel; its __gc finds the object
// still whole (Lua keeps what a finalizer reaches) and calls the function. runtime/finalizers.hpp says whose turn it is
// at exit; here its ids lead to sentinels through a weak table. Without an object the registry of Lua holds the
// sentinel, and the entry's word is its place there.
#include <climits>

#include "guests/lua/calls.hpp"
#include "guests/lua/kinds.hpp"

namespace Atoll {

namespace {

struct sentinel {
  finalizer_registry::id id = 0;
  bool at_exit = false;
};

/// Pushes the sentinel's function and object. False: there is none any more.
bool push_call(lua_guest& g, lua_State* L, finalizer_registry::id id) {
  lua_guest::push_anchored(L, g.sentinels_ref, static_cast<lua_Integer>(id));
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return false;
  }
  lua_getiuservalue(L, -1, 1);
  lua_getiuservalue(L, -2, 2);
  lua_remove(L, -3);
  return true;
}

/// Takes it out of the registry; false: it is not there any more.
bool take_out(lua_guest& g, lua_State* L, finalizer_registry::id id) {
  const auto place = g.finalizers->take(id);
  if (place && *place != 0) luaL_unref(L, LUA_REGISTRYINDEX, static_cast<int>(*place));
  return place.has_value();
}

/// (function, object): calls one with the other; an error is reported. One that called atoll.exit has not failed.
int call_reported(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  lua_pushcfunction(L, lua_guest::with_traceback);
  lua_insert(L, 1);
  const int status = lua_pcall(L, 1, 0, 1);
  g.finalizer_ran(L, g.current != nullptr && g.current->exiting ? LUA_OK : status, "a finalizer");
  return 0;
}

int make_coroutine(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  lua_State* const thread = lua_newthread(L);
  g.dying_anchor = luaL_ref(L, LUA_REGISTRYINDEX);
  g.dying_thread = thread;
  return 0;
}

/// Without a coroutine: no interrupt reaches it.
int call_here(lua_State* L, lua_CFunction entry) {
  lua_pushcfunction(L, entry);
  lua_insert(L, -3);
  lua_call(L, 2, LUA_MULTRET);
  return LUA_OK;
}

/// The function below the top with the object at the top.
void call_collected(lua_guest& g, lua_State* L) {
  if (const int status = g.call_in_gc(L, call_reported); status != LUA_OK) g.finalizer_ran(L, status, "a finalizer");
}

int collect(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const auto& s = *static_cast<const sentinel*>(lua_touserdata(L, 1));
  if (!take_out(g, L, s.id) || g.dead) return 0;
  if (g.closing && !s.at_exit) return 0;
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, 1, 2);
  call_collected(g, L);
  return 0;
}

int run_done(lua_State* L, int, lua_KContext) { return lua_gettop(L) - 1; }

int run(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const auto id = *static_cast<finalizer_registry::id*>(g.check(L, 1, kind::finalizer, "finalizer"));
  lua_settop(L, 1);
  if (!push_call(g, L, id) || !take_out(g, L, id)) return 0;
  lua_callk(L, 1, LUA_MULTRET, 0, run_done);
  return run_done(L, LUA_OK, 0);
}

int cancel(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const auto id = *static_cast<finalizer_registry::id*>(g.check(L, 1, kind::finalizer, "finalizer"));
  lua_pushboolean(L, take_out(g, L, id));
  return 1;
}

/// The option at index 3; false: there is none.
bool priority_option(lua_State* L, int* priority) {
  if (lua_isnoneornil(L, 3)) return false;
  static const char* const known[] = {"priority", nullptr};
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_guest::check_options(L, 3, known);
  if (lua_getfield(L, 3, "priority") == LUA_TNIL) return false;
  luaL_argcheck(L, lua_isinteger(L, -1), 3, "priority must be a whole number");
  const lua_Integer n = lua_tointeger(L, -1);
  luaL_argcheck(L, n >= INT_MIN && n <= INT_MAX, 3, "priority out of range (-2147483648 to 2147483647)");
  *priority = static_cast<int>(n);
  return true;
}

/// Links the sentinel at index 4 behind the object at index 1.
void hang_on_object(lua_guest& g, lua_State* L) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.finalizers_ref);
  lua_pushvalue(L, 1);
  lua_rawget(L, 5);
  lua_setiuservalue(L, 4, 3);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 4);
  lua_rawset(L, 5);
  lua_settop(L, 4);
}

int atoll_finalizer(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const int type = lua_type(L, 1);
  luaL_argcheck(L,
                type == LUA_TNIL || type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TUSERDATA
                    || type == LUA_TTHREAD,
                1, "an object expected: a table, function, userdata or coroutine");
  luaL_checktype(L, 2, LUA_TFUNCTION);
  int priority = 0;
  const bool at_exit = priority_option(L, &priority);
  luaL_argcheck(L, type != LUA_TNIL || at_exit, 1, "without an object a finalizer needs a priority, or it never runs");
  if (g.finalizers_over)
    return g.raise(L, errc::runtime_finalizing, "finalizer: the last finalizers of this interpreter have run");
  lua_settop(L, 2);
  auto* handle = static_cast<finalizer_registry::id*>(lua_newuserdatauv(L, sizeof(finalizer_registry::id), 0));
  *handle = 0;
  g.set_kind(L, kind::finalizer);
  g.need_kind(L, kind::sentinel);
  auto* s = static_cast<sentinel*>(lua_newuserdatauv(L, sizeof(sentinel), 3));
  *s = sentinel{0, at_exit};
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 4, 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 4, 2);
  guest_word place = 0;
  if (type == LUA_TNIL) {
    lua_pushvalue(L, 4);
    place = static_cast<guest_word>(luaL_ref(L, LUA_REGISTRYINDEX));
  } else {
    hang_on_object(g, L);
  }
  *handle = g.finalizers.need().add(place, at_exit ? std::optional(priority) : std::nullopt);
  g.set_kind(L, kind::sentinel); // from here on its __gc counts
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.sentinels_ref);
  lua_pushvalue(L, 4);
  lua_rawseti(L, 5, static_cast<lua_Integer>(*handle));
  s->id = *handle; // nothing raises any more
  lua_settop(L, 3);
  return 1;
}

} // namespace

// Lua lets no hook run in a __gc, so no interrupt would reach it; in a coroutine of its own they do, and then go on to the
// code around it. One coroutine serves all: the collector runs them by the thousand, and frees nothing meanwhile. They do
// not nest, as Lua collects nothing in a __gc; but a program may call one by hand.
int lua_guest::call_in_gc(lua_State* L, lua_CFunction entry) {
  if (dying_busy) return call_here(L, entry);
  if (dying_thread == nullptr) {
    lua_pushcfunction(L, make_coroutine);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) { // no memory: then without
      lua_pop(L, 1);
      return call_here(L, entry);
    }
  }
  lua_State* const co = dying_thread;
  lua_pushcfunction(co, entry);
  lua_xmove(L, co, 2);
  lua_State* const before = running.load(std::memory_order_relaxed);
  const std::uint32_t raises = control_raises;
  if (unwinding) arm(co, unwinding_count);
  dying_busy = true;
  running.store(co, std::memory_order_relaxed);
  int results = 0;
  const int status = lua_resume(co, L, 2, &results);
  running.store(before, std::memory_order_relaxed);
  dying_busy = false;
  lua_sethook(co, nullptr, 0, 0);
  lua_xmove(co, L, status == LUA_OK ? results : 1);
  if (status != LUA_OK) { // no memory, before it was called
    dying_thread = nullptr;
    luaL_unref(L, LUA_REGISTRYINDEX, dying_anchor);
  }
  if (control_raises == raises) return status;
  if (current != nullptr) {
    arm(L, 1);
  } else if (!closing && !dead) {
    unwinding = false;
    forced = errc::ok;
  }
  return status;
}

bool lua_guest::push_next_finalizer(lua_State* L, int min_priority) {
  if (!finalizers) return false;
  while (const auto next = finalizers->next(min_priority)) {
    if (push_call(*this, L, next->number)) {
      take_out(*this, L, next->number);
      return true;
    }
    // Its object is dead and its __gc due, which Lua may put off: it runs now, in its place.
    finalizers->leave_to_object(next->number);
    lua_gc(L, LUA_GCCOLLECT);
  }
  return false;
}

void lua_guest::run_last_finalizers() {
  lua_pushcfunction(main, with_traceback);
  const int handler = lua_gettop(main);
  while (!dead && push_next_finalizer(main, INT_MIN)) {
    int status = lua_pcall(main, 1, 0, handler);
    if (status != LUA_OK && forced == errc::runtime_finalizing) { // it called atoll.exit
      unwinding = false;
      forced = errc::ok;
      disarm(main);
      status = LUA_OK;
    }
    finalizer_ran(main, status, "a finalizer");
  }
  finalizers_over = true;
}

void lua_guest::finalizer_ran(lua_State* L, int status, const char* what) {
  if (status == LUA_OK) return out.count_finalizer(nullptr);
  error why;
  try {
    why = capture(L, -1, status);
  } catch (const std::bad_alloc&) {
    why.code = errc::out_of_memory;
  }
  lua_pop(L, 1);
  out.count_finalizer(&why);
  try {
    out.log(log_level::error,
            std::string("in ") + what + ": " + why.message + (why.traceback.empty() ? "" : "\n" + why.traceback));
  } catch (const std::bad_alloc&) {
    // It is counted; the others run.
  }
}

kind_spec finalizer_kind() noexcept {
  static const luaL_Reg methods[] = {{"run", run}, {"cancel", cancel}, {nullptr, nullptr}};
  return {nullptr, methods};
}

kind_spec sentinel_kind() noexcept {
  static const luaL_Reg meta[] = {{"__gc", collect}, {nullptr, nullptr}};
  return {meta, nullptr};
}

void open_finalizers(lua_State* L) {
  lua_pushcfunction(L, atoll_finalizer);
  lua_setfield(L, -2, "finalizer");
}

} // namespace Atoll
