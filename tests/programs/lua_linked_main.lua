-- A link that main asked for, without a function: the program ends as main does, failed.
-- expect: linked
-- expect: exit handler
-- expect-error: interpreter 2 'w', linked to 1 'main', failed
-- expect-error: out of paper
-- expect-status: 1

local atoll = require "atoll"
local w = atoll.spawn({code = [[
  local atoll = require "atoll"
  atoll.at_exit(function() print("never: it failed") end)
  return {f = function() atoll.fail("out of paper") end}]]}, {name = "w"})
local other = atoll.spawn{code = "require('atoll').at_exit(function() print('exit handler') end)"}
atoll.link(w)
print("linked")
w:send("f")
atoll.sleep(60)
print("not reached")
