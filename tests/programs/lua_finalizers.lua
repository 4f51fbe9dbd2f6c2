-- Finalizers of a whole run: by the rank of their priorities, while peers live and after, with failures reported.
-- expect: dropped
-- expect: by hand
-- expect: main exits
-- expect: high	answer
-- expect: made during the run
-- expect: newer
-- expect: older
-- expect: a handler late for its turn is refused	runtime_finalizing
-- expect: below zero	reference_released
-- expect: last
-- expect-error: in a finalizer: lua_finalizers.lua:
-- expect-error: told to fail
-- expect-error: stack traceback:
-- expect-error: lua_finalizers.lua:29: in function

local atoll = require "atoll"
local peer = atoll.spawn({code = [[
  local atoll = require "atoll"
  return {
    f = function() return "answer" end,
    object = function() return atoll.ref({}) end,
    -- Its own exit handlers have run before main's: it started later.
    late = function() return select(2, pcall(atoll.at_exit, print)).code end,
  }
]]}, {name = "peer"})
local object = peer:call("object")
local function says(text, o, priority) return atoll.finalizer(o, function() print(text) end, {priority = priority}) end
local function deep() error("told to fail") end

local a = {}
says("dropped", a, 3)
a = nil
collectgarbage()
local b = says("by hand", nil, 3)
b:run()
b:run()

kept = {}
says("never", kept)
atoll.finalizer(nil, function()
  local ok, e = pcall(function() return object:anything() end)
  print("below zero", e.code)
end, {priority = -1})
says("last", nil, -2)
atoll.finalizer(nil, deep, {priority = -1})
atoll.finalizer(nil, function()
  print("a handler late for its turn is refused", peer:call("late"))
end, {priority = 0})
says("older", kept, 1)
says("newer", kept, 1)
atoll.finalizer(nil, function()
  print("high", peer:call("f"))
  says("made during the run", nil, 2)
end, {priority = 10})
atoll.at_exit(function() print("main exits") end)
