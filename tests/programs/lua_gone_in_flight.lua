-- A call that is under way when its owner dies fails, and its error names the owner and the object.
-- expect: interpreter_gone
-- expect: interpreter 2 'owner' is gone: it was killed, and account 0 with it
local atoll = require "atoll"
local owner = atoll.spawn({code = [[
  local atoll = require "atoll"
  local account = {__atoll = "ref", __name = "account"}
  account.__index = account
  function account:wait() atoll.sleep(60) end
  return {open = function() return setmetatable({}, account) end}
]]}, {name = "owner"})
local a = owner:call("open")
atoll.after(0.01, function() owner:kill() end)
local ok, e = pcall(a.wait, a)
print(e.code)
print(e.message)
