-- A supervisor keeps interpreters running: who fails is started again, under the same name.
local atoll = require "atoll"

local shop = atoll.supervise{
  strategy = "rest_for_one",          -- who fails is started again, and those that were started after it
  intensity = 3, period = 5,          -- more than 3 times within 5 seconds: it gives up, and fails itself
  children = {
    {name = "stock", source = {code = [[
      local atoll = require "atoll"
      local pears = ...
      return {
        take = function()
          if pears == 0 then atoll.fail("out of pears") end   -- ends this interpreter, as an uncaught error ends a process
          pears = pears - 1
          return pears
        end,
      }]]}, args = {2}, restart = "permanent", shutdown = 1},
    {name = "till", source = {code = [[
      local atoll = require "atoll"
      return {sell = function() return atoll.find("stock"):call("take") end}]]}},
  },
}

local function sell()
  local ok, left = pcall(function() return atoll.find("till"):call("sell") end)
  print(ok and "sold, left: " .. left or "no sale")
end
sell()
sell()
local stock = atoll.find("stock")
sell()                                -- the stock fails with the sale

repeat
  atoll.sleep(0.01)
  local all = shop:children()
until all[1].restarts == 1 and all[2].state == "running"
print("again", atoll.find("stock") ~= stock, atoll.find("stock"):state(), stock:state())
sell()

for _, child in ipairs(shop:children()) do print(child.name, child.state, child.restarts, child.reason) end
shop:stop()                           -- the till first, then the stock
print(atoll.find("till"), atoll.find("stock"))
