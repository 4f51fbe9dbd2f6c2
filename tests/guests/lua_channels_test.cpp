// Channels as Lua programs see them: order, room and time, how they end, and where one can wait for them.
#include <doctest/doctest.h>

#include "tests/guests/channel_programs.hpp"

using namespace Atoll;
using testing::channel_log;
using testing::fake_world;
using testing::lines;
using testing::run_channels;

// -- order, room, time -------------------------------------------------------------------------------------------------

TEST_CASE("channel: items come out in the order sent, whatever they are") {
  CHECK(channel_log(R"lua(
    local c = channel(math.huge)
    for i = 1, 1000 do c:send(i) end
    c:send(nil); c:send(false); c:send("s"); c:send({1, {2}}); c:send(1.5)
    for i = 1, 1000 do assert(c:recv() == i) end
    log(c:recv()); log(c:recv()); log(c:recv())
    log(c:recv()[2][1])
    log(c:recv())
    log(#c, c:stats().sent, c:stats().received)
  )lua") == "nil\ttrue\nfalse\ttrue\ns\ttrue\n2\n1.5\ttrue\n0\t1005\t1005\n");
}

TEST_CASE("channel: what is received equals what was sent and is another object") {
  CHECK(channel_log(R"lua(
    local c = channel()
    local t = {n = 1, 2, 3}
    t.self = t
    c:send(t)
    t.n = 2
    local u = c:recv()
    log(u ~= t, u.n, u[2], u.self == u)
  )lua") == "true\t1\t3\ttrue\n");
}

TEST_CASE("channel: without room or items, trying fails at once") {
  CHECK(channel_log(R"lua(
    local c = channel(1)
    log(c:try_recv())
    log(c:try_send(1)); log(c:try_send(2))
    log(c:send(2, 0)); log(#c)
    log(c:try_recv()); log(c:recv(0))
    log(atoll.now() == 1000)
  )lua") == "nil\tempty\ntrue\nnil\tfull\nnil\ttimeout\n1\n1\ttrue\nnil\ttimeout\ntrue\n");
}

TEST_CASE("channel: limits hold to fractions of a millisecond, and an item that was not taken is withdrawn") {
  CHECK(channel_log(R"lua(
    local c = channel(1)
    local function timed(f, ...)
      local start = atoll.now()
      local a, b = f(...)
      log(a, b, string.format("%.5f", atoll.now() - start))
    end
    timed(c.recv, c, 0.0005)
    timed(c.recv, c, 0.00025)
    timed(c.recv, c, 1.75)
    c:send("first")
    timed(c.send, c, "withdrawn", 0.0005)
    timed(c.send, c, "withdrawn too", {timeout = 0.0015})
    log(#c, c:stats().sent, c:stats().senders_waiting)
    log(c:recv()); log(c:try_recv())
    local full = channel(0)
    timed(full.send, full, "nobody", 0.0005)
    log(full:try_recv())
  )lua")
        == "nil\ttimeout\t0.00050\nnil\ttimeout\t0.00025\nnil\ttimeout\t1.75000\n"
           "nil\ttimeout\t0.00050\nnil\ttimeout\t0.00150\n1\t1\t0\nfirst\ttrue\nnil\tempty\n"
           "nil\ttimeout\t0.00050\nnil\tempty\n");
}

TEST_CASE("channel: who came first is served first, and what waited to be sent stays behind what was there") {
  CHECK(channel_log(R"lua(
    local c = channel(1)
    for i = 1, 4 do atoll.task(function() c:send(i) end) end
    atoll.sleep(1)
    log(#c, c:stats().senders_waiting)
    log(c:recv(), c:recv(), c:recv(), c:recv())
    local got = {}
    for i = 1, 3 do atoll.task(function() local v = c:recv() got[#got + 1] = i .. v end) end
    atoll.sleep(1)
    log(c:stats().receivers_waiting)
    for i = 1, 3 do c:send(("abc"):sub(i, i)) end
    atoll.sleep(1)
    log(table.concat(got, " "))
  )lua") == "1\t3\n1\t2\t3\t4\ttrue\n3\n1a 2b 3c\n");
}

TEST_CASE("channel: a capacity of 0 hands over from task to task") {
  CHECK(channel_log(R"lua(
    local c = channel(0)
    log(c:try_send(1))
    local sent
    atoll.task(function() c:send("x"); sent = atoll.now() end)
    atoll.sleep(2)
    log(sent, #c)
    log(c:recv())
    atoll.sleep(0)
    log(sent - 1000)
    atoll.task(function() log("got", c:recv()) end)
    atoll.sleep(0)
    log(c:try_send("y"))
    atoll.sleep(0)
  )lua") == "nil\tfull\nnil\t0\nx\ttrue\n2.0\ntrue\ngot\ty\ttrue\n");
}

TEST_CASE("channel: a full one suspends the task that sends, not its interpreter") {
  CHECK(channel_log(R"lua(
    local w = atoll.spawn({code = [[
      local atoll = require "atoll"
      local sent = 0
      return {
        produce = function(c) for i = 1, 100 do c:send(i); sent = i end; c:close() end,
        sent = function() return sent end,
      }]]})
    local c = channel(10)
    w:send("produce", c)
    log(w:call("sent"))
    for i = 1, 5 do c:recv() end
    log(w:call("sent"))
    local sum = 0
    for v in c:items() do sum = sum + v end
    log(sum, w:call("sent"))
  )lua") == "10\n15\n5035\t100\n");
}

TEST_CASE("channel: a full one drops the oldest, or the newest, or fails, and counts") {
  CHECK(channel_log(R"lua(
    for _, full in ipairs{"drop_oldest", "drop_newest", "fail"} do
      local c = channel{capacity = 2, full = full}
      log(full, c:send(1), c:send(2), c:send(3))
      log(c:send(4)); log(c:try_send(5))
      local s = c:stats()
      log((c:recv()), (c:recv()), s.sent, s.dropped, s.refused)
    end
    log(pcall(channel, {capacity = 0, full = "drop_oldest"}))
  )lua")
        == "drop_oldest\ttrue\ttrue\ttrue\ntrue\ntrue\n4\t5\t5\t3\t0\n"
           "drop_newest\ttrue\ttrue\tnil\tdropped\nnil\tdropped\nnil\tdropped\n1\t2\t2\t3\t0\n"
           "fail\ttrue\ttrue\tnil\tfull\nnil\tfull\nnil\tfull\n1\t2\t2\t0\t3\n"
           "false\ta channel that drops the oldest item needs a capacity of 1 or more\n");
}

TEST_CASE("channel: wrong arguments are errors that name what is wrong") {
  CHECK(channel_log(R"lua(
    local function fails(f, ...)
      local ok, e = pcall(f, ...)
      log((tostring(e):gsub("^.-:%d+: ", "")))
      assert(not ok)
    end
    for _, n in ipairs{-1, 1.5, 0/0, -math.huge, "4", true} do fails(channel, {capacity = n}) end
    fails(channel, -1)
    fails(channel, 0/0)
    fails(channel, "16")
    fails(channel, {size = 3})
    fails(channel, {full = "drop"})
    fails(channel, {orphans = "kill"})
    fails(channel, {undelivered = 3})
    log(tostring(channel(4.0)), tostring(channel(math.maxinteger)))
    local c = channel()
    fails(c.send, c)
    fails(c.send, c, 1, -1)
    fails(c.send, c, 1, 0/0)
    fails(c.send, c, 1, {timeout = -1})
    fails(c.send, c, 1, {timeout = "soon"})
    fails(c.send, c, 1, {limit = 1})
    fails(c.send, c, 1, {orphans = "lose"})
    fails(c.recv, c, -0.1)
    fails(c.recv, c, "x")
    fails(c.close, c, true)
    fails(c.close, c, {now = true})
    fails(c.release, c, "all")
    fails(c.recv, {})
    fails(c.recv)
    fails(c.send, io.stdout, 1)
    log(#c, c:recv(math.huge == 0 and 1 or 0))
  )lua")
        == "a channel's capacity is a whole number of items, 0 or more, or math.huge\n"
           "a channel's capacity is a whole number of items, 0 or more, or math.huge\n"
           "a channel's capacity is a whole number of items, 0 or more, or math.huge\n"
           "a channel's capacity is a whole number of items, 0 or more, or math.huge\n"
           "a channel's capacity is a whole number of items, 0 or more, or math.huge\n"
           "a channel's capacity is a whole number of items, 0 or more, or math.huge\n"
           "a channel's capacity is a whole number of items, 0 or more, or math.huge\n"
           "a channel's capacity is a whole number of items, 0 or more, or math.huge\n"
           "bad argument #1 to 'atoll.channel' (capacity or table of options expected, got string)\n"
           "bad argument #1 to 'atoll.channel' (there is no option 'size', but capacity, full, orphans, stay_open, "
           "undelivered)\n"
           "full is \"block\", \"drop_oldest\", \"drop_newest\" or \"fail\"\n"
           "orphans is \"keep\", \"error\" or \"remove\"\n"
           "undelivered is a function or a channel\n"
           "channel 1 (open, 0 items)\tchannel 2 (open, 0 items)\n"
           "bad argument #2 to '?' (value expected)\n"
           "a time limit is a number of seconds, 0 or more\n"
           "a time limit is a number of seconds, 0 or more\n"
           "a time limit is a number of seconds, 0 or more\n"
           "a time limit is a number of seconds, 0 or more\n"
           "bad argument #3 to '?' (there is no option 'limit', but timeout, orphans)\n"
           "orphans is \"keep\", \"error\" or \"remove\"\n"
           "a time limit is a number of seconds, 0 or more\n"
           "a time limit is a number of seconds, 0 or more\n"
           "bad argument #2 to '?' (table expected, got boolean)\n"
           "bad argument #2 to '?' (there is no option 'now', but force)\n"
           "bad argument #2 to '?' (invalid option 'all')\n"
           "bad argument #1 to '?' (channel expected, got table)\n"
           "bad argument #1 to '?' (channel expected, got no value)\n"
           "bad argument #1 to '?' (channel expected, got FILE*)\n"
           "0\tnil\ttimeout\n");
}

// -- the end -----------------------------------------------------------------------------------------------------------

TEST_CASE("channel: closed, it is drained and then says so, twice is harmless") {
  CHECK(channel_log(R"lua(
    local c = channel()
    c:send(1); c:send(2)
    log(c:state(), c:close(), c:close(), c:state(), tostring(c))
    log(c:send(3)); log(c:try_send(3)); log(c:send(3, 1))
    log(c:recv()); log(c:recv(1)); log(c:recv()); log(c:recv(1)); log(c:try_recv())
    log(c:close{force = true}, c:close{force = true}, c:close())
    log(atoll.now() == 1000)
  )lua")
        == "open\ttrue\tfalse\tclosed\tchannel 1 (closed, 2 items)\n"
           "nil\tclosed\nnil\tclosed\nnil\tclosed\n"
           "1\ttrue\n2\ttrue\nnil\tclosed\nnil\tclosed\nnil\tclosed\ntrue\tfalse\tfalse\ntrue\n");
}

TEST_CASE("channel: closing wakes who waits, in this interpreter and in others, and returns what was to be sent") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local w = atoll.spawn({code = [[
      local atoll = require "atoll"
      return {recv = function(c) return c:recv() end, close = function(c, how) return c:close(how) end}]]})
    local c, d = channel(), channel(1)
    local f = w:async("recv", c)
    local g = atoll.task(function() return c:recv(10) end)
    d:send("there")
    local h = atoll.task(function() return d:send({atoll.ref({})}, 10) end)
    atoll.sleep(1)
    log(w:call("close", c), w:call("close", d))
    log(f:await()); log(g:await()); log(h:await())
    log(atoll.now() - 1000)
    log(d:recv()); log(d:recv())
  )lua");
  CHECK(lines(main) == "true\ttrue\nnil\tclosed\nnil\tclosed\nnil\tclosed\n1.0\nthere\ttrue\nnil\tclosed\n");
  CHECK(main.exports().added() == main.exports().released());
}

TEST_CASE("channel: a forced close drops what is in it, wakes everybody, and lets go of references and connections") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local w = atoll.spawn({code = "local atoll = require 'atoll'; return {one = function() return atoll.ref({}) end}"})
    local c = channel(3)
    c:send({atoll.ref({}), w:call("one")})
    c:send(w:call("one"))
    c:send(channel())
    local f = atoll.task(function() return c:send({atoll.ref({}), w:call("one")}) end)
    atoll.sleep(1)
    log(c:close{force = true}, #c, c:stats().dropped)
    log(f:await())
    log(c:recv())
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(1)
  )lua");
  CHECK(lines(main) == "true\t0\t3\nnil\tclosed\nnil\tclosed\n");
  CHECK(main.exports().added() == 2);
  CHECK(main.exports().released() == 2);
  CHECK(world[2].exports().added() == 3);
  CHECK(world[2].exports().released() == 3);
}

TEST_CASE("channel: a channel that nobody has any more lets go of what is in it") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    do
      local c = channel()
      c:send(atoll.ref({}))
      c:send(channel())
    end
    for _ = 1, 3 do collectgarbage() end
    atoll.sleep(1)
    for _ = 1, 3 do collectgarbage() end
  )lua");
  CHECK(main.exports().added() == 1);
  CHECK(main.exports().released() == 1);
  CHECK(world.channels().size() == 0);
}

TEST_CASE("channel: when its only sender ends it is drained and closes, unless it is to stay open") {
  CHECK(channel_log(R"lua(
    for _, stay in ipairs{false, true} do
      local c = channel{stay_open = stay}
      local w = atoll.spawn({code = "return {send = function(c) c:send(1); c:send(2) end}"})
      w:call("send", c)
      local f = atoll.task(function() c:recv(); c:recv(); return c:recv(5) end)
      w:kill()
      log(c:state())
      log(f:await())
    end
  )lua") == "closed\nnil\tclosed\nopen\nnil\ttimeout\n");
}

TEST_CASE("channel: a sender among several that ends does not close it, and it disappears from the ends") {
  CHECK(channel_log(R"lua(
    local c = channel()
    local function names(list)
      local all = {}
      for i, w in ipairs(list) do all[i] = w.name end
      return table.concat(all, ",")
    end
    local function ends() local e = c:ends(); log(names(e.senders), names(e.receivers)) end
    ends()
    local code = {code = [[return {send = function(c) c:send(1) end, recv = function(c) return c:recv() end,
                                   release = function(c, end_) c:release(end_) end}]]}
    local a, b = atoll.spawn(code, {name = "a"}), atoll.spawn(code, {name = "b"})
    a:call("send", c); b:call("send", c); b:call("recv", c)
    ends()
    log(c:ends().senders[1] == a)
    a:kill()
    ends()
    log(c:state())
    b:call("release", c, "recv")
    ends()
    b:call("release", c)
    ends()
    log(c:state())
    log(c:recv()); log(c:recv())
    ends()
    c:release()
    ends()
  )lua") == "\t\na,b\tb\ntrue\nb\tb\nopen\nb\t\n\t\nclosed\n1\ttrue\nnil\tclosed\n\tmain\n\t\n");
}

// -- orphans -----------------------------------------------------------------------------------------------------------

namespace {

const char* const orphans = R"lua(
  local function orphaned(options, how)
    local c = channel(options)
    local w = atoll.spawn({code = [[return {send = function(c, how)
      for i = 1, 3 do c:send("w" .. i, how and how[i] and {orphans = how[i]} or nil) end end}]]})
    c:send("m1")
    w:call("send", c, how)
    c:send("m2")
    w:kill()
    log(#c, c:stats().orphaned)
    for _ = 1, #c do log(c:recv()) end
    log(c:try_recv())
  end
)lua";

} // namespace

TEST_CASE("channel: items whose sender ended are kept, made errors, or removed, and those of others are untouched") {
  CHECK(channel_log(std::string(orphans) + R"lua(
    orphaned{}
    orphaned{orphans = "keep"}
    orphaned{orphans = "error"}
    orphaned{orphans = "remove"}
  )lua")
        == "5\t0\nm1\ttrue\nw1\ttrue\nw2\ttrue\nw3\ttrue\nm2\ttrue\nnil\tempty\n"
           "5\t0\nm1\ttrue\nw1\ttrue\nw2\ttrue\nw3\ttrue\nm2\ttrue\nnil\tempty\n"
           "5\t3\nm1\ttrue\nnil\torphaned\nnil\torphaned\nnil\torphaned\nm2\ttrue\nnil\tempty\n"
           "2\t3\nm1\ttrue\nm2\ttrue\nnil\tempty\n");
}

TEST_CASE("channel: what becomes of an orphan may be said for each item") {
  CHECK(channel_log(std::string(orphans) + R"lua(
    orphaned({}, {"remove", false, "error"})
    orphaned({orphans = "remove"}, {"keep", false, "error"})
  )lua")
        == "4\t2\nm1\ttrue\nw2\ttrue\nnil\torphaned\nm2\ttrue\nnil\tempty\n"
           "4\t2\nm1\ttrue\nw1\ttrue\nnil\torphaned\nm2\ttrue\nnil\tempty\n");
}

TEST_CASE("channel: an item that waited for room keeps the policy it was sent with") {
  CHECK(channel_log(R"lua(
    local c = channel(1)
    local w = atoll.spawn({code = "return {send = function(c) c:send(1); c:send(2, {orphans = 'error'}) end}"})
    local f = w:async("send", c)
    atoll.sleep(1)
    log(c:recv())
    f:await()
    w:kill()
    log(c:recv()); log(c:recv())
  )lua") == "1\ttrue\nnil\torphaned\nnil\tclosed\n");
}

TEST_CASE("channel: orphans that are removed make room for who waits to send") {
  CHECK(channel_log(R"lua(
    local c = channel{capacity = 1, orphans = "remove"}
    local w = atoll.spawn({code = "return {send = function(c) c:send('w') end}"})
    w:call("send", c)
    local f = atoll.task(function() return c:send("m") end)
    atoll.sleep(1)
    log(f:done())
    w:kill()
    log(f:await(1))
    log(c:recv())
  )lua") == "false\ntrue\nm\ttrue\n");
}

TEST_CASE("channel: an item that was received before its sender ended stays good") {
  CHECK(channel_log(R"lua(
    local c = channel{orphans = "remove"}
    local w = atoll.spawn({code = "return {send = function(c) c:send({'v', c}) end}"})
    w:call("send", c)
    local v = c:recv()
    w:kill()
    for _ = 1, 3 do collectgarbage() end
    log(v[1], v[2] == c)
  )lua") == "v\ttrue\n");
}

// -- items() -----------------------------------------------------------------------------------------------------------

TEST_CASE("channel: items() goes on until the channel is closed, and can be left and begun again") {
  CHECK(channel_log(R"lua(
    local c = channel()
    for i = 1, 6 do c:send(i) end
    for v in c:items() do if v == 2 then break end end
    log(#c)
    atoll.after(1, function() c:send(false); c:send(7); c:close() end)
    local got = {}
    for v in c:items() do got[#got + 1] = tostring(v) end
    log(table.concat(got, " "), atoll.now() - 1000)
    for v in c:items() do log("never") end
  )lua") == "4\n3 4 5 6 false 7\t1.0\n");
}

TEST_CASE("channel: items() raises for a nil and for an orphan, and the rest is still there") {
  CHECK(channel_log(R"lua(
    local c = channel{orphans = "error"}
    local w = atoll.spawn({code = "return {send = function(c) c:send(1) end}"})
    c:send(nil)
    w:call("send", c)
    w:kill()
    c:send("last")
    c:close()
    local function all() local t = {} for v in c:items() do t[#t + 1] = v end return table.concat(t, " ") end
    log((tostring(select(2, pcall(all))):gsub("^.-:%d+: ", "")))
    local _, e = pcall(all)
    log(e.code, e.message)
    log(all())
  )lua")
        == "a nil in the channel would end the loop; receive it with recv()\n"
           "interpreter_gone\tthe sender of an item in the channel is gone\nlast\n");
}

// -- handles -----------------------------------------------------------------------------------------------------------

TEST_CASE("channel: the same channel is the same handle, a key of tables, printed, sent through others and itself") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local c, d = channel(), channel()
    log(c ~= d, c:id(), d:id(), c, d)
    d:send({c, {c}, d})
    local t = d:recv()
    log(t[1] == c, t[2][1] == c, t[3] == d, ({[c] = "key"})[t[1]])
    local w = atoll.spawn({code = "local kept; return {echo = function(c) local same = kept == c; kept = c; return c, same end}"})
    log(select(2, w:call("echo", c)), select(2, w:call("echo", c)), (w:call("echo", c)) == c)
    c:send(c)
    local again = c:recv()
    log(again == c, #c)
    log(pcall(function() return c.nothing end))
    log(getmetatable(c), pcall(setmetatable, c, {}))
  )lua");
  CHECK(
      lines(main)
      == "true\t1\t2\tchannel 1 (open, 0 items)\tchannel 2 (open, 0 items)\ntrue\ttrue\ttrue\tkey\n"
         "false\ttrue\ttrue\ntrue\t0\ntrue\tnil\nfalse\tfalse\tbad argument #1 to 'setmetatable' (table expected, got "
         "channel)\n");
}

TEST_CASE("channel: ids are in order and never used again") {
  CHECK(channel_log(R"lua(
    for i = 1, 100 do
      assert(channel():id() == i)
      if i % 10 == 0 then collectgarbage() end
    end
    log(channel():id())
  )lua") == "101\n");
}

TEST_CASE("channel: a channel that was collected is refused in the finalizer of what had it") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local w = atoll.spawn({code = "return {f = function() end}"})
    do
      local t = setmetatable({}, {__gc = function(t)
        log(select(2, pcall(w.send, w, "f", t.c)).message)
        log((select(2, pcall(t.c.send, t.c, 1)):gsub("^.-:%d+: ", "")))
        log(tostring(select(2, pcall(tostring, t.c))):match("collected"))
      end})
      t.c = channel()  -- made later, so finalized before
    end
    for _ = 1, 3 do collectgarbage() end
  )lua");
  CHECK(lines(main)
        == "not shareable: argument 1 is a channel that was collected\n"
           "bad argument #1 to '?' (the channel was collected)\ncollected\n");
}

// -- where one can wait ------------------------------------------------------------------------------------------------

TEST_CASE("channel: coroutines wait as part of their task") {
  CHECK(channel_log(R"lua(
    local c = channel(1)
    local co = coroutine.wrap(function()
      local v = c:recv()
      coroutine.yield(v)
      log(c:send(1), c:send(2, 1))
      for v in c:items() do coroutine.yield("item " .. v) end
      return "end"
    end)
    atoll.after(1, function() c:send("late") end)
    log(co(), atoll.now() - 1000)
    log(co())
    c:close()
    log(co())
  )lua") == "late\t1.0\ntrue\tnil\ttimeout\nitem 1\nend\n");
}

TEST_CASE("channel: what cannot wait gets an error or does without, in a comparison and in finalizers") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local c, full = channel(), channel(1)
    full:send(1)
    local function message(e) return (tostring(e):gsub("^.-:%d+: ", "")) end
    local function tried()
      log(c:try_send("s"), c:try_recv()); log(c:try_recv()); log(full:try_send(2))
      log(message(select(2, pcall(c.recv, c)))); log(message(select(2, pcall(full.send, full, {atoll.ref({})}, 1))))
      log(message(select(2, pcall(coroutine.wrap(function() c:recv() end)))))
    end
    table.sort({1, 2}, function() tried() return false end)
    setmetatable({}, {__gc = tried})
    for _ = 1, 3 do collectgarbage() end
    log(c:stats().receivers_waiting, full:stats().senders_waiting, #full)
  )lua");
  const std::string in_sort = "true\ts\ttrue\nnil\tempty\nnil\tfull\n"
                              "cannot wait across a C call (a comparison, a metamethod)\n"
                              "cannot wait across a C call (a comparison, a metamethod)\n"
                              "cannot wait across a C call (a comparison, a metamethod, a finalizer)\n";
  CHECK(lines(main).substr(0, in_sort.size()) == in_sort);
  CHECK(lines(main).substr(lines(main).size() - 6) == "0\t0\t1\n");
  CHECK(main.exports().added() == main.exports().released());
}

TEST_CASE("channel: an exit handler may wait for items, after the guest is closed nothing is sent any more") {
  fake_world world(make_lua_guest);
  auto& main = run_channels(world, R"lua(
    local c = channel()
    atoll.at_exit(function()
      atoll.task(function() atoll.sleep(1) c:send("for the exit handler") end)
      log(c:recv(5))
    end)
    last = setmetatable({}, {__gc = function()
      local ok, e = pcall(c.send, c, 1)
      log(e.code)
    end})
  )lua");
  main.program->run_exit_handlers();
  world.settle();
  CHECK(main.exit_done);
  main.program->close();
  CHECK(lines(main) == "for the exit handler\ttrue\nruntime_finalizing\n");
}

TEST_CASE("channel: a thousand tasks wait for items, and each gets one") {
  CHECK(channel_log(R"lua(
    local c = channel(0)
    local sum = 0
    for _ = 1, 1000 do atoll.task(function() local v = c:recv() sum = sum + v end) end
    atoll.sleep(1)
    log(c:stats().receivers_waiting)
    for i = 1, 1000 do c:send(i) end
    atoll.sleep(1)
    log(sum, c:stats().receivers_waiting)
  )lua") == "1000\n500500\t0\n");
}

TEST_CASE("channel: a task that is over keeps neither the channel it waited on nor that one's heir") {
  fake_world world(make_lua_guest);
  run_channels(world, R"lua(
    atoll.task(function()
      local c = channel{undelivered = channel()}
      c:recv(0.001)
    end)
    atoll.sleep(0.01)
    collectgarbage()
    collectgarbage()
  )lua");
  CHECK(world.channels().size() == 0);
}
