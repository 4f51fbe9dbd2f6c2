// Lua guests on the shell without threads: proxies, monitors and futures while their owners, holders or callees die.
#include <doctest/doctest.h>

#include "guests/lua/lua_guest.hpp"
#include "tests/actors/shell_world.hpp"

using namespace Atoll;
using test::audit;
using test::shell_world;
using namespace std::chrono_literals;

namespace {

constexpr credit_policy tiny{.grant = 4, .low = 1, .cap = 16};
constexpr credit_policy ones{.grant = 1, .low = 1, .cap = 4};

/// What every program here may use: two workers, and what they do.
const char* const prelude = R"lua(
  local atoll = require "atoll"
  local log = atoll.log.info
  local code = [[
    local atoll = require "atoll"
    local Counter = {__name = "Counter", __atoll = "ref"}
    Counter.__index = Counter
    function Counter:add(n) self.n = self.n + n return self.n end
    function Counter:slowly(n) atoll.sleep(1) return self:add(n) end
    local one = setmetatable({n = 0}, Counter)
    local kept = {}
    return {
      make = function() return setmetatable({n = 0}, Counter) end,
      one = function() return one end,
      many = function(n) local t = {} for i = 1, n do t[i] = setmetatable({n = 0}, Counter) end return t end,
      slowly = function() atoll.sleep(1) return setmetatable({n = 0}, Counter) end,
      keep = function(r) kept[#kept + 1] = r end,
      use = function() return kept[#kept] and kept[#kept]:add(1) end,
      pass = function(to) return kept[#kept] and to:call("keep", kept[#kept]) end,
      share = function() return kept[#kept] end,
      clean = function() kept = {} collectgarbage() collectgarbage() end,
    }]]
  local function born(name) return atoll.spawn({code = code}, {name = name}) end
  local function clean() collectgarbage() collectgarbage() end
)lua";

class lua_world : public shell_world {
public:
  explicit lua_world(const credit_policy& credit = tiny, std::uint64_t seed = 1)
      : shell_world(seed, {.credit = credit}) {
    languages["lua"] = make_lua_guest;
  }
  interpreter_id begin(const std::string& code) { return start("lua", "main", prelude + code); }
  /// Runs the program to its end, however often it sleeps.
  interpreter_id play(const std::string& code) {
    const interpreter_id id = begin(code);
    finish();
    return id;
  }
  void finish() {
    for (int i = 0; i < 10; ++i) {
      run();
      advance(5s);
    }
  }
  std::ptrdiff_t logged(const std::string& line) const { return std::count(logs.begin(), logs.end(), line); }
  std::string violations() {
    audit a;
    show_all(a);
    const auto all = a.violations();
    return all.empty() ? "" : all.front();
  }
  std::string text() const {
    std::string all;
    for (const std::string& line : logs) all += line + "\n";
    return all;
  }
  /// Holders of nothing, owners of nothing that is out.
  std::string left() {
    if (where().tombstones() > 0) return "a tombstone";
    for (const interpreter_id id : living()) {
      if (find(id)->imports().size() > 0) return "an import of " + std::to_string(number(id));
      if (find(id)->exports_live() > 0) return "an export of " + std::to_string(number(id));
      if (find(id)->box().backlog() > 0) return "a backlog of " + std::to_string(number(id));
    }
    return violations();
  }
};

} // namespace

TEST_CASE(
    "shell with Lua: a monitor of a reference is told once, whether the reference is held, released or collected") {
  for (const char* how : {"", "atoll.release(r)", "r = nil; clean()"}) {
    const std::string doing(how);
    CAPTURE(doing);
    lua_world v;
    v.play(std::string(R"lua(
      local w = born("w")
      local r = w:call("one")
      atoll.monitor(r, function(d) log("down", d.name, d.reason) end)
      local cancelled = atoll.monitor(r, function() log("cancelled") end)
      cancelled:cancel()
    )lua") + how
           + R"lua(
      w:kill()
      atoll.sleep(1)
      if r then atoll.monitor(r, function(d) log("too late", d.reason) end) end
      local _, e = pcall(function() return r:add(1) end)
      if r then log(e.code) end
      atoll.sleep(1)
      r = nil
      clean()
    )lua");
    CHECK(v.logged("down\tw\tkilled") == 1);
    CHECK(v.logged("cancelled") == 0);
    const bool kept = how[0] != 'r';
    CHECK(v.logged("too late\tgone") == (kept ? 1 : 0));
    CHECK(v.logged(how[0] == '\0' ? "interpreter_gone" : "reference_released") == (kept ? 1 : 0));
    CHECK(v.left() == "");
  }
}

TEST_CASE("shell with Lua: a monitor of a reference that came from a third interpreter watches the owner") {
  lua_world v;
  v.play(R"lua(
    local owner, between = born("owner"), born("between")
    between:call("keep", owner:call("one"))
    local r = between:call("share")
    atoll.monitor(r, function(d) log("down", d.name) end)
    between:kill()
    atoll.sleep(1)
    log("still", r:add(1))
    owner:stop()
    atoll.sleep(1)
    log("over")
    r = nil
    clean()
  )lua");
  CHECK(v.text() == "still\t1\ndown\towner\nover\n");
  CHECK(v.left() == "");
}

TEST_CASE(
    "shell with Lua: futures that nobody awaits give back what comes, and cut nothing off when their callee dies") {
  for (const char* ending : {"", "w:kill()", "w:stop()"}) {
    const std::string doing(ending);
    CAPTURE(doing);
    lua_world v;
    v.play(std::string(R"lua(
      local w = born("w")
      w:async("many", 20)             -- collected before its answer
      clean()
      local kept = w:async("many", 20) -- answered, never awaited
      do
        local r = w:call("make")
        atoll.async(r, "slowly", 1)     -- the proxy goes while its call is open
        atoll.async(r, "slowly", 1)
        r = nil
        clean()
      end
      w:async("slowly")
      do
        local late = w:async("slowly")
        log(select(2, pcall(late.await, late, 0.2)).code)
      end
      clean()                         -- given up before its answer
      atoll.sleep(0.3)
    )lua") + ending
           + R"lua(
      atoll.sleep(3)
      log("ready", kept:done())
      kept = nil
      clean()
    )lua");
    CHECK(v.text() == "timeout\nready\ttrue\n");
    CHECK(v.left() == "");
  }
}

TEST_CASE("shell with Lua: calls in flight through references to a dying owner end with interpreter_gone, each once") {
  lua_world v;
  v.play(R"lua(
    local w = born("w")
    local r = w:call("make")
    local all = {}
    for i = 1, 5 do all[i] = atoll.async(r, "slowly", i) end
    atoll.sleep(0.5)
    w:kill()
    for i = 1, 5 do all[i + 5] = atoll.async(r, "add", i) end
    for i = 1, 10 do
      local ok, e = pcall(all[i].await, all[i])
      log(ok, e.code)
    end
    r, all = nil, nil
    clean()
  )lua");
  CHECK(v.logs.size() == 10);
  CHECK(v.logged("false\tinterpreter_gone") == 10);
  CHECK(v.left() == "");
}

TEST_CASE("shell with Lua: a proxy collected while its object arrives again takes nothing with it") {
  for (const credit_policy& credit : {tiny, ones}) {
    lua_world v(credit);
    v.play(R"lua(
      local w, other = born("w"), born("other")
      for i = 1, 40 do
        local again = w:async("one")   -- the object is on its way
        do local r = w:call("one") other:send("keep", r) end
        if i % 2 == 0 then clean() end   -- the proxy goes, its entry with it
        local r = again:await()
        if i % 3 == 0 then clean() end   -- a finalizer of the old proxy must not harm the new one
        if r:add(1) ~= i then log("lost") end
        if i % 5 == 0 then atoll.release(r) r = w:call("one") r:add(0) end
      end
      clean()
      other:call("clean")
      log(atoll.get(w:call("one"), "n"))
      clean()
    )lua");
    CHECK(v.text() == "40\n");
    CHECK(v.left() == "");
  }
}

TEST_CASE("shell with Lua: whoever dies before whichever turn, a program gets all its answers and nothing is left") {
  const std::string story = R"lua(
    local w = {born("w1"), born("w2"), born("w3")}
    for i = 1, 3 do atoll.monitor(w[i], function() log("down " .. i) end) end
    log("born")
    local function try(f, ...)
      local ok, e = pcall(f, ...)
      if ok then return e end
      if e.code ~= "interpreter_gone" then log("wrong: " .. tostring(e)) end
    end
    local function call(i, ...) return try(w[i].call, w[i], ...) end
    local r = call(1, "make")
    if r then
      atoll.monitor(r, function() log("owner down") end)
      log("monitored")
    end
    call(2, "keep", r)
    local late = {}
    if r then late[1], late[2] = try(atoll.async, r, "slowly", 1), try(atoll.async, r, "add", 1) end
    late[3] = try(w[2].async, w[2], "pass", w[3])
    call(3, "use")
    r = nil
    clean()
    call(3, "pass", w[1])
    local again = call(2, "share")
    if again then try(again.add, again, 1) end
    call(2, "clean")
    for _, f in pairs(late) do try(f.await, f) end
    again, late = nil, nil
    for i = 1, 3 do call(i, "clean") end
    clean()
    log("done")
  )lua";
  std::size_t runs = 0;
  for (const credit_policy& credit : {tiny, ones}) {
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
      CAPTURE(seed);
      for (std::size_t victim = 2; victim <= 4; ++victim) {
        for (const bool kill : {true, false}) {
          CAPTURE(victim);
          CAPTURE(kill);
          bool over = false;
          for (std::size_t when = 0; !over; ++when, ++runs) {
            CAPTURE(when);
            lua_world v(credit, seed);
            v.begin(story);
            std::size_t turns = 0;
            std::string why;
            const auto turn = [&] {
              if (v.logged("born") == 1 && turns++ == when) {
                if (kill) {
                  v.kill(interpreter_id{victim});
                } else {
                  v.stop(interpreter_id{victim});
                }
              }
              if (!v.step()) return false;
              if (why.empty()) why = v.violations();
              return true;
            };
            while (turn()) {
            }
            over = turns <= when; // everything that happens at once has been tried; a sleep or two follows
            if (over) v.kill(interpreter_id{victim});
            v.finish();
            CAPTURE(v.text());
            REQUIRE(why == "");
            REQUIRE(v.logged("done") == 1);
            REQUIRE(v.logged("down " + std::to_string(victim - 1)) == 1);
            REQUIRE(v.logged("owner down") == (victim == 2 ? v.logged("monitored") : 0));
            const std::size_t lines =
                static_cast<std::size_t>(3 + v.logged("monitored") + v.logged("owner down")); // born, down, done
            REQUIRE(v.logs.size() == lines);
            REQUIRE(v.left() == "");
          }
        }
      }
    }
  }
  CHECK(runs > 200);
}
