-- On a single worker, an interpreter inside a C function, which cannot be preempted, does not hold up the others: a spare
-- worker takes over, and the log says who it is and where.
-- options: --workers 1
-- expect: others were answered meanwhile: true
-- expect: and by two spares, when one is held up too: true
-- expect: a pattern was left to the spare: true
-- expect: nil
-- expect-error: interpreter 2 'sleeper': its turn has lasted
-- expect-error: s in os.execute, called by 'run' and cannot be preempted there: a spare worker takes over what waits
-- expect-error: in string.find or string.match, called by 'match'

local atoll = require "atoll"
local code = {code = [[return {
  run = function(command) return os.execute(command) end,
  match = function(n) return (("a"):rep(n)):find(("a*"):rep(5) .. "b") end,
  double = function(n) return 2 * n end}]]}
local first = atoll.spawn(code, {name = "sleeper"})
local second = atoll.spawn(code, {name = "second"})
local third = atoll.spawn(code, {name = "third"})

--- Whether `third` answers at least three times before all of these have: when it waits for them it does not.
local function answers_meanwhile(...)
  local held, answers = {...}, 0
  local over = atoll.all(held)
  local done = false
  atoll.task(function() over:await() done = true end)
  repeat
    third:call("double", 1)
    if not done then answers = answers + 1 end
  until done
  return answers >= 3
end

print("others were answered meanwhile: " .. tostring(answers_meanwhile(first:async("run", "sleep 1"))))
print("and by two spares, when one is held up too: "
  .. tostring(answers_meanwhile(first:async("run", "sleep 1.5"), second:async("run", "sleep 1.5"))))

-- As long a text as takes a second or so.
local n, took = 20, 0
while took < 0.3 do
  n = n + n // 4
  local start = atoll.now()
  second:call("match", n)
  took = atoll.now() - start
end
local match = second:async("match", n + n // 4)
print("a pattern was left to the spare: " .. tostring(answers_meanwhile(match)))
print(match:await())
