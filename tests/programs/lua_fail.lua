-- atoll.fail ends an interpreter with an error; atoll.stop ends it in order; neither returns.
-- expect: spawn	guest_error	chunk:1: bad start
-- expect: value	42
-- expect: keeps	unknown_function
-- expect: stopped	exit handler ran
-- expect: no argument	true
-- expect-error: it failed: (error object is a table value)
-- expect-error: chunk:

local atoll = require "atoll"
local function born(code, name) return atoll.spawn({code = "local atoll = require 'atoll' " .. code, chunk = "=chunk"}, {name = name}) end
local e = select(2, pcall(born, "local f = function() error('bad start') end local _, e = pcall(f) atoll.fail(e)"))
print("spawn", e.code, e.message)

local channel = atoll.channel(2)
local w = born("return {f = function() pcall(atoll.fail, {n = 42}) while true do end end}", "w")
atoll.monitor(w, function(d) channel:send(d.error) end)
w:send("f")
print("value", channel:recv().value.n)

-- an error that came from a call keeps what it says
local v = born("return {f = function(w) local _, e = pcall(w.call, w, 'nothing') atoll.fail(e) end}", "v")
local helper = born("return {}")
atoll.monitor(v, function(d) channel:send(d.error) end)
v:send("f", helper)
print("keeps", channel:recv().code)

local s = born("local c = ... return {f = function(c) atoll.at_exit(function() c:send('exit handler ran') end) atoll.stop() end}")
atoll.monitor(s, function(d) channel:send(d.reason) end)
s:call("f", channel)
local one, two = channel:recv(), channel:recv()
if one ~= "stopped" then one, two = two, one end
print(one, two)
print("no argument", not pcall(atoll.fail))
