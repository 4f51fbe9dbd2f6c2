-- A class whose objects cross as copies: atoll.class gives it a name, and each interpreter says what the name means there.
local atoll = require "atoll"

local source = [[
  local atoll = require "atoll"
  local Money = {}
  Money.__index = Money
  Money.__eq = function(a, b) return a.cents == b.cents end
  Money.__tostring = function(m) return ("%d.%02d"):format(m.cents // 100, m.cents % 100) end
  Money.__pack = function(m) return m.cents end                                   -- what goes into the message
  Money.__unpack = function(cents) return setmetatable({cents = cents}, Money) end -- what comes out of it
  return atoll.class("money", Money)
]]
local Money = load(source)()

local shop = atoll.spawn({code = "Money = (function() " .. source .. [[ end)()
  return {
    total = function(prices)
      local cents = 0
      for _, price in ipairs(prices) do cents = cents + price.cents end
      return setmetatable({cents = cents}, Money)
    end,
  }
]]}, {name = "shop"})

local price = Money.__unpack(1250)
print("the total is " .. tostring(shop:call("total", {price, price, Money.__unpack(99)})))

-- Whoever does not know the class says so.
local stranger = atoll.spawn({code = "return {take = print}"}, {name = "stranger"})
print(select(2, pcall(stranger.call, stranger, "take", {price = price})))
