-- Links: who fails takes with it whom it is linked to, unless that asked to be told; who ends in order does not.
-- expect: told	w	failed	guest_error	no more
-- expect: true	true
-- expect: with it	failed	interpreter_gone
-- expect: why	interpreter 3 'db', linked to 4 'client', was killed
-- expect: client gone	interpreter_gone
-- expect: in order	stopped	running
-- expect: unlinked	true	false	running
-- expect: once	1
-- expect: both	failed	failed
-- expect: dead	interpreter_gone
-- expect: itself	invalid_argument
-- expect: main goes on
-- expect-error: it failed: no more
-- expect-error: , linked to 1 'main', was killed
-- expect-error: main goes on, as it did not ask for the link

local atoll = require "atoll"
local code = [[
  local atoll = require "atoll"
  return {
    fail = function(e) atoll.fail(e) end,
    link = function(w) atoll.link(w) end,
    unlink = function(w) return atoll.unlink(w) end,
    stop = function() atoll.stop() end,
    hello = function() return "hello" end,
  }]]
local function born(name) return atoll.spawn({code = code, chunk = "=chunk"}, {name = name}) end
local function wait_until(condition)
  for _ = 1, 2000 do
    if condition() then return true end
    atoll.sleep(0.01)
  end
  return false
end
local function gone(w) return wait_until(function() return w:state() == "gone" end) end

-- main is told, as it gave a function; the caller of what failed hears of the end
local w = born("w")
local told
assert(atoll.link(w, function(d) told = d end) == w)
local failed = w:async("fail", "no more")
local ok, e = pcall(failed.await, failed)
wait_until(function() return told end)
print("told", told.name, told.reason, told.error.code, told.error.message:match("no more"))
print(not ok and e.code == "interpreter_gone", told.error.traceback:find("chunk:3", 1, true) ~= nil)

-- a killed database takes its client along
local db, client = born("db"), born("client")
local down
atoll.monitor(client, function(d) down = d end)
client:call("link", db)
db:kill()
wait_until(function() return down end)
print("with it", down.reason, down.error.code)
print("why", down.error.message)
print("client gone", select(2, pcall(client.call, client, "hello")).code)

-- an end in order is told, and harms nobody
local a, b = born("a"), born("b")
b:call("link", a)
local how
atoll.link(a, function(d) how = d.reason end)
a:send("stop")
gone(a)
wait_until(function() return how end)
print("in order", how, b:state())

-- unlinked, from either side
local c = born("c")
b:call("link", c)
local first = b:call("unlink", c)
local second = b:call("unlink", c)
c:kill()
gone(c)
b:call("hello")
print("unlinked", first, second, b:state())

-- linked from both sides, and twice: told once
local d = born("d")
local times = 0
atoll.link(d, function() times = times + 100 end)
d:call("link", atoll.self())
atoll.link(d, function() times = times + 1 end) -- in the place of the first
d:kill()
gone(d)
atoll.sleep(0.05)
print("once", times)

-- it goes through all that hang together
local x, y, z = born("x"), born("y"), born("z")
x:call("link", y)
y:call("link", z)
local reasons = {}
atoll.monitor(x, function(e) reasons[1] = e.reason end)
atoll.monitor(z, function(e) reasons[2] = e.reason end)
y:send("fail", {code = 7})
wait_until(function() return reasons[1] and reasons[2] end)
print("both", reasons[1], reasons[2])

print("dead", select(2, pcall(atoll.link, d)).code)
print("itself", select(2, pcall(atoll.link, atoll.self())).code)

-- whoever links itself to main falls alone
local m = born("m")
m:call("link", atoll.self())
m:kill()
gone(m)
atoll.sleep(0.05)
print("main goes on")
