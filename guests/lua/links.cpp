// Ends that others share, and one's own: atoll.link, unlink, fail, stop.
#include "guests/lua/calls.hpp"

namespace Atoll {

namespace {

/// False: refused, failure() says why. Never raises.
bool make_link(lua_guest& g, interpreter_id target, guest_word token, guest_word& before) {
  auto linked = g.out.link(target, token);
  if (linked) {
    before = *linked;
  } else {
    g.failure() = std::move(linked.error());
  }
  return linked.has_value();
}

int atoll_link(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const interpreter_id target = interpreter_at(L, 1);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  if (g.closing) return g.raise(L, errc::runtime_finalizing, "the interpreter is closing: no links any more");
  const guest_word token = lua_isnoneornil(L, 2) ? 0 : add_monitor(L, target, 2);
  guest_word before = 0;
  const bool linked = make_link(g, target, token, before);
  forget_monitor(g, id_of(linked ? before : token));
  if (!linked) return g.raise_failure(L);
  lua_settop(L, 1);
  return 1;
}

/// Whether there was a link.
bool cut_link(lua_guest& g, interpreter_id target) {
  const auto token = g.out.unlink(target);
  if (token) forget_monitor(g, id_of(*token));
  return token.has_value();
}

int atoll_unlink(lua_State* L) {
  lua_pushboolean(L, cut_link(lua_guest::of(L), interpreter_at(L, 1)));
  return 1;
}

/// Takes the error at 1; one that came from a call keeps its code and traceback.
void fail_self(lua_guest& g, lua_State* L) {
  g.failure() = g.capture(L, 1, LUA_ERRRUN);
  g.out.fail_self(g.failure());
}

/// As atoll.exit, it does not return, except from finalizers.
int atoll_fail(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  if (lua_isnoneornil(L, 1)) luaL_argerror(L, 1, "an error expected");
  luaL_traceback(L, L, nullptr, 1);
  std::size_t n = 0;
  const char* trace = lua_tolstring(L, -1, &n);
  g.traceback.assign(trace, n);
  lua_settop(L, 1);
  fail_self(g, L);
  if (g.current == nullptr) return 0;
  g.current->leaving = true;
  return g.raise_control(L, errc::runtime_finalizing);
}

/// Asks oneself, so that it begins once the guest has returned.
void stop_self(lua_guest& g) {
  wire_writer& w = g.out.open_message(g.out.id(), record_kind::stop);
  w.put_u64(0);
  w.put_u64(0);
  if (g.out.commit() > send_status::crowded) g.out.rollback();
}

int atoll_stop(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  if (g.out.id() == main_interpreter) {
    g.out.request_exit(0);
  } else {
    stop_self(g);
  }
  if (g.current == nullptr) return 0;
  g.current->exiting = true;
  return g.raise_control(L, errc::runtime_finalizing);
}

} // namespace

void open_links(lua_State* L) {
  static const luaL_Reg functions[] = {
      {"link", atoll_link}, {"unlink", atoll_unlink}, {"fail", atoll_fail}, {"stop", atoll_stop}, {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
}

} // namespace Atoll
