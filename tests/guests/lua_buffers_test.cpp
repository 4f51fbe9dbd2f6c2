// Buffers as Lua programs see them.
#include <doctest/doctest.h>

#include "channels/buffer_space.hpp"
#include "tests/guests/lua_programs.hpp"

using namespace Atoll;
using testing::fake_world;
using testing::logged;

TEST_CASE("a buffer is zeroed bytes or a string's, read and written from 1") {
  CHECK(logged(R"lua(
    local b = atoll.buffer(5)
    log(b:len(), #b, b:read() == ("\0"):rep(5))
    b:write(2, "abc")
    log(b:read(2, 3), b:read(3, 2), #b:read(6), b:read(1, 0) == "")
    local s = atoll.buffer("a\0b")
    log(#s, s:read() == "a\0b", atoll.buffer(""):len())
  )lua") == "5\t5\ttrue\nabc\tbc\t0\ttrue\n3\ttrue\t0\n");
}

TEST_CASE("a buffer's errors name it, its owner and the range") {
  CHECK(
      logged(R"lua(
    local b = atoll.buffer(10)
    local function try(f, ...) local ok, e = pcall(f, ...); log(ok, e.code or "-", tostring(e)) end
    try(b.read, b, 8, 4)
    try(b.read, b, 0, 1)
    try(b.read, b, 12)
    try(b.read, b, math.maxinteger, 5)
    try(b.read, b, 1, math.maxinteger)
    try(b.write, b, 10, "xy")
    try(b.write, b:readonly(), 1, "x")
    try(b.slice, b, 5, 7)
    b:release()
    try(b.read, b)
    log(tostring(b))
  )lua")
      == "false\tinvalid_argument\tbuffer 1 of interpreter 1 'main': 4 bytes from 8 on are out of range: it has 10 (1 "
         "to 10)\n"
         "false\tinvalid_argument\tbuffer 1 of interpreter 1 'main': 1 bytes from 0 on are out of range: it has 10 (1 "
         "to 10)\n"
         "false\tinvalid_argument\tbuffer 1 of interpreter 1 'main': position 12 is out of range: it has 10 (1 to 10)\n"
         "false\tinvalid_argument\tbuffer 1 of interpreter 1 'main': 5 bytes from 9223372036854775807 on are out of "
         "range: it has 10 (1 to 10)\n"
         "false\tinvalid_argument\tbuffer 1 of interpreter 1 'main': 9223372036854775807 bytes from 1 on are out of "
         "range: it has 10 (1 to 10)\n"
         "false\tinvalid_argument\tbuffer 1 of interpreter 1 'main': 2 bytes from 10 on are out of range: it has 10 (1 "
         "to 10)\n"
         "false\tread_only\tbuffer 1 of interpreter 1 'main' may only be read here\n"
         "false\tinvalid_argument\tbuffer 1 of interpreter 1 'main': 7 bytes from 5 on are out of range: it has 10 (1 "
         "to 10)\n"
         "false\treference_released\tthe buffer was released\n"
         "buffer (released)\n");
}

TEST_CASE("wrong arguments of a buffer's functions are refused as any") {
  CHECK(logged(R"lua(
    local function try(f, ...) local _, e = pcall(f, ...); log((tostring(e):gsub("^.-: ", ""))) end
    try(atoll.buffer, -1)
    try(atoll.buffer, {})
    try(atoll.buffer, 1.5)
    local b = atoll.buffer(3)
    try(function() b:read(1, -2) end)
    try(function() b:write(1) end)
    try(function() b.len({}) end)
    try(atoll.move, "x")
    log(pcall(function() b.x = 1 end) == false, b.nothing)
  )lua")
        == "bad argument #1 to 'atoll.buffer' (a string, or a size of 0 or more bytes expected)\n"
           "bad argument #1 to 'atoll.buffer' (number expected, got table)\n"
           "bad argument #1 to 'atoll.buffer' (number has no integer representation)\n"
           "bad argument #2 to 'read' (a count of 0 or more expected)\n"
           "bad argument #2 to 'write' (string expected, got no value)\n"
           "bad argument #1 to 'len' (buffer expected, got table)\n"
           "bad argument #1 to 'atoll.move' (buffer expected, got string)\n"
           "true\tnil\n");
}

TEST_CASE("a receiver of a buffer sees the same bytes, and writes them if it may") {
  CHECK(logged(R"lua(
    local w = atoll.spawn({code = [[
      local kept
      return {keep = function(b) kept = b; return b end, read = function() return kept:read() end,
              write = function(i, s) kept:write(i, s) end, text = function() return tostring(kept) end}]]}, {name = "w"})
    local b = atoll.buffer("hello world")
    local back = w:call("keep", b)
    log(back == b, back:read(), rawequal(back, b))
    b:write(1, "HELLO")
    log(w:call("read"))
    w:call("write", 7, "WORLD")
    log(b:read(), back:read(7))
    log(w:call("text"))
    w:call("keep", b:slice(7, 5))
    log(w:call("read"), w:call("text"), b == b:slice(1, 11), b == b:slice(1, 3), b == 1)
    w:call("keep", b:readonly())
    local _, e = pcall(w.call, w, "write", 1, "x")
    log(e.code, e.message)
    log(w:call("text"))
  )lua")
        == "true\thello world\tfalse\nHELLO world\nHELLO WORLD\tWORLD\n"
           "buffer 1 of interpreter 1 'main': 11 bytes\n"
           "WORLD\tbuffer 1 of interpreter 1 'main': 5 bytes from 7 on\ttrue\tfalse\tfalse\n"
           "read_only\tbuffer 1 of interpreter 1 'main' may only be read here\n"
           "buffer 1 of interpreter 1 'main': 11 bytes, read-only\n");
}

TEST_CASE("a moved buffer is its receiver's, and every handle of the sender's says so") {
  CHECK(logged(R"lua(
    local w = atoll.spawn({code = [[
      local atoll = require "atoll"
      local kept
      return {keep = function(b) kept = b; return tostring(b) end, read = function() return kept:read() end,
              again = function() return atoll.move(kept) end}]]}, {name = "w"})
    local b = atoll.buffer("data")
    local part = b:slice(1, 2)
    local moving = atoll.move(b)
    log(b:read())                          -- nothing has happened before it is sent
    log(w:call("keep", moving))
    local function try(f, ...) local ok, e = pcall(f, ...); log(ok, e.code, e.message) end
    for _, old in ipairs{b, part, moving} do try(old.read, old) end
    try(b.write, b, 1, "x")
    try(b.len, b)
    try(atoll.move, b)
    try(w.call, w, "keep", {b})
    log(tostring(b), w:call("read"))
    local mine = w:call("again")
    log(mine:read(), tostring(mine))
    try(w.call, w, "read")
  )lua")
        == "data\nbuffer 1 of interpreter 2 'w': 4 bytes\n"
           "false\tbuffer_moved\tbuffer 1 was moved: it belongs to its receiver now\n"
           "false\tbuffer_moved\tbuffer 1 was moved: it belongs to its receiver now\n"
           "false\tbuffer_moved\tbuffer 1 was moved: it belongs to its receiver now\n"
           "false\tbuffer_moved\tbuffer 1 was moved: it belongs to its receiver now\n"
           "false\tbuffer_moved\tbuffer 1 was moved: it belongs to its receiver now\n"
           "false\tbuffer_moved\tbuffer 1 was moved: it belongs to its receiver now\n"
           "false\tbuffer_moved\targument 1[1] is a buffer that cannot cross: buffer 1 was moved: it belongs to its "
           "receiver now\n"
           "buffer 1 of interpreter 2 'w': 4 bytes, moved\tdata\n"
           "data\tbuffer 1 of interpreter 1 'main': 4 bytes\n"
           "false\tbuffer_moved\tbuffer 1 was moved: it belongs to its receiver now\n");
}

TEST_CASE("only the owner moves a buffer, and only the whole of it") {
  CHECK(
      logged(R"lua(
    local w = atoll.spawn{code = [[
      local atoll = require "atoll"
      return {steal = function(b) return atoll.move(b) end}]]}
    local b = atoll.buffer(4)
    local function try(f, ...) local _, e = pcall(f, ...); log(e.code, e.message) end
    try(w.call, w, "steal", b)
    try(atoll.move, b:slice(1, 3))
    try(atoll.move, b:readonly())
    try(w.call, w, "steal", atoll.move(b), b)
    log(#b)
  )lua")
      == "not_shareable\tbuffer 1 of interpreter 1 'main': only its owner can move it\n"
         "not_shareable\tbuffer 1 of interpreter 1 'main': a slice cannot be moved; move the whole buffer\n"
         "not_shareable\tbuffer 1 of interpreter 1 'main': a read-only handle cannot be moved; move the buffer it "
         "was made of\n"
         "buffer_moved\targument 2 is a buffer that cannot cross: buffer 1 was moved: it belongs to its receiver now\n"
         "4\n");
}

TEST_CASE("a message that is refused leaves its buffers where they were") {
  fake_world world(make_lua_guest);
  auto& main = world.run(R"lua(
    local atoll = require "atoll"; local log = atoll.log.info
    local w = atoll.spawn{code = "return {f = function() end}"}
    local b = atoll.buffer(100)
    local ok, e = pcall(w.call, w, "f", b, atoll.move(b), print)
    log(ok, e.code, #b, e.message)
  )lua");
  CHECK(testing::lines(main)
        == "false\tnot_shareable\t100\tnot shareable: argument 3 is a function; pass atoll.ref(f)\n");
  CHECK(world.buffers().in_flight() == 0);
}

TEST_CASE("buffers nobody holds any more are freed, also without a word from the collector") {
  fake_world world(make_lua_guest);
  auto& main = world.run(R"lua(
    local atoll = require "atoll"; local log = atoll.log.info
    for _ = 1, 1000 do atoll.buffer(100000):write(1, "x") end     -- 100 MB, of which 1 MB fits
    local ok, e = pcall(atoll.buffer, 2 << 20)
    log(ok, e.code, (e.message:gsub(": %d+ of", ": N of")))
    do local b <close> = atoll.buffer(500000) end
    do local b <close> = atoll.buffer(500000) end
    collectgarbage("stop")
    for _ = 1, 20 do atoll.buffer(300000) end                     -- the limit asks for a collection all the same
  )lua",
                         1 << 20);
  CHECK(testing::lines(main)
        == "false\tout_of_memory\ta buffer of 2097152 bytes does not fit into the memory of interpreter 1 'main': N of "
           "1048576 bytes are in use\n");
  CHECK(world.buffers().blocks() < 5);
}

TEST_CASE("a buffer that moves counts against its receiver's limit, and a refused one is still the sender's") {
  CHECK(logged(R"lua(
    local w = atoll.spawn({code = "local kept = {}; return {keep = function(b) kept[#kept + 1] = b end}"},
                          {name = "w", memory = 1 << 20})
    local b = atoll.buffer(2 << 20)
    b:write(1, "mine")
    local ok, e = pcall(w.call, w, "keep", atoll.move(b))
    log(ok, e.code, (e.message:gsub(": %d+ of", ": N of")))
    log(b:read(1, 4))
    w:call("keep", b)                              -- to look at costs nothing
    local small = atoll.buffer(1000)
    w:call("keep", atoll.move(small))
    log(pcall(small.len, small))
  )lua")
        == "false\tout_of_memory\tbuffer 1 of 2097152 bytes does not fit into the memory of interpreter 2 'w': N of "
           "1048576 bytes are in use\n"
           "mine\n"
           "false\tbuffer 2 was moved: it belongs to its receiver now\n");
}

TEST_CASE("a state that is killed or closed lets go of its buffers") {
  fake_world world(make_lua_guest);
  world.run(R"lua(
    local atoll = require "atoll"
    local hold = {code = "local kept; return {keep = function(b) kept = b end}"}
    local killed, stopped = atoll.spawn(hold), atoll.spawn(hold)
    local b = atoll.buffer(1000)
    killed:call("keep", b)
    stopped:call("keep", b:slice(1, 10))
    b:release()
    collectgarbage()
    killed:kill()
  )lua");
  CHECK(world.buffers().blocks() == 1);
  world[2].program.reset();
  CHECK(world.buffers().blocks() == 1);
  world[3].program->close();
  world.settle();
  CHECK(world.buffers().blocks() == 0);
}

TEST_CASE("a buffer in an error value cannot cross, and is left out") {
  CHECK(logged(R"lua(
    local w = atoll.spawn{code = "local atoll = require 'atoll'; return {f = function() error({b = atoll.buffer(3)}) end}"}
    local _, e = pcall(w.call, w, "f")
    log(e.code)
  )lua") == "guest_error\n");
}

TEST_CASE("a message that brings a buffer to a state without memory for it loses nothing") {
  fake_world world(make_lua_guest);
  auto& main = world.run(R"lua(
    local atoll = require "atoll"; local log = atoll.log.info
    local w = atoll.spawn({code = "local t = {}; return {keep = function(...) t[#t + 1] = {...} end}"}, {memory = 100000})
    local b = atoll.buffer(10)
    local many = {}
    for i = 1, 3000 do many[i] = b:slice(1, 1) end
    local ok, e = pcall(w.call, w, "keep", many)
    log(ok, e.code)
  )lua");
  CHECK(testing::lines(main) == "false\tout_of_memory\n");
  CHECK(world.buffers().in_flight() == 0);
}
