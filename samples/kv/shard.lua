-- A shard: an interpreter that holds some of the keys. Its chunk gets the sample's folder.
-- The commands themselves are in commands.lua, which knows nothing of Atoll.

local folder = ...
package.path = folder .. "?.lua;" .. package.path

local atoll = require "atoll"
local now = atoll.now
local commands = require "commands"(function() return now() * 1000 // 1 | 0 end)
local run, answer, store = commands.run, commands.answer, commands.store

-- What few keys expire without being asked for again is removed here, a millisecond or so at a time.
atoll.every(0.1, function() store:sweep(10) end)

return {
  -- The commands as arguments: the usual pipeline, without a table on the way.
  exec = function(...) return answer({...}, select("#", ...)) end,
  -- The commands as one table: a pipeline too long for that.
  exec_list = function(list) return answer(list, #list) end,
  -- The replies apart: for connections that put the replies of several shards together.
  exec_each = function(list) return run(list, #list) end,
}
