// Interrupts, preemption, exit handlers, finalizers, memory limits and closing.
#include <doctest/doctest.h>

#include <csignal>
#include <sys/time.h>

#include "tests/guests/lua_programs.hpp"

using namespace Atoll;
using testing::fake_interpreter;
using testing::fake_world;
using testing::lines;
using testing::logged;

namespace {

guest* ticked = nullptr;
fake_interpreter* controlled = nullptr;
controls to_set;

void on_alarm(int) {
  controlled->wanted = to_set;
  ticked->tick();
}

/// Delivers a message while a timer signal asks for `c` every few milliseconds.
void deliver_under(fake_interpreter& who, const incoming& m, controls c) {
  ticked = who.program.get();
  controlled = &who;
  to_set = c;
  std::signal(SIGALRM, on_alarm);
  const itimerval every{{0, 3000}, {0, 3000}};
  setitimer(ITIMER_REAL, &every, nullptr);
  who.program->deliver(m);
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
  who.wanted = {};
}

incoming to(const char* name) {
  incoming m;
  m.kind = record_kind::send;
  m.name = name;
  return m;
}

const char* const head = "local atoll = require 'atoll'; log = atoll.log.info; ";

} // namespace

TEST_CASE("an interrupt ends an endless loop that pcalls everything, and __close still runs") {
  for (const std::string loop : {
           "while true do end",
           "while true do pcall(function() while true do end end) end",
           "while true do pcall(function() local t <close> = setmetatable({}, {__close = function() error('other') "
           "end}) end) end",
           "while true do coroutine.wrap(function() while true do end end)() end",
           "while true do local co = coroutine.create(function() while true do end end); coroutine.resume(co) end",
           "while true do xpcall(function() while true do end end, function() return 'mine' end) end",
           "while true do pcall(function() local t <close> = setmetatable({}, {__close = function() error('x') end}); "
           "while true do end end) end",
           "while true do pcall(string.rep, 'x', -1) end",
       }) {
    CAPTURE(loop);
    fake_world world(make_lua_guest);
    auto& main = world.run(
        std::string(head)
        + "return {spin = function() local t <close> = setmetatable({}, {__close = function() closed = true end}); "
        + loop + " end, check = function() log(closed) end}");
    deliver_under(main, to("spin"), {.interrupt = true});
    REQUIRE(main.logged.size() == 1);
    CHECK(main.logged[0].find("in spin: interrupted") != std::string::npos);
    main.program->deliver(to("check"));
    CHECK(main.logged[1] == "true");
    CHECK(main.program->tasks() == 0);
  }
}

TEST_CASE("an interrupted __close may use pcall as ever, but not for ever") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    return {spin = function()
      local b <close> = setmetatable({}, {__close = function() while true do pcall(error) end end})
      local a <close> = setmetatable({}, {__close = function() log(pcall(error, "inner", 0)) end})
      while true do end
    end})lua");
  deliver_under(main, to("spin"), {.interrupt = true});
  REQUIRE(main.logged.size() == 2);
  CHECK(main.logged[0] == "false\tinner");
  CHECK(main.logged[1].find("interrupted") != std::string::npos);
}

namespace {

/// Loops in whatever catches errors, or runs code where Lua lets no hook run.
const std::vector<std::string> stubborn_loops = {
    "while true do load(function() while true do end end) end",
    "while true do pcall(load, function() while true do end end) end",
    "while true do xpcall(error, function() while true do end end) end",
    "while true do xpcall(function() while true do end end, function() while true do end end) end",
    "while true do xpcall(function() while true do end end, function() error('again') end) end",
    "while true do local co = coroutine.create(function() local t <close> = setmetatable({}, {__close = function() "
    "while true do end end}) coroutine.yield() end) coroutine.resume(co) coroutine.close(co) end",
    "while true do local f = coroutine.wrap(function() local t <close> = setmetatable({}, {__close = function() while "
    "true do end end}) error('x') end) pcall(f) end",
    "while true do for _ in coroutine.wrap(function() while true do end end) do end end",
    "while true do setmetatable({}, {__gc = function() while true do end end}) collectgarbage() end",
    "while true do setmetatable({}, {__gc = function() while true do pcall(function() while true do end end) end "
    "end}) collectgarbage() end",
    "while true do pcall(function() setmetatable({}, {__gc = function() while true do end end}) collectgarbage() end) "
    "end",
    "while true do debug.sethook() pcall(function() while true do debug.sethook() end end) end",
    "while true do pcall(string.gsub, 'aaa', 'a', function() while true do end end) end",
    "while true do pcall(table.sort, {3, 2, 1}, function() while true do end end) end",
    "package.searchers[1] = function() while true do end end while true do pcall(require, 'nothing') end",
    "while true do pcall(tostring, setmetatable({}, {__tostring = function() while true do end end})) end",
    "local t = setmetatable({}, {__index = function() while true do end end, __concat = function() while true do end "
    "end}) while true do pcall(function() return t.x end) pcall(function() return t .. t end) end",
    "while true do pcall(next, {}, 'no') pcall(error, setmetatable({}, {__tostring = function() while true do end "
    "end})) "
    "end",
    "local t <close> = setmetatable({}, {__close = function() debug.sethook() while true do end end}) while true do "
    "end",
    "local t <close> = setmetatable({}, {__close = function() while true do pcall(string.rep, 'x', 1000000) end end}) "
    "while true do end",
    "local function f() local t <close> = setmetatable({}, {__close = f}) while true do end end f()",
};

} // namespace

TEST_CASE("whatever a loop hides in, an interrupt ends it, and the interpreter lives on") {
  for (const std::string& loop : stubborn_loops) {
    CAPTURE(loop);
    fake_world world(make_lua_guest);
    auto& main = world.run(std::string(head) + "return {spin = function() " + loop
                           + " end, check = function() log('alive') end}");
    const auto start = std::chrono::steady_clock::now();
    deliver_under(main, to("spin"), {.interrupt = true});
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10)); // 0.01 to 0.4 s here
    REQUIRE_FALSE(main.logged.empty());
    CHECK(main.logged.back().find("in spin: interrupted") != std::string::npos);
    main.program->deliver(to("check"));
    CHECK(main.logged.back() == "alive");
    CHECK(main.program->tasks() == 0);
  }
}

TEST_CASE("whatever a loop hides in, a kill ends it") {
  for (const std::string& loop : stubborn_loops) {
    CAPTURE(loop);
    fake_world world(make_lua_guest);
    auto& main = world.run(std::string(head) + "return {spin = function() " + loop + " log('went on') end}");
    const auto start = std::chrono::steady_clock::now();
    deliver_under(main, to("spin"), {.kill = true});
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5)); // some milliseconds here
    main.program->interrupt(errc::killed);
    main.program->close();
    CHECK(lines(main).find("went on") == std::string::npos);
  }
}

TEST_CASE("an object's __gc works as ever: called once, with its errors as warnings, by hand too") {
  CHECK(logged(R"lua(
    local mt = {__gc = function(o) log("gone", o.name) end}
    setmetatable({name = "a"}, mt)
    collectgarbage()
    local b = setmetatable({name = "b"}, mt)
    mt.__gc(b)
    b = nil
    collectgarbage()
    setmetatable({}, {__gc = function() setmetatable({name = "nested"}, mt) mt.__gc({name = "by hand"}) end})
    collectgarbage() collectgarbage()
    setmetatable({}, {__gc = function() error("oops", 0) end})
    collectgarbage()
    setmetatable({}, {__gc = function() log(pcall(atoll.sleep, 1)) end})
    collectgarbage()
    local late = {__gc = true}
    setmetatable({name = "late"}, late)
    late.__gc = mt.__gc
    collectgarbage()
    debug.setmetatable({name = "by debug"}, {__gc = function(o) log("gone", o.name) end})
    collectgarbage()
    log(pcall(setmetatable, {}, 1))
    log(pcall(setmetatable, setmetatable({}, {__metatable = 1}), {}))
    log(getmetatable(setmetatable({}, mt)) == mt, load("return 1 + 1")(), load("return +"))
  )lua")
        == "gone\ta\ngone\tb\ngone\tb\ngone\tby hand\ngone\tnested\nerror in __gc (oops)\n"
           "false\tcannot wait across a C call (a comparison, a metamethod)\ngone\tlate\ngone\tby debug\n"
           "false\tbad argument #2 to 'setmetatable' (nil or table expected, got number)\n"
           "false\tcannot change a protected metatable\n"
           "true\t2\tnil\t[string \"return +\"]:1: unexpected symbol near '+'\n");
}

TEST_CASE("a kill runs nothing of the guest any more") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    keep = setmetatable({}, {__gc = function() log("gc") end})
    return {spin = function()
      local t <close> = setmetatable({}, {__close = function() log("close") end})
      while true do pcall(function() while true do end end) end
    end})lua");
  main.logged.clear();
  deliver_under(main, to("spin"), {.kill = true});
  main.program->interrupt(errc::killed);
  main.program->deliver(to("spin"));
  main.program->close();
  CHECK(lines(main).empty());
}

TEST_CASE("a long computation yields when asked, inside coroutines too, and gives the right result") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    local function work()
      local s = 0
      for i = 1, 20000000 do s = s + i % 7 end
      return s
    end
    return {work = function() log(work()) end,
            nested = function() log(coroutine.wrap(function() return coroutine.wrap(work)() end)()) end,
            sorted = function() local t = {}; for i = 1, 300000 do t[i] = i * 7919 % 300007 end
                       table.sort(t, function(a, b) return a < b end)
                       for i = 2, #t do assert(t[i - 1] < t[i]) end log("sorted") end})lua");
  for (const std::string name : {"work", "nested", "sorted"}) {
    CAPTURE(name);
    main.logged.clear();
    deliver_under(main, to(name.c_str()), {.yield = true});

    int turns = 0;
    while (main.program->tasks() > 0 && ++turns < 10000) main.program->run_ready();
    REQUIRE(main.logged.size() == 1);
    if (name[0] != 's') {
      CHECK(main.logged[0] == "60000003");
      CHECK(turns >= 1);
    }
  }
}

TEST_CASE("a waiting task is interrupted in its wait, a preempted one where it stands") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    kept = atoll.task(function()
      local t <close> = setmetatable({}, {__close = function() log("closed") end})
      while true do pcall(atoll.net.connect, "x") log("no") end
    end)
    return {spin = function() while true do end end})lua");
  deliver_under(main, to("spin"), {.yield = true});
  CHECK(main.program->tasks() == 2);
  CHECK(main.program->waiting());
  main.program->interrupt(errc::interrupted);
  CHECK(main.program->tasks() == 0);
  REQUIRE(main.logged.size() == 2);
  CHECK(main.logged[0].find("in spin: interrupted") != std::string::npos);
  CHECK(main.logged[1] == "closed");
}

TEST_CASE("exit handlers run last in first out and may wait, finalizers follow by priority, failures don't stop them") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    local w = atoll.spawn{code = "return {f = function() return 'answer' end}"}
    atoll.at_exit(function() log("first registered") end)
    atoll.at_exit(function() error("bad handler", 0) end)
    atoll.at_exit(function() log(w:call("f")) end)
    kept = {}
    atoll.finalizer(kept, function(o) log("low", o == kept) end, {priority = 1})
    atoll.finalizer(kept, function() log("high"); atoll.finalizer(kept, function() log("made during the run") end, {priority = 5}) end, {priority = 10})
    atoll.finalizer(kept, function() log("newer low") end, {priority = 1})
    atoll.finalizer(kept, function() log("never at exit") end)
    atoll.finalizer(kept, function() log("at close") end, {priority = -1})
  )lua");
  main.program->run_exit_handlers();
  world.settle();
  CHECK(main.exit_done);
  CHECK(main.finalizer_errors == std::vector<std::string>{"bad handler"});
  CHECK(main.finalizers == 7);
  main.program->close();
  std::string all;
  for (const std::string& line : main.logged)
    if (line.find("bad handler") == std::string::npos) all += line + "\n";
  CHECK(all == "answer\nfirst registered\nhigh\nmade during the run\nnewer low\nlow\ttrue\nat close\n");
}

TEST_CASE("a finalizer runs once when its object dies, with the object whole") {
  CHECK(logged(R"lua(
    local t = {name = "t"}
    local h = atoll.finalizer(t, function(o) log("gone", o.name) end)
    atoll.finalizer(t, function(o) log("other") end):cancel()
    t = nil
    collectgarbage() collectgarbage()
    log(h:cancel())
    local u = {}
    local h = atoll.finalizer(u, function(o) log("by hand", rawequal(o, u)) return 7 end)
    log(h:run())
    log(h:run())
    u = nil
    collectgarbage()
    atoll.finalizer({}, function() error("oops", 0) end)
    collectgarbage()
  )lua")
            .find("gone\tt\nfalse\nby hand\ttrue\n7\n\n")
        == 0);
}

TEST_CASE("reaching the memory limit is an error of that interpreter alone, and the interpreter goes on") {
  CHECK(logged(R"lua(
    local w = atoll.spawn({code = "return {eat = function() local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end, ok = function() return 'alive' end}"}, {memory = 1 << 20})
    local _, e = pcall(w.call, w, "eat")
    log(e.code, e.message)
    log(w:call("ok"))
    local _, e = pcall(w.call, w, "ok", ("x"):rep(2 << 20))
    log(e.code)
    log(w:call("ok"))
  )lua") == "out_of_memory\tnot enough memory\nalive\nout_of_memory\nalive\n");
}

TEST_CASE("whatever allocation fails first, nothing is lost and nothing crashes") {
  for (std::size_t limit = 30000; limit < 60000; limit += 411) {
    CAPTURE(limit);
    fake_world world(make_lua_guest);
    auto& main = world.run(std::string(head) + R"lua(
      local w = atoll.spawn({code = [[local atoll = require "atoll"; local o = {f = function() return atoll.ref({}) end}
        return {go = function(...) local t = {...} for i = 1, 20 do t[#t + 1] = {i, x = tostring(i)} end return atoll.ref(o), t, ... end}]]},
        {memory = ...})
      for i = 1, 30 do
        local ok, r, t = pcall(w.call, w, "go", atoll.ref({}), {atoll.ref({}), {}, "long " .. ("x"):rep(100 * i)})
        if ok then pcall(r.f, r) atoll.send(r, "f") end
      end
      w, r, t = nil
      collectgarbage() collectgarbage()
    )lua");
    (void)main;
  }
}

TEST_CASE("closing runs __gc, and calls out of it fail cleanly") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    local w = atoll.spawn{code = "return {f = function() end}"}
    kept = setmetatable({}, {__gc = function()
      for _, f in ipairs{function() w:call("f") end, function() w:send("f") end, function() atoll.after(1, print) end} do
        local _, e = pcall(f)
        log(e.code)
      end
    end})
    atoll.task(function() local t <close> = setmetatable({}, {__close = function() log("task closed") end}) atoll.sleep(100) end)
    atoll.monitor(w, print)
  )lua");
  main.logged.clear();
  (void)main;
  fake_world other(make_lua_guest);
  auto& m = other.run(std::string(head) + R"lua(
    kept = setmetatable({}, {__gc = function()
      for _, f in ipairs{function() atoll.self():call("f") end, function() atoll.self():send("f") end, function() atoll.after(1, print) end} do
        local _, e = pcall(f)
        log(e.code)
      end
    end})
  )lua");
  m.program->close();
  CHECK(lines(m) == "runtime_finalizing\nruntime_finalizing\nruntime_finalizing\n");
  CHECK(m.memory().bytes_in_use() == 0);
}

TEST_CASE("monitors are told once, with the reason") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    local w = atoll.spawn({code = "return {}"}, {name = "w"})
    atoll.monitor(w, function(d) log(d.id, d.name, d.reason, d.error and d.error.code) end)
  )lua");
  CHECK_FALSE(main.program->waiting());
  world.end(world[2], "failed", {errc::guest_error, "boom", "", interpreter_id{2}, "w", ""});
  CHECK(lines(main) == "2\tw\tfailed\tguest_error\n");
}

TEST_CASE("atoll.exit ends the task without a trace and asks for the end once") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    local t <close> = setmetatable({}, {__close = function() log("closed") end})
    pcall(function() os.exit(3) end)
    log("not here")
  )lua");
  CHECK(lines(main) == "closed\n");
  CHECK(main.exit_status == 3);
  CHECK(main.program->tasks() == 0);
}

TEST_CASE("a crowded receiver makes the sender wait for room") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    local w = atoll.spawn{code = "n = 0; return {f = function() n = n + 1 return n end}"}
    return {go = function() for i = 1, 3 do w:send("f") end log(w:call("f")) end}
  )lua");
  world[2].crowded = true;
  main.program->deliver(to("go"));
  CHECK(main.program->tasks() == 1);
  world.settle();
  CHECK(lines(main) == "4\n");
}
