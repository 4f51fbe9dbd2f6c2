// atoll.select: the first of several receives, sends, futures and timers.
#include <doctest/doctest.h>

#include "tests/guests/channel_programs.hpp"

using namespace Atoll;
using testing::channel_log;
using testing::fake_world;
using testing::lines;
using testing::run_channels;
using testing::run_with_connection;

// -- what each case gives ----------------------------------------------------------------------------------------------

TEST_CASE("select: a receive gives its case, the value and true, a send its case and true") {
  CHECK(channel_log(R"lua(
    local c, d = channel(), channel(1)
    c:send("v")
    log(atoll.select{{c, "recv"}})
    log(atoll.select{{d, "send", "w"}})
    log(d:recv())
    log(atoll.select{{c, "recv"}, {d, "send", nil}})
    log(d:recv())
    log(#c, #d, atoll.now() == 1000)
  )lua") == "1\tv\ttrue\n1\ttrue\nw\ttrue\n2\ttrue\nnil\ttrue\n0\t0\ttrue\n");
}

TEST_CASE("select: a future gives its case and its results, or raises its error") {
  CHECK(channel_log(R"lua(
    local c = channel()
    local done = atoll.task(function() return "a", nil, "b" end)
    local none = atoll.task(function() end)
    atoll.sleep(0)
    log(atoll.select{{c, "recv"}, {done, "await"}})
    log(atoll.select{none, {c, "recv"}})
    log(atoll.select{done})
    local late = atoll.task(function() atoll.sleep(1) return 1, 2 end)
    log(atoll.select{{c, "recv"}, late, timeout = 5})
    local failing = atoll.task(function() atoll.sleep(1) error("no", 0) end)
    log(pcall(atoll.select, {{c, "recv"}, failing}))
    log(pcall(atoll.select, {failing}))
    log(atoll.now() - 1000)
  )lua") == "2\ta\tnil\tb\n1\n1\ta\tnil\tb\n2\t1\t2\nfalse\tno\nfalse\tno\n2.0\n");
}

TEST_CASE("select: a timer gives its case, the shortest of several, and the timeout gives nil") {
  CHECK(channel_log(R"lua(
    local c = channel()
    local start = atoll.now()
    local function timed(cases)
      local start = atoll.now()
      local i, v, ok = atoll.select(cases)
      log(i, v, ok, string.format("%.5f", atoll.now() - start))
    end
    timed{{c, "recv"}, timeout = 0.0005}
    timed{{c, "recv"}, {2, "after"}, {0.00075, "after"}}
    timed{{2, "after"}, timeout = 1}
    timed{{1, "after"}, timeout = 2}
    timed{{1, "after"}, timeout = 1}
    timed{{1, "after"}, {1, "after"}}
    timed{{-1, "after"}, {c, "recv"}}
    timed{timeout = 0.5}
    log(c:stats().receivers_waiting)
  )lua")
        == "nil\tnil\tnil\t0.00050\n3\tnil\tnil\t0.00075\nnil\tnil\tnil\t1.00000\n1\tnil\tnil\t1.00000\n"
           "1\tnil\tnil\t1.00000\n1\tnil\tnil\t1.00000\n1\tnil\tnil\t0.00000\nnil\tnil\tnil\t0.50000\n0\n");
}

TEST_CASE("select: with a timeout of 0 it looks once") {
  CHECK(channel_log(R"lua(
    local c, full = channel(), channel(1)
    full:send(1)
    local f = atoll.task(function() atoll.sleep(1) end)
    log(atoll.select{{c, "recv"}, {full, "send", 2}, f, timeout = 0})
    log(atoll.select{{c, "recv"}, {full, "send", 2}, f, {0, "after"}})
    log(#full, full:stats().senders_waiting, c:stats().receivers_waiting)
    log(atoll.select{{c, "recv"}, {full, "recv"}, f, timeout = 0})
    log(atoll.select{{full, "send", 3}, timeout = 0})
    f:await()
    log(atoll.select{{c, "recv"}, f, timeout = 0})
  )lua") == "nil\n4\n1\t0\t0\n2\t1\ttrue\n1\ttrue\n2\n");
}

TEST_CASE("select: disabled cases keep their numbers and are passed over") {
  CHECK(channel_log(R"lua(
    local c, d = channel(), channel()
    d:send(1); d:send(2)
    log(atoll.select{{nil, "recv"}, {false, "send", 1}, false, {}, {d, "recv"}})
    log(atoll.select{[7] = {d, "recv"}, [2] = {c, "recv"}})
    log(atoll.select{{nil, "recv"}, timeout = 0.5})
    for _, cases in ipairs{{}, {{nil, "recv"}}, {false, {false, "send", 2}}} do
      local ok, e = pcall(atoll.select, cases)
      log(ok, e)
    end
  )lua")
        == "5\t1\ttrue\n7\t2\ttrue\nnil\n"
           "false\tbad argument #1 to 'atoll.select' (no case is enabled and there is no timeout: it would wait for "
           "ever)\n"
           "false\tbad argument #1 to 'atoll.select' (no case is enabled and there is no timeout: it would wait for "
           "ever)\n"
           "false\tbad argument #1 to 'atoll.select' (no case is enabled and there is no timeout: it would wait for "
           "ever)\n");
}

TEST_CASE("select: a closed channel is ready, in a receive and in a send") {
  CHECK(channel_log(R"lua(
    local c, d, open = channel(), channel(), channel()
    c:send("left")
    c:close(); d:close()
    log(atoll.select{{c, "recv"}, {open, "recv"}})
    log(atoll.select{{c, "recv"}, {open, "recv"}})
    log(atoll.select{{open, "recv"}, {d, "send", 1}})
    log(atoll.select{{open, "recv"}, {d, "recv"}, timeout = 0})
    log(atoll.now() == 1000)
  )lua") == "1\tleft\ttrue\n1\tnil\tclosed\n2\tnil\tclosed\n2\tnil\tclosed\ntrue\n");
}

TEST_CASE("select: wrong cases are errors that name the case, and nothing was done") {
  CHECK(channel_log(R"lua(
    local c, full = channel(), channel(1)
    full:send(1)
    local f = atoll.task(function() end)
    local function fails(cases)
      local ok, e = pcall(atoll.select, cases)
      assert(not ok)
      log((tostring(e):gsub("^bad argument #1 to 'atoll.select' ", ""):gsub("^.-:%d+: ", "")))
    end
    fails{{c, "send", 1}, {c}}
    fails{{c, "send", 1}, {c, "receive"}}
    fails{{c, "send", 1}, c}
    fails{{c, "send", 1}, {f, "recv"}}
    fails{{c, "send", 1}, {3}}
    fails{{c, "send", 1}, 3}
    fails{{c, "send", 1}, {0/0, "after"}}
    fails{{c, "send", 1}, {"x", "recv"}}
    fails{{c, "send", 1}, print}
    fails{{c, "send", 1}, {{}, "recv"}}
    fails{{c, "send", 1}, time_out = 1}
    fails{{c, "send", 1}, [0] = {c, "recv"}}
    fails{{c, "send", 1}, [1.5] = {c, "recv"}}
    fails{{c, "send", 1}, [10001] = {c, "recv"}}
    fails{{c, "send", 1}, timeout = -1}
    fails{{c, "send", 1}, timeout = 0/0}
    fails{{c, "send", 1}, timeout = "1"}
    fails(3)
    fails{{full, "send", {atoll.ref({})}}, {full, "send", {on = print}}, timeout = 1}
    log(#c, #full, c:stats().sent)
  )lua")
        == "(case 2: a channel's operation is \"recv\" or \"send\")\n"
           "(case 2: a channel's operation is \"recv\" or \"send\")\n"
           "(case 2: a channel's operation is \"recv\" or \"send\")\n"
           "(case 2: a future's operation is \"await\")\n"
           "(case 2: {seconds, \"after\"} expected)\n"
           "(case 2: {seconds, \"after\"} expected)\n"
           "(case 2: {seconds, \"after\"} expected)\n"
           "(case 2: a string is no channel, future or number of seconds)\n"
           "(case 2: a function is no channel, future or number of seconds)\n"
           "(case 2: a table is no channel, future or number of seconds)\n"
           "(there is no option 'time_out', but timeout)\n"
           "(cases are numbered from 1, 10000 at most)\n"
           "(there is no option '1.5', but timeout)\n"
           "(cases are numbered from 1, 10000 at most)\n"
           "a time limit is a number of seconds, 0 or more\n"
           "a time limit is a number of seconds, 0 or more\n"
           "a time limit is a number of seconds, 0 or more\n"
           "(table expected, got number)\n"
           "case 2: not shareable: value.on is a function; pass atoll.ref(f)\n"
           "0\t1\t0\n");
}

// -- waiting -----------------------------------------------------------------------------------------------------------

TEST_CASE("select: it is woken by an item, by room, by a close, by a future, and by nothing else twice") {
  CHECK(channel_log(R"lua(
    local c, full = channel(), channel(1)
    full:send("there")
    local f = atoll.task(function() atoll.sleep(10) return "results" end)
    local function wait() return atoll.select{{c, "recv"}, {full, "send", "mine"}, f, timeout = 100} end
    atoll.after(1, function() c:send("item") end)
    log(wait())
    atoll.after(1, function() full:recv() end)
    log(wait())
    log(full:recv())
    full:send("again")
    log(wait())
    atoll.after(1, function() c:close() end)
    f = nil
    log(wait())
    log(full:stats().senders_waiting, full:stats().sent, atoll.now() - 1000)
  )lua") == "1\titem\ttrue\n2\ttrue\nmine\ttrue\n3\tresults\n1\tnil\tclosed\n0\t3\t11.0\n");
}

TEST_CASE("select: exactly one case takes effect when all become ready at once") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local all = {}
    for i = 1, 6 do all[i] = channel(1) end
    for i = 4, 6 do all[i]:send("old") end
    local r = {}
    local f = atoll.task(function()
      return atoll.select{{all[1], "recv"}, {all[2], "recv"}, {all[3], "recv"},
                    {all[4], "send", {atoll.ref(r)}}, {all[5], "send", {atoll.ref(r)}}, {all[6], "send", {atoll.ref(r)}}}
    end)
    atoll.sleep(1)
    for i = 4, 6 do all[i]:recv() end
    for i = 1, 3 do all[i]:send("new") end
    local i = f:await()
    local items = 0
    for _, c in ipairs(all) do
      items = items + #c
      local s = c:stats()
      assert(s.senders_waiting == 0 and s.receivers_waiting == 0)
    end
    log(i, items)  -- a send added one to the three, or a receive took one
    all = nil
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(1)
  )lua");
  CHECK(lines(main) == "4\t4\n");
  CHECK(main.exports().added() == 1);
  CHECK(main.exports().released() == 1);
}

TEST_CASE("select: whoever waits in many places is found once") {
  CHECK(channel_log(R"lua(
    local c = channel(0)
    local function both(v) return atoll.task(function() return atoll.select{{c, "recv"}, {c, "send", v}} end) end
    local a, b = both("a"), both("b")   -- each alone cannot meet itself
    log(a:await()); log(b:await())
    log(c:stats().sent, c:stats().received, c:stats().senders_waiting, c:stats().receivers_waiting)
    log(atoll.select{{c, "recv"}, {c, "send", 1}, {c, "recv"}, timeout = 1})
    local d = channel(1)
    log(atoll.select{{d, "recv"}, {d, "send", 1}})
    log(atoll.select{{d, "recv"}, {d, "send", 1}, {d, "recv"}})
  )lua")
            .find("1\t1\t0\t0\nnil\n2\ttrue\n")
        != std::string::npos);
}

TEST_CASE("select: two tasks that select on each other meet once") {
  CHECK(channel_log(R"lua(
    local c, d = channel(0), channel(0)
    local n = 0
    local function party(x, y) return atoll.task(function() return atoll.select{{x, "send", "v"}, {y, "recv"}, timeout = 5} end) end
    local a, b = party(c, d), party(d, c)
    local i, j = a:await(), b:await()
    log(i + j == 3, c:stats().sent + d:stats().sent, atoll.now() == 1000)
  )lua") == "true\t1\ttrue\n");
}

TEST_CASE("select: an item that came before the timer was noticed counts, the future that is done keeps its results") {
  CHECK(channel_log(R"lua(
    local c = channel()
    local f
    local s = atoll.task(function() return atoll.select{{c, "recv"}, {f, "await"}, timeout = 1} end)
    f = atoll.task(function() atoll.sleep(1) return "kept" end)
    atoll.after(1, function() c:send("both at once") end)
    local i = s:await()
    log(i == 1 or i == 2 or i == nil, f:await(), #c + c:stats().received)
  )lua") == "true\tkept\t1\n");
}

TEST_CASE("select: across interpreters, with one waiting on many and many on one") {
  CHECK(channel_log(R"lua(
    local code = {code = [[
      local atoll = require "atoll"
      return {
        gather = function(a, b, n)
          local sum = 0
          for _ = 1, n do
            local _, v, ok = atoll.select{{a, "recv"}, {b, "recv"}}
            assert(ok == true)
            sum = sum + v
          end
          return sum
        end,
        give = function(a, b, from, to)
          for v = from, to do assert(select(2, atoll.select{{a, "send", v}, {b, "send", v}})) end
        end,
      }]]}
    local a, b = channel(0), channel(2)
    local g1, g2, s1, s2 = atoll.spawn(code), atoll.spawn(code), atoll.spawn(code), atoll.spawn(code)
    local x, y = g1:async("gather", a, b, 100), g2:async("gather", b, a, 100)
    s1:send("give", a, b, 1, 100)
    s2:send("give", b, a, 101, 200)
    log(x:await() + y:await(), #a, #b, a:stats().sent + b:stats().sent, a:stats().receivers_waiting)
  )lua") == "20100\t0\t0\t200\t0\n");
}

TEST_CASE("select: a table that changes while it waits changes nothing") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local c, d = channel(), channel(0)
    local t = {{c, "recv"}, {d, "send", {"as it was", atoll.ref({})}}, timeout = 5}
    local f = atoll.task(function() return atoll.select(t) end)
    atoll.sleep(1)
    t[2][3][1] = "changed"
    t[1], t[2], t.timeout, t[9] = nil, nil, nil, {c, "recv"}
    for _ = 1, 3 do collectgarbage() end
    log(d:recv()[1])
    log(f:await())
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(1)
  )lua");
  CHECK(lines(main) == "as it was\n2\ttrue\n");
  CHECK(main.exports().released() == 1);
}

TEST_CASE("select: what it did not send returns") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local w = atoll.spawn({code = "local atoll = require 'atoll'; return {one = function() return atoll.ref({}) end}"})
    local c, full = channel(), channel(0)
    local r = w:call("one")
    log(atoll.select{{full, "send", {r, atoll.ref({})}}, {full, "send", r}, timeout = 1})
    c:send("item")
    log(atoll.select{{c, "recv"}, {full, "send", {r, atoll.ref({})}}})
    local f = atoll.task(function() return "done" end)
    atoll.sleep(0)
    log(atoll.select{f, {full, "send", {r, atoll.ref({})}}})
    f = atoll.task(function() atoll.sleep(1) return "done later" end)
    log(atoll.select{f, {full, "send", {r, atoll.ref({})}}})
    r = nil
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(1)
  )lua");
  CHECK(lines(main) == "nil\n1\titem\ttrue\n1\tdone\n1\tdone later\n");
  CHECK(main.exports().added() == main.exports().released());
  CHECK(world[2].exports().released() == 1);
}

TEST_CASE("select: a connection is sent in one case, and is good as before when another takes effect") {
  fake_world world(make_lua_guest);
  auto& main = run_with_connection(world, R"lua(
    local a, b = channel(0), channel(0)
    log(atoll.select{{a, "send", conn}, timeout = 1})
    local _, e = pcall(atoll.select, {{a, "send", conn}, {b, "send", {conn}}})
    log(e.message)
    _, e = pcall(atoll.select, {{a, "send", conn}, {b, "send", print}})
    log(e.message)
    atoll.task(function() local c = a:recv() log(c:write("moved")) end)
    log(atoll.select{{a, "send", conn}, {b, "send", 1}})
    _, e = pcall(conn.read, conn)
    log(e.code)
    atoll.sleep(1)
  )lua");
  CHECK(lines(main)
        == "nil\ncase 2: not shareable: value[1] is a connection that was passed on already\n"
           "case 2: not shareable: value is a function; pass atoll.ref(f)\n"
           "true\n1\ttrue\nconnection_closed\n");
  CHECK(main.written == "moved");
  CHECK(main.connections_closed + world.connections_closed <= 1); // by the collector
}

TEST_CASE("select: a task that is interrupted in it leaves no case behind") {
  CHECK(channel_log(R"lua(
    local w = atoll.spawn({code = [[
      local atoll = require "atoll"
      return {wait = function(c, d)
        local f = atoll.task(function() atoll.sleep(100) end)
        return atoll.select{{c, "recv"}, {d, "send", 1}, f, {90, "after"}, timeout = 95}
      end}]]})
    local c, d = channel(), channel(0)
    local f = w:async("wait", c, d)
    atoll.sleep(1)
    log(c:stats().receivers_waiting, d:stats().senders_waiting)
    w:interrupt()
    log(pcall(f.await, f))
    log(c:stats().receivers_waiting, d:stats().senders_waiting)
    log(d:try_recv())
  )lua") == "1\t1\nfalse\tinterrupted\n0\t0\nnil\tempty\n");
}

TEST_CASE("select: it waits in coroutines, and where nothing can wait it is an error") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local c = channel()
    local co = coroutine.wrap(function() coroutine.yield(atoll.select{{c, "recv"}, timeout = 2}); return "end" end)
    atoll.after(1, function() c:send("in a coroutine") end)
    log(co()); log(co())
    table.sort({1, 2}, function()
      log(pcall(atoll.select, {{c, "recv"}, timeout = 1}))
      log(pcall(atoll.select, {{c, "send", 1}, timeout = 0}))
      log(pcall(coroutine.wrap(function() atoll.select{{channel(), "recv"}} end)))
      return false
    end)
    log(c:stats().receivers_waiting, #c)
    setmetatable({}, {__gc = function() log(pcall(atoll.select, {{c, "recv"}})) end})
    for _ = 1, 3 do collectgarbage() end
  )lua");
  CHECK(lines(main)
        == "1\tin a coroutine\ttrue\nend\n"
           "false\tcannot wait across a C call (a comparison, a metamethod)\n"
           "false\tcannot wait across a C call (a comparison, a metamethod)\n"
           "false\tcannot wait across a C call (a comparison, a metamethod, a finalizer)\n0\t0\n"
           "false\tcannot wait across a C call (a comparison, a metamethod)\n");
}

TEST_CASE("select: a thousand cases, each found by its number") {
  CHECK(channel_log(R"lua(
    local all, cases, futures = {}, {timeout = 1}, {}
    for i = 1, 1000 do
      if i % 10 == 0 then
        futures[i] = atoll.task(function() atoll.sleep(3) return i end)
        cases[i] = futures[i]
      else
        all[i] = channel(1)
        cases[i] = i % 2 == 0 and {all[i], "send", i} or {all[i], "recv"}
        if i % 2 == 0 then all[i]:send(0) end
      end
    end
    log(atoll.select(cases))
    all[777]:send("x")
    log(atoll.select(cases))
    all[778]:recv()
    log(atoll.select(cases))
    log(all[778]:recv())
    atoll.sleep(3)
    local i, v = atoll.select{futures[500], [1000] = futures[1000], [20] = futures[20]}
    log(i == 1 and v == 500 or i == v)
    all[778]:send(0)
    local i, v = atoll.select(cases)
    log(i == v and i % 10 == 0)
  )lua") == "nil\n777\tx\ttrue\n778\ttrue\n778\ttrue\ntrue\ntrue\n");
}

TEST_CASE("select: what is left of an earlier wait does not disturb a later one") {
  CHECK(channel_log(R"lua(
    local c, d = channel(), channel()
    local f = atoll.task(function() atoll.sleep(2.5) return "f" end)
    for i = 1, 5 do log(atoll.select{{c, "recv"}, f, timeout = 1}) end
    atoll.after(0.5, function() c:send(1); d:send(2) end)
    log(atoll.select{{c, "recv"}, {d, "recv"}})
    log(atoll.select{{c, "recv"}, {d, "recv"}})
    log(atoll.select{{c, "recv"}, {d, "recv"}, timeout = 0.25})
    log(atoll.now() - 1000)
  )lua")
            .find("nil\nnil\n2\tf\n2\tf\n2\tf\n")
        == 0);
}

// -- fairness ----------------------------------------------------------------------------------------------------------

namespace {

/// 3000 times: which of the ready cases was taken. Each shall be near its share.
void fair(const std::string& setup, int ready) {
  const std::string got = channel_log(setup + R"lua(
    local count, rounds = {}, 3000
    for _ = 1, rounds do
      local i = round()
      count[i] = (count[i] or 0) + 1
    end
    local kinds, worst = 0, 0
    for _ in pairs(count) do kinds = kinds + 1 end
    for _, n in pairs(count) do worst = math.max(worst, math.abs(n / rounds * kinds - 1)) end
    log(kinds, worst < 0.15 and "fair" or "unfair: " .. worst)
  )lua");
  INFO(got);
  CHECK(got == std::to_string(ready) + "\tfair\n");
}

} // namespace

TEST_CASE("select: receives and sends that are ready have the same chance") {
  fair(R"lua(
    local a, b, c, empty = channel(), channel(), channel(1), channel()
    a:send(1); b:send(1)
    local function round()
      local i = atoll.select{{a, "recv"}, {empty, "recv"}, {b, "recv"}, {c, "send", 1}}
      if i == 1 then a:send(1) elseif i == 3 then b:send(1) else c:recv() end
      return i
    end
  )lua",
       3);
}

TEST_CASE("select: futures that are done and channels that are ready have the same chance, whatever else waits") {
  fair(R"lua(
    local a, empty, full = channel(), channel(), channel(0)
    a:send(1)
    local f, g = atoll.task(function() end), atoll.task(function() end)
    local slow = atoll.task(function() atoll.sleep(1e6) end)
    atoll.sleep(0)
    local function round()
      local i = atoll.select{{empty, "recv"}, {full, "send", 1}, f, slow, {a, "recv"}, g, {empty, "recv"}, {empty, "recv"}}
      if i == 5 then a:send(1) end
      return i
    end
  )lua",
       3);
}

TEST_CASE("select: futures that become done together while it waits have the same chance") {
  fair(R"lua(
    local empty = channel()
    local function round()
      local gate = atoll.task(function() atoll.sleep(1) end)
      local all = {}
      local function one() gate:await() end
      for i = 1, 3 do all[i] = atoll.task(one) end
      return (atoll.select{all[1], all[2], {empty, "recv"}, all[3]})
    end
  )lua",
       3);
}

TEST_CASE("select: several that wait on one channel are served in turn") {
  CHECK(channel_log(R"lua(
    local c, d = channel(0), channel(0)
    local count = {0, 0, 0}
    for i = 1, 3 do
      atoll.task(function()
        while true do
          local _, v, ok = atoll.select{{c, "recv"}, {d, "recv"}}
          if ok ~= true then return end
          count[i] = count[i] + 1
        end
      end)
    end
    for _ = 1, 300 do c:send(1) end
    c:close()
    atoll.sleep(1)
    log(count[1] + count[2] + count[3], math.min(count[1], count[2], count[3]) >= 50, d:stats().receivers_waiting)
  )lua") == "300\ttrue\t0\n");
}
