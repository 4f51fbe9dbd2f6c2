// Items that nobody receives, and what items carry: interrupts and kills, undelivered items, references, connections.
#include <doctest/doctest.h>

#include "tests/guests/channel_programs.hpp"

using namespace Atoll;
using testing::channel_log;
using testing::fake_world;
using testing::lines;
using testing::run_channels;
using testing::run_with_connection;

// -- interrupts and kills ----------------------------------------------------------------------------------------------

TEST_CASE("channel: a task that is interrupted while it waits leaves nothing behind") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local w = atoll.spawn({code = [[
      local atoll = require "atoll"
      return {
        send = function(c) c:send({atoll.ref({})}) end,
        recv = function(c) return c:recv() end,
        select = function(c, d) return atoll.select{{c, "recv"}, {d, "send", {atoll.ref({})}}, timeout = 50} end,
      }]]})
    local empty, full = channel(), channel(1)
    full:send("there")
    local all = {w:async("send", full), w:async("recv", empty), w:async("select", empty, full)}
    atoll.sleep(1)
    log(full:stats().senders_waiting, empty:stats().receivers_waiting)
    w:interrupt()
    for _, f in ipairs(all) do log(select(2, pcall(f.await, f)).code) end
    log(full:stats().senders_waiting, empty:stats().receivers_waiting)
    log(full:recv()); log(full:try_recv())
    log(empty:try_send("still good")); log(w:call("recv", empty))
  )lua");
  CHECK(lines(main)
        == "2\t2\ninterrupted\ninterrupted\ninterrupted\n0\t0\nthere\ttrue\nnil\tempty\ntrue\nstill good\ttrue\n");
  CHECK(world[2].exports().added() == 2);
  CHECK(world[2].exports().released() == 2);
}

TEST_CASE("channel: pcall does not keep an interrupt of a wait, and __close sees it") {
  CHECK(channel_log(R"lua(
    local w = atoll.spawn({code = [[
      local atoll = require "atoll"
      return {recv = function(c, d)
        local guard <close> = setmetatable({}, {__close = function() d:try_send("closed") end})
        pcall(c.recv, c)
        d:try_send("never")
      end}]]})
    local c, d = channel(), channel()
    local f = w:async("recv", c, d)
    atoll.sleep(1)
    w:interrupt()
    log(pcall(f.await, f))
    log(d:recv()); log(d:try_recv())
  )lua") == "false\tinterrupted\nclosed\ttrue\nnil\tempty\n");
}

TEST_CASE("channel: an item that a task got when it was interrupted counts as undelivered") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local w = atoll.spawn({code = "return {recv = function(c) return c:recv() end}"})
    local lost = channel()
    local c = channel{undelivered = lost}
    local f = w:async("recv", c)
    atoll.sleep(1)
    c:send({"for whom", atoll.ref({})})
    w:interrupt()  -- it has the item and does not know yet
    log(pcall(f.await, f))
    log(#c, lost:recv()[1])
    -- without a place for it, it is let go of
    local d = channel()
    f = w:async("recv", d)
    atoll.sleep(1)
    d:send(atoll.ref({}))
    w:interrupt()
    log(pcall(f.await, f))
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(1)
  )lua");
  CHECK(lines(main) == "false\tinterrupted\n0\tfor whom\nfalse\tinterrupted\n");
  CHECK(main.exports().added() == main.exports().released());
}

TEST_CASE("channel: who is killed while it waits takes no item with it and sends none") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local code = {code = [[
      local atoll = require "atoll"
      return {send = function(c, v) c:send({v, atoll.ref({})}) end, recv = function(c) return c:recv() end,
              select = function(c, d) return atoll.select{{c, "recv"}, {d, "send", 1}} end}]]}
    local a, b, s = atoll.spawn(code), atoll.spawn(code), atoll.spawn(code)
    local c, full = channel{stay_open = true}, channel{capacity = 0, stay_open = true}
    a:send("recv", c)
    s:send("select", c, full)
    atoll.sleep(1)
    local f = b:async("recv", c)
    a:send("send", full, "never seen")
    atoll.sleep(1)
    log(c:stats().receivers_waiting, full:stats().senders_waiting)
    a:kill(); s:kill()
    log(c:stats().receivers_waiting, full:stats().senders_waiting)
    c:send("for b")
    log(f:await())
    log(full:try_recv())
  )lua");
  CHECK(lines(main) == "3\t2\n1\t0\nfor b\ttrue\nnil\tempty\n");
  CHECK(world.channels().size() > 0);
}

TEST_CASE("channel: an item on its way to an interpreter that is killed counts as undelivered") {
  CHECK(channel_log(R"lua(
    local w = atoll.spawn({code = "return {recv = function(c) return c:recv() end}"})
    local lost = channel()
    local c = channel{undelivered = lost}
    w:send("recv", c)
    atoll.sleep(1)
    c:send("too late")
    w:kill()
    log(lost:recv(1)); log(#c)
  )lua") == "too late\ttrue\n0\n");
}

// -- undelivered items -------------------------------------------------------------------------------------------------

TEST_CASE("channel: a function sees every item that nobody will receive, in order, once") {
  CHECK(channel_log(R"lua(
    local c = channel{capacity = 2, full = "drop_oldest", undelivered = function(v, more)
      assert(more == nil)
      log("lost", v)
      if v == 3 then atoll.sleep(1) log("after a wait") end
    end}
    for i = 1, 5 do c:send(i) end
    atoll.sleep(0.5)
    log("closing")
    c:close{force = true}
    atoll.sleep(2)
    log(c:stats().dropped)
  )lua") == "lost\t1\nlost\t2\nlost\t3\nclosing\nlost\t4\nlost\t5\nafter a wait\n5\n");
}

TEST_CASE("channel: a function of undelivered items that fails is logged and sees the next one") {
  const std::string got = channel_log(R"lua(
    local c = channel{capacity = 1, full = "drop_oldest", undelivered = function(v)
      if v == 1 then error("oops", 0) end
      log("lost", v)
    end}
    for i = 1, 3 do c:send(i) end
    atoll.sleep(1)
  )lua");
  CHECK(got.find("in an undelivered hook: oops\n") == 0);
  CHECK(got.find("\nlost\t2\n") != std::string::npos);
}

TEST_CASE("channel: an orphan that is an error is undelivered as the value it was") {
  CHECK(channel_log(R"lua(
    local c = channel{orphans = "error", undelivered = function(v) log("lost", v) end}
    local w = atoll.spawn({code = "return {send = function(c) c:send('w1'); c:send('w2') end}"})
    w:call("send", c)
    w:kill()
    c:close{force = true}
    atoll.sleep(1)
  )lua") == "lost\tw1\nlost\tw2\n");
}

TEST_CASE("channel: a hundred thousand undelivered items do not need a hundred thousand frames") {
  CHECK(channel_log(R"lua(
    local n, sum = 0, 0
    local c = channel{capacity = math.huge, undelivered = function(v) n = n + 1; sum = sum + v end}
    for i = 1, 100000 do c:send(i) end
    c:close{force = true}
    atoll.sleep(1)
    log(n, sum)
  )lua") == "100000\t5000050000\n");
}

TEST_CASE("channel: a turn that is to end leaves undelivered items to the next one") {
  fake_world world(make_lua_guest);
  auto& main = run_with_connection(world, R"lua(
    local c = channel{undelivered = log}
    for i = 1, 5 do c:send(i) end
    atoll.net.listen('y', function() c:close{force = true}; log('closed') end)
  )lua");
  main.wanted.yield = true;
  main.program->resume(main.listener_token, {.what = outcome::kind::accepted, .connection = 8});
  world.settle();
  CHECK(lines(main) == "closed\n1\n2\n3\n4\n5\n");
}

TEST_CASE("channel: the function sees what is left in a channel that nobody has any more") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    do
      local c = channel{undelivered = function(v) log("lost", v) end}
      for i = 1, 3 do c:send(i) end
    end
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(1)
  )lua");
  CHECK(lines(main) == "lost\t1\nlost\t2\nlost\t3\n");
  CHECK(world.channels().size() == 0);
}

TEST_CASE("channel: the function may send the item again, also into the channel that lost it") {
  CHECK(channel_log(R"lua(
    local c
    local tries = 0
    c = channel{capacity = 1, full = "drop_oldest", undelivered = function(v)
      tries = tries + 1
      if tries < 4 then c:send(v) end
    end}
    c:send("a"); c:send("b")
    atoll.sleep(1)
    log(tries, #c, c:recv())
  )lua") == "4\t1\ta\ttrue\n");
}

TEST_CASE("channel: an undelivered hook keeps no program alive, and is no task") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, "c = channel{undelivered = print}");
  CHECK_FALSE(main.program->waiting());
}

TEST_CASE("channel: what the channel of undelivered items has no room for is let go of") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local lost = channel(1)
    local c = channel{capacity = 3, undelivered = lost}
    for i = 1, 3 do c:send({i, atoll.ref({})}) end
    c:close{force = true}
    log(#lost, lost:recv()[1], (lost:try_recv()))
    lost:close()
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(1)
  )lua");
  CHECK(lines(main) == "1\t1\tnil\n");
  CHECK(main.exports().released() == 3);
}

// -- what items carry --------------------------------------------------------------------------------------------------

TEST_CASE("channel: a value that cannot cross is named by its path, and nothing was sent") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local c = channel(1)
    for _, v in ipairs{print, {on_click = print}, {1, {[true] = {coroutine.create(print)}}}, setmetatable({}, {}),
                       {atoll.ref({}), c, {io.stdout}}, {[print] = 1}} do
      local ok, e = pcall(c.send, c, v)
      log(e.code, e.message)
    end
    log(#c, c:stats().sent, c:try_send("fine"))
    log((pcall(c.send, c, {print})), select(2, pcall(c.send, c, {print})).code)
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(1)
  )lua");
  CHECK(lines(main)
        == "not_shareable\tnot shareable: value is a function; pass atoll.ref(f)\n"
           "not_shareable\tnot shareable: value.on_click is a function; pass atoll.ref(f)\n"
           "not_shareable\tnot shareable: value[2][boolean][1] is a coroutine; pass atoll.ref(co)\n"
           "not_shareable\tnot shareable: value is a table with a metatable; pass atoll.ref(t), or register its class "
           "with atoll.class\n"
           "not_shareable\tnot shareable: value[3][1] is a userdata; pass atoll.ref(u)\n"
           "not_shareable\tnot shareable: value (a key) is a function; pass atoll.ref(f)\n"
           "0\t0\ttrue\nfalse\tnot_shareable\n");
  CHECK(main.exports().added() == main.exports().released());
  CHECK(world.channels().size() == 1);
}

TEST_CASE("channel: references in items that are withdrawn return, also when their proxy is gone meanwhile") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local w = atoll.spawn({code = "local atoll = require 'atoll'; return {one = function() return atoll.ref({}) end}"})
    local c = channel(0)
    local r = w:call("one")
    log(c:send({r, atoll.ref({})}, 1))
    log(atoll.owner(r) == w)
    local t = {r, w:call("one")}
    r = nil
    atoll.task(function() log(c:send(t, 1)) end)
    atoll.sleep(0.5)
    t[1], t[2] = nil, nil
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(2)
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(1)
  )lua");
  CHECK(lines(main) == "nil\ttimeout\ntrue\nnil\ttimeout\n");
  CHECK(main.exports().released() == 1);
  CHECK(world[2].exports().added() == 2);
  CHECK(world[2].exports().released() == 2);
  CHECK(main.imports().size() == 0);
}

TEST_CASE("channel: an item that cannot be read is let go of, whatever its task does next") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local c, full = channel(), channel(0)
    local small = atoll.spawn({code = [[
      local atoll = require "atoll"
      return {recv = function(c, full)
        log = atoll.log.info
        log((pcall(c.recv, c)))
        log(full:send("waits", 1))    -- the wait that brought the item serves again
        log((pcall(c.recv, c)))
        log(full:recv(1))
        atoll.task(function() log((pcall(c.recv, c))) end)
        atoll.sleep(1)
        return "fine"
      end}]]}, {memory = 600000})
    local f = small:async("recv", c, full)
    for _ = 1, 3 do
      atoll.sleep(5)
      c:send({("x"):rep(1000000), atoll.ref({}), channel()})
    end
    log(f:await())
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(1)
  )lua");
  CHECK(lines(main) == "fine\n");
  CHECK(lines(world[2]) == "false\nnil\ttimeout\nfalse\nnil\ttimeout\nfalse\n");
  CHECK(main.exports().added() == 3);
  CHECK(main.exports().released() == 3);
}

// -- connections -------------------------------------------------------------------------------------------------------

TEST_CASE("channel: a connection in an item that was not taken is good as before") {
  fake_world world(make_lua_guest);
  auto& main = run_with_connection(world, R"lua(
    local c = channel(0)
    log(c:try_send(conn)); log(c:send({conn}, 1))
    log(pcall(c.send, c, {conn, print}) )
    c:close()
    log(c:send(conn))
    log(conn:write("hello"))
    log(select(2, pcall(c.send, c, conn)).message)
  )lua");
  CHECK(lines(main)
        == "nil\tfull\nnil\ttimeout\nfalse\tnot shareable: value[2] is a function; pass atoll.ref(f)\nnil\tclosed\n"
           "true\nnot shareable: value is a connection in use; pass it on before reading or writing\n");
  CHECK(main.written == "hello");
  CHECK(main.connections_closed + world.connections_closed == 0);
}

TEST_CASE("channel: a connection moves with its item, and is closed when nobody receives it") {
  fake_world world(make_lua_guest);
  auto& main = run_with_connection(world, R"lua(
    local c = channel()
    c:send(conn)
    log(select(2, pcall(conn.read, conn)).code)
    log(select(2, pcall(c.send, c, conn)).message)
    conn = c:recv()
    log(tostring(conn ~= nil))
    c:send(conn)
    c:close{force = true}
  )lua");
  CHECK(lines(main) == "connection_closed\nnot shareable: value is a connection that was passed on already\ntrue\n");
  CHECK(main.connections_closed == 0);
  CHECK(world.connections_closed == 1);
}

TEST_CASE("channel: a connection that came back and is withdrawn belongs to one holder") {
  fake_world world(make_lua_guest);
  auto& main = run_with_connection(world, R"lua(
    local c = channel()
    c:send(conn)
    local again = c:recv()
    local full = channel(0)
    log(full:send(again, 1))
    log(select(2, pcall(conn.read, conn)).code)
    log(again:write("mine"))
    again:close()
  )lua");
  CHECK(lines(main) == "nil\ttimeout\nconnection_closed\ntrue\n");
  CHECK(main.connections_closed + world.connections_closed == 1);
}

TEST_CASE("channel: a connection that nobody has any more when its item is withdrawn is closed") {
  fake_world world(make_lua_guest);
  auto& main = run_with_connection(world, R"lua(
    local full = channel(0)
    local t = {conn}
    conn = nil
    atoll.task(function() log(full:send(t, 5)) end)
    atoll.sleep(1)
    t[1] = nil
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(10)
  )lua");
  CHECK(lines(main) == "nil\ttimeout\n");
  CHECK(main.connections_closed + world.connections_closed == 1);
}

TEST_CASE("channel: a connection that stands in a value twice is refused") {
  fake_world world(make_lua_guest);
  auto& main = run_with_connection(world, R"lua(
    local c = channel()
    log(select(2, pcall(c.send, c, {conn, conn})).message)
    log(conn:write("still mine"))
  )lua");
  CHECK(lines(main) == "not shareable: value[2] is a connection that is passed on here already\ntrue\n");
}

TEST_CASE("channel: what was received is passed on as it came, and that nothing came is not") {
  CHECK(channel_log(R"lua(
    local c, d = channel(4), channel(4)
    c:send("on")
    c:send(nil)
    log(d:send(c:recv()), d:send(c:recv()))
    log(d:recv())
    log(d:recv())
    log(pcall(function() d:send(c:recv(0)) end))
    log(pcall(d.send, d, 1, false))
  )lua")
        == "true\ttrue\non\ttrue\nnil\ttrue\n"
           "false\tmain:10: a time limit is a number of seconds, 0 or more\nfalse\ta time limit is a number of "
           "seconds, 0 or "
           "more\n");
}

TEST_CASE("channel: objects of packed classes cross, by send and by select, and a refusal takes all back") {
  CHECK(channel_log(R"lua(
    local Point
    Point = atoll.class("point", {__pack = function(p) return p.x, p.y end,
                                        __unpack = function(x, y) return setmetatable({x = x, y = y}, Point) end})
    Point.__index = Point
    local c = channel(4)
    local p = setmetatable({x = 1, y = 2}, Point)
    log(c:send({p, p}))
    log(atoll.select{{c, "send", p}})
    local both = c:recv()
    log(both[1].x, both[1].y, both[1] == both[2], rawequal(both[1], p))
    log(c:recv().y)
    local bad = setmetatable({x = print, y = 2}, Point)
    log(select(2, pcall(c.send, c, {ok = bad})).message)
    log(select(2, pcall(atoll.select, {{c, "send", 1}, {c, "send", bad}})).message)
    log(#c)
  )lua")
        == "true\n1\ttrue\n1\t2\ttrue\tfalse\n2\n"
           "not shareable: value.ok (value 1 of class 'point') is a function; pass atoll.ref(f)\n"
           "case 2: not shareable: value (value 1 of class 'point') is a function; pass atoll.ref(f)\n0\n");
}

TEST_CASE("channel: in an __unpack one may send, but not receive: a message is being read there") {
  CHECK(channel_log(R"lua(
    local c, other = channel(4), channel(4)
    other:send("untouched")
    local meta = {__pack = function() return 1 end}
    meta.__unpack = function()
      log(select(2, pcall(other.try_recv, other)).message)
      log(other:try_send("more"))
      return {}
    end
    atoll.class("meta", meta)
    c:send({setmetatable({}, meta), "behind"})
    log(c:recv()[2], #other)
  )lua") == "cannot receive from a channel in an __unpack\ntrue\nbehind\t2\n");
}
