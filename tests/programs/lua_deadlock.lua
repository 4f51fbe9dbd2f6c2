-- Interpreters that wait for each other's answers: told with file and line, and the status says so.
-- expect-status: 5
-- expect-error: atoll: deadlock: these wait for each other, and nothing else can happen:
-- expect-error:   interpreter 1 'main' (its program, lua_deadlock.lua:18) waits for an answer of interpreter 2 'a'
-- expect-error:   interpreter 2 'a' ('get', a.lua:2) waits for an answer of interpreter 3 'b'
-- expect-error:   interpreter 3 'b' ('get', b.lua:2) waits for an answer of interpreter 1 'main'
-- expect-error: and these wait, too:
-- expect-error:   interpreter 1 'main' ('get') waits for its program to return
local atoll = require "atoll"

local code = [[
  return {get = function(next, ...)
    return next:call("get", ...)
  end}]]
local a = atoll.spawn({code = code, chunk = "@a.lua"}, {name = "a"})
local b = atoll.spawn({code = code, chunk = "@b.lua"}, {name = "b"})
-- Main's functions can be called when its chunk has returned.
print(a:call("get", b, atoll.self()))
