-- A main that killed itself has not ended well. (Others cannot: lua_main_is_safe.lua.)
-- expect: killing
-- expect-error: atoll: interpreter 1 'main'
-- expect-error: was killed
-- expect-status: 1

local atoll = require "atoll"
print("killing")
atoll.self():kill()
atoll.sleep(10)
