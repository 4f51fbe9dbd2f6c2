-- A timer whose time has not come when the program exits never fires.
-- expect: main is done
local atoll = require "atoll"
atoll.after(30, function() print("fired") end)
atoll.every(30, function() print("fired again") end)
print("main is done")
atoll.exit(0)
