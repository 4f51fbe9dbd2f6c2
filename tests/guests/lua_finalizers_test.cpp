// Finalizers of Lua programs: when they run, in which order, and what they may do.
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

const char* const head =
    "local atoll = require 'atoll'; local log = atoll.log.info\n"
    "local function says(x, o, p) return atoll.finalizer(o, function() log(x) end, {priority = p}) end\n";

/// What the program logs, with its exit and its close.
struct ended {
  std::string before;
  std::string at_exit;
  std::string at_close;
  int finalizers = 0;
  std::vector<std::string> errors;

  explicit ended(const std::string& code) {
    fake_world world(make_lua_guest);
    auto& main = world.run(head + code);
    before = take(main);
    main.program->run_exit_handlers();
    world.settle();
    CHECK(main.exit_done);
    at_exit = take(main);
    main.program->close();
    at_close = take(main);
    finalizers = main.finalizers;
    errors = main.finalizer_errors;
    CHECK(main.memory().bytes_in_use() == 0);
  }
  static std::string take(fake_interpreter& main) {
    std::string all = lines(main);
    main.logged.clear();
    return all;
  }
};

guest* ticked = nullptr;
fake_interpreter* controlled = nullptr;

void on_alarm(int) {
  controlled->wanted = {.interrupt = true};
  ticked->tick();
}

/// Runs `what` while a timer signal interrupts the guest every few milliseconds.
template <class F>
void interrupted(fake_interpreter& who, F what) {
  ticked = who.program.get();
  controlled = &who;
  std::signal(SIGALRM, on_alarm);
  const itimerval every{{0, 3000}, {0, 3000}};
  setitimer(ITIMER_REAL, &every, nullptr);
  what();
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
  who.wanted = {};
}

} // namespace

TEST_CASE("lua finalizers: dead, called or cancelled, later calls do nothing and exit passes it over") {
  const ended e(R"lua(
    local dead = {}
    local d = says("dead", dead, 1)
    dead = nil
    collectgarbage()
    d:run()
    log(d:cancel())
    called, cancelled = {}, {}
    local c = says("called", called, 1)
    c:run() c:run()
    log(c:cancel())
    local x = says("cancelled", cancelled, 1)
    log(x:cancel(), x:cancel())
    x:run()
    called, cancelled = nil, nil
    collectgarbage()
  )lua");
  CHECK(e.before == "dead\nfalse\ncalled\nfalse\ntrue\tfalse\n");
  CHECK(e.at_exit.empty());
  CHECK(e.at_close.empty());
  CHECK(e.finalizers == 1);
}

TEST_CASE("lua finalizers: a mix of the dead, the called, the ranked and the unranked runs in the order of the rules") {
  const ended e(R"lua(
    local a = {}
    says("a", a)
    a = nil
    collectgarbage()
    local b = {}
    local fb = says("b", b)
    fb:run() fb:run()
    b = nil
    collectgarbage()
    c, d10, d01, d02, d03 = {}, {}, {}, {}, {}
    says("c", c)
    says("d10", d10, 1)
    says("d01", d01, 0)
    says("d02", d02, 0)
    says("d03", d03, 0)
    says("e", nil, -10)
    says("f", d10, -2)
    says("g", nil, 0)
  )lua");
  CHECK(e.before == "a\nb\n");
  CHECK(e.at_exit == "d10\ng\nd03\nd02\nd01\n");
  CHECK(e.at_close == "f\ne\n");
}

TEST_CASE("lua finalizers: without an object a priority is enough, it runs at exit with nil, or by hand, or never") {
  const ended e(R"lua(
    atoll.finalizer(nil, function(...) log("exit", select("#", ...), ...) end, {priority = 3})
    local h = says("by hand", nil, 2)
    collectgarbage() collectgarbage()
    h:run() h:run()
    log(says("cancelled", nil, 1):cancel())
    collectgarbage()
    log((select(2, pcall(atoll.finalizer, nil, print)):gsub("^.-%(", "(")))
  )lua");
  CHECK(e.before == "by hand\ntrue\n(without an object a finalizer needs a priority, or it never runs)\n");
  CHECK(e.at_exit == "exit\t1\tnil\n");
  CHECK(e.at_close.empty());
}

TEST_CASE("lua finalizers: what has none, and numbers that are no priority, are clear errors") {
  const std::string text = logged(R"lua(
    local function bad(...) log((select(2, pcall(atoll.finalizer, ...)):gsub("^.-%(", "("))) end
    for _, o in ipairs{1, "text", true} do bad(o, print) end
    bad({}, 1)
    bad({}, print, 1)
    bad({}, print, {priority = 1.5})
    bad({}, print, {priority = "1"})
    bad({}, print, {priority = 1 << 31})
    bad({}, print, {priority = -(1 << 31) - 1})
    bad({}, print, {priority = math.maxinteger})
    bad({}, print, {prio = 1})
    kept = {}
    log(atoll.finalizer(kept, print, {priority = (1 << 31) - 1}):cancel(), atoll.finalizer(kept, print, {priority = -(1 << 31)}):cancel())
  )lua");
  const std::string object = "(an object expected: a table, function, userdata or coroutine)\n";
  const std::string range = "(priority out of range (-2147483648 to 2147483647))\n";
  CHECK(text.find(object + object + object) == 0);
  CHECK(text.find("(function expected, got number)\n(table expected, got number)\n") != std::string::npos);
  CHECK(text.find("(priority must be a whole number)\n(priority must be a whole number)\n" + range + range + range)
        != std::string::npos);
  CHECK(text.find("prio") != std::string::npos);
  CHECK(text.find("true\ttrue\n") != std::string::npos);
}

TEST_CASE("lua finalizers: one that fails is reported with its traceback, at exit, at close and when its object dies") {
  const ended e(R"lua(
    local function deep(x) error("failed " .. x) end
    atoll.finalizer({}, function() deep("dying") end)
    collectgarbage()
    atoll.finalizer(nil, function() deep("exit") end, {priority = 1})
    says("next", nil, 0)
    atoll.finalizer(nil, function() deep("close") end, {priority = -1})
    says("last", nil, -2)
  )lua");
  for (const auto& told : {std::pair(e.before, "failed dying"), std::pair(e.at_exit, "failed exit"),
                           std::pair(e.at_close, "failed close")}) {
    const std::string& text = told.first;
    CAPTURE(text);
    CHECK(text.find(std::string("in a finalizer: ")) == 0);
    CHECK(text.find(told.second) != std::string::npos);
    CHECK(text.find("stack traceback:") != std::string::npos);
    CHECK(text.find("in upvalue 'deep'") != std::string::npos);
  }
  CHECK(e.at_exit.find("\nnext\n") != std::string::npos);
  CHECK(e.at_close.find("\nlast\n") != std::string::npos);
  CHECK(e.errors.size() == 3);
  CHECK(e.finalizers == 5);
}

TEST_CASE("lua finalizers: the registry may be changed by those that run, by collection and by other tasks") {
  const ended e(R"lua(
    held, doomed = {}, {}
    local d = says("doomed", doomed, 3)
    says("collected in the middle", held, 2)
    says("end", nil, 0)
    atoll.finalizer(nil, function()
      log("first")
      d:cancel()
      held = nil
      collectgarbage()
      atoll.task(function() says("from a task", nil, 1) end)
      atoll.sleep(1)
      says("next", nil, 8)
      atoll.at_exit(function() log("a handler comes first") end)
    end, {priority = 9})
  )lua");
  CHECK(e.at_exit == "first\ncollected in the middle\na handler comes first\nnext\nfrom a task\nend\n");
}

TEST_CASE("lua finalizers: an object may be brought back to life, and have a new one") {
  const ended e(R"lua(
    local o = {name = "o"}
    atoll.finalizer(o, function(x) log("dies", x.name) back = x end)
    o = nil
    collectgarbage()
    collectgarbage()
    log(back.name)
    atoll.finalizer(back, function(x) log("dies again", x.name) end, {priority = 1})
    back = nil
    collectgarbage()
    kept = setmetatable({}, {__gc = function(x) log("own __gc") end})
    atoll.finalizer(kept, function(x) kept_again = x log("kept", x == kept_again) end, {priority = 1})
    kept = nil
    collectgarbage()
    log(kept_again ~= nil)
  )lua");
  CHECK(e.before.find("dies\to\no\ndies again\to\n") == 0);
  CHECK(e.before.find("kept\ttrue\n") != std::string::npos);
  CHECK(e.before.find("true\n", e.before.size() - 5) != std::string::npos);
  CHECK(e.at_exit.empty());
}

TEST_CASE("lua finalizers: those whose __gc the collector puts off are not lost at exit") {
  // In incremental mode a step runs a few of them; exit comes between two steps.
  const ended e(R"lua(
    collectgarbage()
    collectgarbage("incremental", 1000, 1, 1)
    ran = 0
    local all = {}
    for i = 1, 500 do
      all[i] = {}
      atoll.finalizer(all[i], function() ran = ran + 1 end, {priority = i % 3})
    end
    all = nil
    repeat collectgarbage("step", 0) until ran > 0
    log(ran < 500)
    says("exit", nil, 9)
    atoll.finalizer(nil, function() log("all", ran) end, {priority = 0})
    atoll.finalizer(nil, function() log("all", ran) end, {priority = -1})
  )lua");
  CHECK(e.before == "true\n");
  CHECK(e.at_exit.find("exit\n") == 0);
  CHECK(e.at_close == "all\t500\n");
}

TEST_CASE("lua finalizers: during teardown finalizers run by priority, what comes too late is refused") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    kept = setmetatable({}, {__gc = function()
      log(select(2, pcall(says, "never", nil, 1)))
      log(select(2, pcall(atoll.at_exit, print)))
    end})
    return {late = function()
      log(select(2, pcall(atoll.at_exit, print)))
      atoll.finalizer(nil, function()
        log("after the exit handlers")
        says("made while closing", nil, -3)
        says("has no priority", kept)
      end, {priority = 1})
    end}
  )lua");
  main.program->run_exit_handlers();
  incoming m;
  m.kind = record_kind::send;
  m.name = "late";
  main.program->deliver(m);
  main.program->close();
  const std::string late = "at_exit: the exit handlers of this interpreter have run\n";
  CHECK(lines(main)
        == late + "after the exit handlers\nmade while closing\n"
               + "finalizer: the last finalizers of this interpreter have run\n" + late);
}

TEST_CASE("lua finalizers: an endless one is cut by an interrupt, at exit and at close, and the next one runs") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    atoll.finalizer(nil, function() while true do pcall(function() while true do end end) end end, {priority = 2})
    says("next", nil, 1)
    atoll.finalizer(nil, function() while true do end end, {priority = -1})
    says("last", nil, -2)
  )lua");
  interrupted(main, [&] { main.program->run_exit_handlers(); });
  CHECK(main.exit_done);
  interrupted(main, [&] { main.program->close(); });
  REQUIRE(main.logged.size() == 4);
  CHECK(main.logged[0].find("in a finalizer: interrupted") == 0);
  CHECK(main.logged[1] == "next");
  CHECK(main.logged[2].find("in a finalizer: interrupted") == 0);
  CHECK(main.logged[3] == "last");
}

TEST_CASE("lua finalizers: an interrupt that cuts one does not end the wait of the next one") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    atoll.finalizer(nil, function() while true do end end, {priority = 2})
    atoll.finalizer(nil, function() atoll.sleep(1) log("waited") end, {priority = 1})
  )lua");
  interrupted(main, [&] { main.program->run_exit_handlers(); });
  main.program->interrupt(errc::interrupted); // the shell's next turn finds the control that the hook has seen already
  world.settle();
  CHECK(main.exit_done);
  REQUIRE(main.logged.size() == 2);
  CHECK(main.logged[0].find("in a finalizer: interrupted") == 0);
  CHECK(main.logged[1] == "waited");
}

TEST_CASE("lua finalizers: one that waits for ever is cut by an interrupt, and each behind it by one of its own") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    for i = 1, 3 do atoll.finalizer(nil, function() atoll.sleep(1e6) end, {priority = i}) end
    says("last", nil, 0)
  )lua");
  main.program->run_exit_handlers();
  for (int cut = 1; cut <= 3; ++cut) {
    CHECK_FALSE(main.exit_done);
    main.program->interrupt(errc::interrupted);
    CHECK(main.finalizer_errors.size() == static_cast<std::size_t>(cut));
  }
  CHECK(main.exit_done);
  CHECK(main.logged.back() == "last");
}

TEST_CASE("lua finalizers: behind a handler or finalizer that called atoll.exit the others have all their time") {
  const ended e(R"lua(
    local function long(x) return function() for i = 1, 1e6 do end log(x) end end
    atoll.finalizer(nil, long("last"), {priority = 0})
    atoll.finalizer(nil, function() os.exit(4) end, {priority = 1})
    atoll.finalizer(nil, long("finalizer"), {priority = 2})
    atoll.at_exit(long("handler"))
    atoll.at_exit(function() pcall(atoll.exit, 3) log("not reached") end)
  )lua");
  CHECK(e.at_exit == "handler\nfinalizer\nlast\n");
  CHECK(e.errors.empty());
}

TEST_CASE("lua finalizers: an endless one that runs because its object dies is cut with the task it stopped") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    return {
      spin = function()
        atoll.finalizer({}, function() while true do end end)
        collectgarbage()
        while true do end
      end,
      check = function() log("alive") end,
    }
  )lua");
  incoming m;
  m.kind = record_kind::send;
  m.name = "spin";
  interrupted(main, [&] { main.program->deliver(m); });
  m.name = "check";
  main.program->deliver(m);
  REQUIRE(main.logged.size() == 3);
  CHECK(main.logged[0].find("in a finalizer: interrupted") == 0);
  CHECK(main.logged[1].find("in spin: interrupted") != std::string::npos);
  CHECK(main.logged[2] == "alive");
}

TEST_CASE("lua finalizers: one that runs because its object dies cannot wait, and may call atoll.exit") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    atoll.finalizer({}, function() log(select(2, pcall(atoll.sleep, 1)).code) end)
    collectgarbage()
    atoll.finalizer({}, function() atoll.exit(3) end)
    collectgarbage()
    for i = 1, 1e6 do end
    log("not reached")
  )lua");
  CHECK(lines(main) == "invalid_argument\n");
  CHECK(main.exit_status == 3);
  CHECK(main.finalizer_errors.empty());
}
