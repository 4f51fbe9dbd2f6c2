-- atoll.select waits for the first of several things: an item, room for one, a result, a time.
local atoll = require "atoll"

local worker = atoll.spawn({code = [[
  local atoll = require "atoll"
  return {
    count = function(out, n) for i = 1, n do out:send(i) end out:close() end,
    think = function(s) atoll.sleep(s) return "an answer" end,
  }]]}, {name = "worker"})

local numbers, results = atoll.channel(), atoll.channel()
worker:send("count", numbers, 3)
local answer = worker:async("think", 0.05)

-- Whatever comes first: the case's number, then what it gives. A case that is nil is passed over.
local done = 0
while done < 2 do
  local i, value, ok = atoll.select{
    {numbers, "recv"},
    {answer, "await"},
    timeout = 10,
  }
  if i == 1 and ok == true then
    results:send(value * 10)
  elseif i == 1 then
    numbers = nil -- closed: from now on the case is disabled
    done = done + 1
  elseif i == 2 then
    print(value)
    answer = nil
    done = done + 1
  end
end
print(results:recv(), results:recv(), (results:recv()))

-- Exactly one case takes effect, also when several could.
local left, right = atoll.channel(1), atoll.channel(1)
atoll.select{{left, "send", "once"}, {right, "send", "once"}}
print("items", #left + #right)

-- Times: a timer is a case, the timeout is none.
print("timer", atoll.select{{atoll.channel(), "recv"}, {0.01, "after"}})
print("timeout", atoll.select{{atoll.channel(), "recv"}, timeout = 0.01})
