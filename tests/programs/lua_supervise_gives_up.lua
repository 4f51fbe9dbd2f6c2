-- A supervisor that gives up stops its children and fails; main, linked to it, ends the program with its error.
-- expect: started
-- expect: b stops
-- expect-error: child 'a' failed: chunk:2: broken; it is started again (1 of 2 restarts within 60 s)
-- expect-error: child 'a' failed: chunk:2: broken; it is started again (2 of 2 restarts within 60 s)
-- expect-error: gave up: child 'a' failed: chunk:2: broken, and 2 restarts within 60 s are the limit
-- expect-error: linked to 1 'main', failed
-- expect-status: 1

local atoll = require "atoll"
local s = atoll.supervise{
  strategy = "one_for_one", intensity = 2, period = 60,
  children = {
    {name = "a", source = {chunk = "=chunk", code = [[
      local atoll = require "atoll"
      atoll.after(0.02, function() local _, e = pcall(function() error("broken") end) atoll.fail(e) end)]]}},
    {name = "b", source = {code = "require('atoll').at_exit(function() print('b stops') end)"}},
  },
}
atoll.link(s)
print("started")
atoll.sleep(60)
