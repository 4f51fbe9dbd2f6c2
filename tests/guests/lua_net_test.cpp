// Connections as Lua sees them: reading in pieces, writing under pressure, passing them on.
#include <doctest/doctest.h>

#include "tests/guests/lua_programs.hpp"

using namespace Atoll;
using testing::fake_interpreter;
using testing::fake_world;
using testing::lines;

namespace {

const char* const head = "local atoll = require 'atoll'; log = atoll.log.info; ";

void accept(fake_interpreter& who) {
  outcome o;
  o.what = outcome::kind::accepted;
  o.connection = 7;
  o.name = "10.0.0.1:5";
  who.program->resume(who.listener_token, o);
}

void data(fake_interpreter& who, std::string_view bytes) {
  outcome o;
  o.what = outcome::kind::data;
  o.bytes = bytes;
  who.program->resume(who.connection_token, o);
}

void event(fake_interpreter& who, outcome::kind what, std::string_view reason = {}) {
  outcome o;
  o.what = what;
  o.reason = reason;
  who.program->resume(who.connection_token, o);
}

} // namespace

TEST_CASE("reads give what arrived, counts, and lines, however the bytes are cut") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    local l = atoll.net.listen("127.0.0.1:0", function(c)
      log(c.peer, c:read())
      log(c:read("line"), c:read("line"), c:read("line"))
      log(c:read(3), c:read(2))
      log(c:read(100))
      log(c:read(), c:read("line"))
    end)
    log(l.address)
  )lua");
  CHECK(main.program->waiting());
  accept(main);
  data(main, "ab");
  for (const char c : std::string("one\r\n\ntwo\nxyzuv")) data(main, {&c, 1});
  data(main, "left over");
  event(main, outcome::kind::closed);
  CHECK(lines(main) == "127.0.0.1:0\n10.0.0.1:5\tab\none\t\ttwo\nxyz\tuv\nleft over\nnil\tnil\n");
  CHECK(main.consumed_bytes == 26);
}

TEST_CASE("a connection that breaks gives nil and the reason, one task reads at a time") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    atoll.net.listen("x", function(c)
      atoll.task(function() log(pcall(c.read, c)) end)
      log(c:read())
      log(c:write("late"))
      c:close()
      log(c:read())
    end)
    log(pcall(atoll.net.listen, "bad", print))
  )lua");
  accept(main);
  event(main, outcome::kind::closed, "reset by peer");
  CHECK(main.logged[0] == "false\tcannot listen on bad");
  CHECK(main.logged[1].find("another task reads") != std::string::npos);
  CHECK(main.logged[2] == "nil\treset by peer");
  CHECK(main.logged[3] == "nil\treset by peer");
  CHECK(main.logged[4] == "nil\tconnection closed");
}

TEST_CASE("a write waits until the bytes are out when they pile up") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    atoll.net.listen("x", function(c)
      log(c:write("a", 1, "b"))
      log(c:write("c"))
    end)
  )lua");
  main.write_room = false;
  accept(main);
  CHECK(main.written == "a1b");
  event(main, outcome::kind::drained);
  CHECK(main.written == "a1bc");
  event(main, outcome::kind::drained);
  CHECK(lines(main) == "true\ntrue\n");
}

TEST_CASE("a fresh connection moves to the interpreter it is sent to, one in use does not") {
  fake_world world(make_lua_guest);
  auto& main = world.run(std::string(head) + R"lua(
    local w = atoll.spawn{code = "local atoll = require 'atoll'; return {serve = function(c) local l <close> = c; atoll.log.info(c:read()) end}"}
    atoll.net.listen("x", function(c)
      w:send("serve", c)
      log(select(2, pcall(c.read, c)).code)
      log(select(2, pcall(w.send, w, "serve", c)).message)
    end)
  )lua");
  accept(main);
  world.settle();
  CHECK(lines(main) == "connection_closed\nnot shareable: argument 1 is a connection that was passed on already\n");
  data(world[2], "hello");
  CHECK(lines(world[2]) == "hello\n");
  CHECK(world[2].connections_closed == 1);
  CHECK(main.connections_closed == 0);
}
