-- Finalizers that never return are cut by their phase's deadline; those behind them run, the report says it was forced.
-- options: --deadline 1 --report text
-- expect: next
-- expect: after
-- expect-error: in a finalizer: interrupted
-- expect-error: forced in exit: interpreter 1 'main'
-- expect-status: 3

local atoll = require "atoll"
atoll.finalizer(nil, function() while true do pcall(function() while true do end end) end end, {priority = 2})
atoll.finalizer(nil, function() print("next") end, {priority = 1})
atoll.finalizer(nil, function()
  print("after")
end, {priority = -1})
