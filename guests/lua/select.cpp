// atoll.select: the first of several receives, sends, futures and timers.
//
//   local i, v, ok = atoll.select{{c, "recv"}, {d, "send", 5}, {f, "await"}, {2.5, "after"}, timeout = 0.1}
//
// In order:
//   1. the table is read into a plan, and everything wrong with it is raised: nothing is written yet;
//   2. what is to be sent is written; a refusal takes back all of it;
//   3. what is ready now is found, each with the same chance; else one wait stands in all channels and futures (the channels'
//      half: channels/channel_wait.hpp), with one timer;
//   4. whoever comes first counts. A channel that was decided meanwhile beats the timer or future that woke the task: its
//      other party has gone on already; the future keeps its results.
// The stack while it waits: 1 the table, 2 the plan, 3 channels and futures by case, 4 values to be sent by case.
#include <algorithm>
#include <cstring>

#include "guests/lua/channels.hpp"
#include "guests/lua/futures.hpp"

namespace Atoll {

namespace {

struct select_case {
  enum class kind : std::uint8_t { disabled, receive, send, future, timer } what = kind::disabled;
  basic_channel* channel = nullptr;
};

constexpr int subjects = 3;
constexpr int values = 4;

/// The plan: cases 1 to n follow.
struct select_plan {
  int n = 0;
  int channels = 0;
  int futures = 0;
  int timer = 0;     // the case that is over at the limit; 0: none, it is the timeout
  double limit = -1; // seconds, of timers and the timeout the shortest; < 0: none

  select_case& at(int i) noexcept { return reinterpret_cast<select_case*>(this + 1)[i - 1]; }
};

select_plan& plan_of(lua_State* L) { return *static_cast<select_plan*>(lua_touserdata(L, 2)); }

[[noreturn]] void bad_case(lua_State* L, int i, const char* why) {
  luaL_argerror(L, 1, lua_pushfstring(L, "case %d: %s", i, why));
  std::abort(); // luaL_argerror does not return
}

/// The highest index; other keys than timeout are mistakes.
int count_cases(lua_State* L) {
  lua_Integer n = 0;
  lua_pushnil(L);
  while (lua_next(L, 1) != 0) {
    lua_pop(L, 1);
    if (lua_isinteger(L, -1)) {
      n = std::max(n, lua_tointeger(L, -1));
      luaL_argcheck(L, lua_tointeger(L, -1) >= 1 && n <= 10000, 1, "cases are numbered from 1, 10000 at most");
    } else if (lua_type(L, -1) != LUA_TSTRING || std::strcmp(lua_tostring(L, -1), "timeout") != 0) {
      luaL_argerror(L, 1, lua_pushfstring(L, "there is no option '%s', but timeout", luaL_tolstring(L, -1, nullptr)));
    }
  }
  return static_cast<int>(n);
}

const char* operation(lua_State* L, int index) {
  return lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
}

/// Reads the case at the top, and pops it.
void read_case(lua_State* L, select_plan& plan, int i) {
  using what = select_case::kind;
  select_case& c = plan.at(i);
  const int given = lua_gettop(L);
  if (lua_istable(L, given)) {
    lua_rawgeti(L, given, 1);
    lua_rawgeti(L, given, 2);
    lua_rawgeti(L, given, 3);
  } else {
    lua_pushvalue(L, given);
    lua_settop(L, given + 3);
  }
  const int subject = given + 1;
  const char* op = operation(L, given + 2);
  if (!lua_toboolean(L, subject)) return lua_settop(L, given - 1); // disabled
  if (lua_type(L, subject) == LUA_TNUMBER) {
    const double seconds = lua_tonumber(L, subject);
    if (std::strcmp(op, "after") != 0 || seconds != seconds) bad_case(L, i, "{seconds, \"after\"} expected");
    c.what = what::timer;
    if (plan.limit < 0 || seconds < plan.limit) {
      plan.limit = std::max(seconds, 0.0);
      plan.timer = i;
    }
    return lua_settop(L, given - 1);
  }
  const kind k = lua_guest::of(L).kind_at(L, subject);
  if (k == kind::future) {
    if (*op != 0 && std::strcmp(op, "await") != 0) bad_case(L, i, "a future's operation is \"await\"");
    c.what = what::future;
    ++plan.futures;
  } else if (k == kind::channel) {
    c.channel = &channel_at(L, subject);
    ++plan.channels;
    if (std::strcmp(op, "recv") == 0) {
      c.what = what::receive;
    } else if (std::strcmp(op, "send") == 0) {
      c.what = what::send;
      lua_pushvalue(L, given + 3);
      lua_rawseti(L, values, i);
    } else {
      bad_case(L, i, "a channel's operation is \"recv\" or \"send\"");
    }
  } else {
    bad_case(L, i, lua_pushfstring(L, "a %s is no channel, future or number of seconds", luaL_typename(L, subject)));
  }
  lua_pushvalue(L, subject);
  lua_rawseti(L, subjects, i);
  lua_settop(L, given - 1);
}

void read_plan(lua_State* L, int n) {
  auto* plan = new (lua_newuserdatauv(L, sizeof(select_plan) + static_cast<std::size_t>(n) * sizeof(select_case), 0))
      select_plan;
  plan->n = n;
  for (int i = 1; i <= n; ++i) new (&plan->at(i)) select_case;
  lua_newtable(L);
  lua_newtable(L);
  for (int i = 1; i <= n; ++i) {
    lua_rawgeti(L, 1, i);
    read_case(L, *plan, i);
  }
  lua_pushliteral(L, "timeout");
  lua_rawget(L, 1);
  const double timeout = limit_at(L, -1);
  lua_pop(L, 1);
  if (timeout >= 0 && (plan->limit < 0 || timeout < plan->limit)) {
    plan->limit = timeout;
    plan->timer = 0;
  }
  luaL_argcheck(L, plan->channels + plan->futures > 0 || plan->limit >= 0, 1,
                "no case is enabled and there is no timeout: it would wait for ever");
}

/// Those that did not happen.
void take_sends_back(lua_guest& g, guest_wait& w) {
  for (std::size_t k = 0; k < w.size(); ++k)
    if (channel_case& c = w.at(k); c.sends) take_item_back(g, c.item);
}

/// Step 2. Does not raise but for a refusal, after all was taken back.
void write_cases(lua_State* L, select_plan& plan) {
  lua_guest& g = lua_guest::of(L);
  guest_wait& w = new_wait(g);
  for (int i = 1; i <= plan.n; ++i) {
    const select_case& c = plan.at(i);
    if (c.channel == nullptr) continue;
    channel_case& one = w.add(c.channel, c.what == select_case::kind::send);
    if (!one.sends) continue;
    lua_rawgeti(L, values, i);
    const bool written = try_write_item(L, lua_gettop(L), one.item);
    lua_pop(L, 1);
    if (written) continue;
    take_sends_back(g, w);
    g.failure().message = "case " + std::to_string(i) + ": " + g.failure().message;
    g.raise_failure(L);
  }
}

// -- results -----------------------------------------------------------------------------------------------------------

/// Of the case that the wait's `fired` is.
int push_channel_case(lua_State* L, select_plan& plan) {
  lua_guest& g = lua_guest::of(L);
  guest_wait& w = *g.current->channels;
  int i = 0;
  for (std::size_t channels = 0; channels <= w.fired();)
    if (plan.at(++i).channel != nullptr) ++channels;
  take_sends_back(g, w);
  lua_pushinteger(L, i);
  if (w.status() == channel_status::no_memory) return g.raise(L, errc::out_of_memory, "no memory for the value");
  if (w.status() == channel_status::orphaned) g.out.give_back(w.fired_case().item.bytes.reader());
  if (w.status() != channel_status::done) return 1 + push_status(L, name_of(w.status()));
  if (w.fired_case().sends) {
    lua_pushboolean(L, 1);
    return 2;
  }
  push_item(L, w.fired_case().item.bytes.reader());
  lua_pushboolean(L, 1);
  return 3;
}

int push_future_case(lua_State* L, int i) {
  lua_rawgeti(L, subjects, i);
  const int results = push_future_results(L, lua_gettop(L));
  lua_pushinteger(L, i);
  lua_insert(L, -(results + 1));
  return results + 1;
}

int push_time_case(lua_State* L, const select_plan& plan) {
  if (plan.timer != 0) {
    lua_pushinteger(L, plan.timer);
  } else {
    lua_pushnil(L);
  }
  return 1;
}

// -- waiting -----------------------------------------------------------------------------------------------------------

template <class F>
void for_each_future(lua_State* L, select_plan& plan, F f) {
  for (int i = 1; plan.futures > 0 && i <= plan.n; ++i) {
    if (plan.at(i).what != select_case::kind::future) continue;
    lua_rawgeti(L, subjects, i);
    f(i, lua_gettop(L));
    lua_pop(L, 1);
  }
}

/// Futures that are done, and one of them, each with the same chance.
struct done_futures {
  std::uint64_t count = 0;
  int chosen = 0; // a case; 0: none is done
};

done_futures find_done(lua_State* L, select_plan& plan) {
  lua_guest& g = lua_guest::of(L);
  done_futures found;
  for_each_future(L, plan, [&](int i, int at) {
    if (future_done(L, at) && g.draw(++found.count) == 0) found.chosen = i;
  });
  return found;
}

/// Cases of channels that could take effect now.
std::uint64_t count_ready(select_plan& plan) {
  std::uint64_t n = 0;
  for (int i = 1; plan.channels > 0 && i <= plan.n; ++i)
    if (const select_case& c = plan.at(i); c.channel != nullptr)
      n += c.channel->is_ready(c.what == select_case::kind::send) ? 1 : 0;
  return n;
}

int selected(lua_State* L, int, lua_KContext);

/// Nothing is ready: sets up the wait.
int wait_for_first(lua_State* L, select_plan& plan) {
  lua_guest& g = lua_guest::of(L);
  if (plan.channels > 0) {
    if (wait_begins(g, plan.limit)) return push_channel_case(L, plan);
  } else {
    const guest_word token = g.begin_wait();
    if (plan.limit >= 0) g.current->timer = g.out.set_timer(g.later(plan.limit), token);
  }
  const guest_word token = g.current->token();
  for_each_future(L, plan, [&](int, int at) { await_future(L, at, token); });
  return g.suspend(L, 0, selected);
}

int selected(lua_State* L, int, lua_KContext) {
  lua_guest& g = lua_guest::of(L);
  select_plan& plan = plan_of(L);
  const bool late = g.current->wake == wake_reason::timer;
  const bool decided = plan.channels > 0 && wait_ends(g);
  for_each_future(L, plan, [&](int, int at) { leave_future(L, at, g.current->token()); });
  g.end_wait(L);
  if (decided) return push_channel_case(L, plan);
  if (const int i = find_done(L, plan).chosen) return push_future_case(L, i);
  if (late) return push_time_case(L, plan);
  return luaL_error(L, "a select was woken by nothing");
}

} // namespace

int atoll_select(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  g.require_wait(L); // with a timeout of 0 too: the task has one wait, and may be writing the values of another select
  read_plan(L, count_cases(L));
  select_plan& plan = plan_of(L);
  prepare_to_receive(L);
  const done_futures done = find_done(L, plan);
  if (done.count > 0 && g.draw(done.count + count_ready(plan)) < done.count) return push_future_case(L, done.chosen);
  if (plan.channels > 0) write_cases(L, plan);
  if (done.count == 0 && plan.limit != 0) return wait_for_first(L, plan);
  if (plan.channels > 0) {
    guest_wait& w = *g.current->channels;
    if (g.out.channels().decide(w, 0, g.next_random(), false)) return push_channel_case(L, plan);
    take_sends_back(g, w);
  }
  return done.count > 0 ? push_future_case(L, done.chosen) : push_time_case(L, plan);
}

} // namespace Atoll
