-- A supervisor in Lua: restarts, names, references to what is gone, requests, errors, the end.
-- expect: supervisor	running	3
-- expect: count	1	2
-- expect: gone	interpreter_gone
-- expect: again	true	1
-- expect: restarts	1	failed
-- expect: args	7	true
-- expect: extra	true	running
-- expect: stopped	true	gone	nil
-- expect: restarted	true
-- expect: tree	true
-- expect: error	load_error	true
-- expect: field	supervise: children[1]: child 'x': restart: wanted one of "permanent", "transient", "temporary", got string "sometimes"
-- expect: path	not shareable: supervise.children[1].args[1] is a function; pass atoll.ref(f)
-- expect: order	c b a
-- expect: end	gone	nil
-- expect-error: child 'counter' failed: chunk
-- expect-error: it is started again (1 of 3 restarts within 5 s)

local atoll = require "atoll"
local function wait_until(condition)
  for _ = 1, 2000 do
    local v = condition()
    if v then return v end
    atoll.sleep(0.01)
  end
end
local counter = {chunk = "=chunk", code = [[
  local atoll = require "atoll"
  local Count = {__atoll = "ref", __name = "Count"}
  Count.__index = Count
  function Count:up() self.n = self.n + 1 return self.n end
  local start, channel = ...
  return {
    make = function() return setmetatable({n = 0}, Count) end,
    crash = function() atoll.fail(debug.getinfo(1).short_src .. " crashed") end,
    start = function() return start, channel end,
  }]]}
local channel = atoll.channel(16)
local s = atoll.supervise{
  name = "top",
  children = {
    {name = "counter", source = counter, args = {7, channel}},
    {name = "job", source = {code = "return {}"}, restart = "transient", memory = 4 << 20},
    {name = "inner", supervise = {strategy = "one_for_all", children = {
      {name = "x", source = {code = "return {}"}},
      {name = "y", source = {code = "return {}"}},
    }}},
  },
}
print("supervisor", s:state(), #s:children())

local w = atoll.find("counter")
local n = w:call("make")
print("count", n:up(), n:up())
w:send("crash")
wait_until(function() return w:state() == "gone" end)
print("gone", select(2, pcall(n.up, n)).code)
local again = wait_until(function() return atoll.find("counter") end)
print("again", again ~= w, again:call("make"):up())
local c = wait_until(function() local c = s:children()[1] return c.state == "running" and c end)
print("restarts", c.restarts, c.reason)
local start, same = again:call("start")
print("args", start, same == channel)

local extra = s:start_child{name = "extra", source = {code = "return {}"}}
print("extra", extra == atoll.find("extra"), extra:state())
print("stopped", s:stop_child("extra"), extra:state(), atoll.find("extra"))
print("restarted", s:restart_child("extra") == atoll.find("extra"))

-- killing the inner supervisor takes its children along; the names come back
local x = atoll.find("x")
atoll.find("inner"):kill()
wait_until(function() return x:state() == "gone" end)
print("tree", wait_until(function() return atoll.find("x") and atoll.find("y") and true end))

local ok, e = pcall(atoll.supervise, {children = {{name = "bad", source = {code = "syntax error"}}}})
print("error", e.code, e.message:find("child 'bad' did not start: ", 1, true) ~= nil)
e = select(2, pcall(atoll.supervise, {children = {{name = "x", source = "x.lua", restart = "sometimes"}}}))
print("field", e.message)
e = select(2, pcall(atoll.supervise, {children = {{name = "f", source = "x.lua", args = {print}}}}))
print("path", e.message)

local code = "local atoll = require 'atoll' local name, c = ... atoll.at_exit(function() c:send(name) end)"
local order = atoll.channel{capacity = 16, stay_open = true} -- each sender ends behind its item
local children = {}
for i, name in ipairs{"a", "b", "c"} do children[i] = {name = name, source = {code = code}, args = {name, order}} end
local ordered = atoll.supervise{children = children}
ordered:stop()
print("order", order:recv() .. " " .. order:recv() .. " " .. order:recv())
s:stop()
print("end", s:state(), atoll.find("counter"))
