-- The order of a whole run, as CPython's test of multiprocessing's finalizers has it: the dead, the called, then by priority
-- with the newest first among equals; what has no priority never. An object that others hold dies when they let go.
-- expect: a
-- expect: b
-- expect: held by a peer
-- expect: let go
-- expect: home	table
-- expect: handler
-- expect: d10
-- expect: made on the way
-- expect: d03
-- expect: d02
-- expect: d01
-- expect: e
-- expect: f

local atoll = require "atoll"
local function says(text, o, priority) return atoll.finalizer(o, function() print(text) end, {priority = priority}) end

local a = {}
says("a", a)
a = nil
collectgarbage()

local b = {}
local close_b = says("b", b)
close_b:run()
close_b:run()
b = nil
collectgarbage()

local peer = atoll.spawn{code = [[
  local atoll = require "atoll"
  local held
  return {
    keep = function(r) held = r end,
    let_go = function() atoll.release(held) end,
    sync = function() end,
  }
]]}
local o = {}
atoll.finalizer(o, function(x) print("home", type(x)) end, {priority = 5})
peer:call("keep", atoll.ref(o))
o = nil
collectgarbage()
print("held by a peer")
peer:call("let_go")
peer:call("sync") -- the release came before this answer
print("let go")
collectgarbage()

c, d10, d01, d02, d03 = {}, {}, {}, {}, {}
says("c", c)
says("d10", d10, 1)
says("d01", d01, 0)
says("d02", d02, 0)
says("d03", d03, 0)
says("e", nil, -10)
says("f", nil, -11)
atoll.finalizer(d10, function() says("made on the way", nil, 0) end, {priority = 0})
atoll.at_exit(function() print("handler") end)
