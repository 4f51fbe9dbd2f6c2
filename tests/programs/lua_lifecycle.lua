-- Names, states, monitors, stop, kill, and what calls to the dead say.
-- args: one 'two words'
-- expect: lua_lifecycle.lua	one	two words	two words
-- expect: running	2	w
-- expect: true	nil
-- expect: down	2	w	stopped
-- expect: gone	interpreter_gone
-- expect: down	3	k	killed
-- expect: interpreter_gone
-- expect: load_error
-- expect: true

local atoll = require "atoll"
print(arg[0], arg[1], arg[2], select(2, ...))
local w = atoll.spawn({code = "return {}"}, {name = "w"})
print(w:state(), w.id, w.name)
print(atoll.find("w") == w, atoll.find("nobody"))
local function down(d) print("down", d.id, d.name, d.reason) end
atoll.monitor(w, down)
w:stop()
atoll.sleep(0.05)
print(w:state(), select(2, pcall(w.call, w, "f")).code)
local k = atoll.spawn({code = "return {hang = function() while true do end end}"}, {name = "k"})
atoll.monitor(k, down)
local f = k:async("hang")
atoll.sleep(0.02)
k:kill()
local _, e = pcall(f.await, f, 5)
atoll.sleep(0.05)
print(e.code)
print(select(2, pcall(atoll.spawn, "no_such_file.lua")).code)
print(atoll.stats().interpreters >= 1)
