-- Exit handlers run last in first out and may call; finalizers follow, by priority.
-- expect: exiting
-- expect: answer
-- expect: first registered
-- expect: high
-- expect: low
-- expect-status: 7

local atoll = require "atoll"
local w = atoll.spawn{code = "return {f = function() return 'answer' end}"}
atoll.at_exit(function() print("first registered") end)
atoll.at_exit(function() print(w:call("f")) end)
kept = {}
atoll.finalizer(kept, function() print("low") end, {priority = 1})
atoll.finalizer(kept, function() print("high") end, {priority = 2})
atoll.finalizer(kept, function() print("never") end)
print("exiting")
os.exit(7)
print("not reached")
