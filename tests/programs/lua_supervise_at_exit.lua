-- Children end in the reverse order of their start when the program ends, and nothing is started again.
-- expect: c
-- expect: b
-- expect: a

local atoll = require "atoll"
local children = {}
local code = "local name = ... require('atoll').at_exit(function() print(name) io.stdout:flush() end)"
for i, name in ipairs{"a", "b", "c"} do children[i] = {name = name, source = {code = code}, args = {name}} end
atoll.supervise{strategy = "one_for_all", children = children}
