-- A memory limit ends in an ordinary error of that interpreter alone.
-- expect: out_of_memory	not enough memory
-- expect: alive

local atoll = require "atoll"
local w = atoll.spawn({code = [[return {
  eat = function() local t = {} while true do t[#t + 1] = ("x"):rep(1000) .. #t end end,
  alive = function() return "alive" end}]]}, {memory = 1 << 20})
local _, e = pcall(w.call, w, "eat")
print(e.code, e.message)
print(w:call("alive"))
