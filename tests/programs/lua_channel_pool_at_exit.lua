-- Workers that wait for more when the program ends: nobody is told of an error.
-- options: --strict
-- expect: 3
local atoll = require "atoll"
local jobs, done = atoll.channel(4), atoll.channel(4)
for _ = 1, 2 do
  atoll.spawn({code = [[
    local jobs, done = ...
    return {run = function() for job in jobs:items() do done:send(job + 1) end end}
  ]]}, {args = {jobs, done}}):send("run")
end
jobs:send(2)
print((done:recv()))
