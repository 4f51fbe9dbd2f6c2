-- Endless finalizers at the very end, and of a dying object, are cut too: the first by a kill, the second by an interrupt.
-- options: --deadline 1 --report text
-- expect: started
-- expect: the task goes on
-- expect-error: in a finalizer: interrupted
-- expect-error: forced in teardown: interpreter 1 'main'
-- expect-error: in a finalizer: killed
-- expect-error: killed: interpreter 1 'main': it was killed while it closed
-- expect-status: 3

local atoll = require "atoll"
local w = atoll.spawn{code = [[
  local atoll = require "atoll"
  return {hang = function()
    atoll.finalizer({}, function() print("started") while true do end end)
    collectgarbage()
    while true do end
  end}
]]}
local f = w:async("hang")
atoll.sleep(0.05)
w:interrupt()
pcall(f.await, f, 5)
print("the task goes on")
atoll.finalizer(nil, function() while true do pcall(function() while true do end end) end end, {priority = -1})
atoll.finalizer(nil, function() print("not reached") end, {priority = -2})
