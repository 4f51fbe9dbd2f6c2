-- Main is the program: other interpreters neither stop, interrupt nor kill it. Nobody waits for an end of its own.
-- expect: stop	invalid_argument
-- expect: interrupt	invalid_argument
-- expect: kill	invalid_argument
-- expect: main is not ended by other interpreters: exit() ends the program, in order
-- expect: self	invalid_argument	invalid_argument
-- expect: an interpreter cannot wait for its own end: atoll.stop() ends it, atoll.exit() the program
-- expect: starting	running

local atoll = require "atoll"
local w = atoll.spawn({code = [[
  local atoll = require "atoll"
  return {
    try = function(what)
      local main = atoll.find("main")
      return select(2, pcall(main[what], main))
    end,
    self = function() return select(2, pcall(atoll.self().stop, atoll.self())) end,
  }]]}, {name = "w"})
local e
for _, what in ipairs{"stop", "interrupt", "kill"} do
  e = w:call("try", what)
  print(what, e.code)
end
print(e.message)
local own = select(2, pcall(atoll.self().stop, atoll.self()))
e = w:call("self")
print("self", own.code, e.code)
print(e.message)
print(atoll.self():state(), w:state())
