-- A main that others killed has not ended well.
-- expect: killing
-- expect-error: atoll: interpreter 1 'main'
-- expect-error: was killed
-- expect-status: 1

local atoll = require "atoll"
local w = atoll.spawn{code = "return {f = function() require 'atoll'.find('main'):kill() end}"}
print("killing")
w:send("f")
atoll.sleep(10)
