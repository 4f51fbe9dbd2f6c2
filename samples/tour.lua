-- A tour of Atoll: interpreters, calls, references, letting go, and an orderly end.
local atoll = require "atoll"

-- An interpreter is an actor with a heap of its own. What its chunk returns is what others can call.
local bank = atoll.spawn({code = [[
  local atoll = require "atoll"
  local Account = {__atoll = "ref"}               -- instances cross by reference, not as copies
  Account.__index = Account
  function Account:deposit(n) self.balance = self.balance + n; return self.balance end
  function Account:name() return self.owner end
  return {
    open = function(owner) return setmetatable({owner = owner, balance = 0}, Account) end,
    held = function() return atoll.self():stats().exports end,   -- objects that others hold
    slow = function(n) local x = 0; for i = 1, n do x = x + i % 7 end; return x end,
  }
]]}, {name = "bank"})

print("1. a call is a message: " .. bank:call("slow", 1000))

-- Objects stay in their owner's heap; here is a reference. Its methods run over there, in the owner's turn.
local account = bank:call("open", "alice")
account:deposit(40)
print("2. " .. account:name() .. " has " .. account:deposit(2))
print("   the same object is the same reference: " .. tostring(rawequal(account, account)))

-- References travel: a worker gets one, uses it, and lets go of it.
local worker = atoll.spawn({code = [[
  return {earn = function(account, times)
    for _ = 1, times do account:deposit(1) end
    return account                                -- and gives it back
  end}
]]}, {name = "worker"})
local same = worker:call("earn", account, 8)
print("3. after the worker's eight: " .. account:deposit(0) .. ", back as itself: " .. tostring(rawequal(same, account)))

-- Many calls at once: futures.
local futures = {}
for i = 1, 4 do futures[i] = bank:async("slow", 10000 * i) end
local done = 0
for _, f in ipairs(futures) do f:await(); done = done + 1 end
print("4. " .. done .. " answers came")

-- What cannot cross is refused by name, and an error over there is an error here.
local ok, why = pcall(bank.call, bank, "open", {on_change = print})
print("5. " .. tostring(why))
ok, why = pcall(bank.call, bank, "close")
print("   " .. tostring(why) .. " (" .. why.code .. ")")

-- A thousand references, and then none: letting go is a message too, a busy owner gets it when it has time.
local accounts = {}
for i = 1, 1000 do accounts[i] = bank:call("open", "nr " .. i) end
print("6. the bank's objects held from outside: " .. bank:call("held"))
accounts, account, same = nil, nil, nil
collectgarbage()
worker:eval("collectgarbage()")
while bank:call("held") > 0 do atoll.sleep(0.001) end
print("   and after letting go: " .. bank:call("held"))

-- An interpreter that dies harms nobody; who watches it is told.
local gone = false
atoll.monitor(worker, function(down) gone = true; print("7. " .. down.name .. " is down: " .. down.reason) end)
worker:kill()
while not gone do atoll.sleep(0.001) end
print("   calling it now: " .. select(2, pcall(worker.call, worker, "earn", 1)).code)

-- The end: exit handlers run while every peer is alive, then the supervisor brings all down and reports.
atoll.at_exit(function() print("8. goodbye from main; the bank still answers: " .. bank:call("slow", 10)) end)
