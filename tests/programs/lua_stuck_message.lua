-- A message that waits for long is told once, with both its ends.
-- options: --stuck-after 0.2 --workers 2
-- expect: done
-- expect-error: interpreter 2 'slow': a message from interpreter 1 'main' has been waiting for more than 0.2 s: the turn that goes on does not end; 2 messages wait in all
local atoll = require "atoll"
local slow = atoll.spawn({code = [[return {work = function() os.execute("sleep 1.5") end, get = function() end}]]}, {name = "slow"})
local f = slow:async("work")
atoll.sleep(0.05)
slow:call("get")
f:await()
print("done")
