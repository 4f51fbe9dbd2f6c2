-- What a program is told when it asks for the wrong thing: the function, the argument, the interpreter, the option.
-- expect: bad argument #1 to 'spawn' (path or table expected, got no value)
-- expect: bad argument #1 to 'spawn' (there is no option 'cod', but code, file, chunk)
-- expect: bad argument #2 to 'spawn' (there is no option 'nmae', but name, args, memory, language, message_cpu, call_time, time_slice, high_water, interpreters, call_depth)
-- expect: bad argument #2 to 'spawn' (memory must be a number of bytes)
-- expect: bad argument #2 to 'spawn' (args must be a table, not a number)
-- expect: bad argument #3 to 'finalizer' (priority must be a whole number)
-- expect: bad argument #1 to 'monitor' (interpreter or reference expected, got number)
-- expect: bad argument #1 to 'send' (interpreter or reference expected, got nil)
-- expect: bad argument #1 to 'ref' (table, function, userdata or coroutine expected, got number)
-- expect: bad argument #1 to 'all' (entry 2 is a number, not a future)
-- expect: bad argument #1 to 'any' (no futures in it: it would wait for ever)
-- expect: interpreter 2 'w'	reference to table 0 of interpreter 2 'w'
-- expect: interpreter 2 'w' has no function 'nope'
-- expect: an interpreter named 'w' is running already
-- expect: interpreter 2 'w' is gone
-- expect: interpreter 2 'w' is gone, and table 0 with it
-- expect: 2	w	gone
-- expect-error: atoll: error: interpreter 1 'main': in a timer: lua_messages.lua:53: late
-- expect-error: atoll: warning: interpreter 1 'main': an error that nobody awaited: lua_messages.lua:54: unseen
-- expect-error: atoll: error: interpreter 1 'main': in an exit handler: lua_messages.lua:55: at the end

local atoll = require "atoll"

local function says(f, ...)
  local _, e = pcall(f, ...)
  print((tostring(e):gsub("^[^:]+:%d+: ", "")))
end

local w = atoll.spawn({code = "return {o = function() return require'atoll'.ref({}) end}"}, {name = "w"})
local r = w:call("o")
says(function() return (atoll.spawn()) end)
says(function() return (atoll.spawn{cod = ""}) end)
says(function() return (atoll.spawn({code = ""}, {nmae = "x"})) end)
says(function() return (atoll.spawn({code = ""}, {memory = "x"})) end)
says(function() return (atoll.spawn({code = ""}, {args = 5})) end)
says(function() return (atoll.finalizer({}, print, {priority = "x"})) end)
says(function() return (atoll.monitor(5, print)) end)
says(function() return (atoll.send(nil, "f")) end)
says(function() return (atoll.ref(5)) end)
says(function() return (atoll.all{atoll.task(function() end), 5}) end)
says(function() return (atoll.any{}) end)
print(w, r)
says(w.call, w, "nope")
says(atoll.spawn, {code = ""}, {name = "w"})
w:stop()
says(w.call, w, "o")
says(r.anything, r)
atoll.monitor(w, function(down) print(down.id, down.name, down.reason) end)
atoll.sleep(0.02)

-- Errors in callbacks name their interpreter once.
atoll.after(0, function() error("late") end)
kept = atoll.task(function() error("unseen") end) -- one collected before it fails is told as an error in a task
atoll.at_exit(function() error("at the end") end)
