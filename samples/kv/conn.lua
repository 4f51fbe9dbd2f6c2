-- Serves connections: an interpreter with one task per socket. Its chunk gets the sample's folder and the shards.

local folder = ...
package.path = folder .. "?.lua;" .. package.path

local atoll = require "atoll"
local resp = require "resp"
local session = require "session"

local handles = {select(2, ...)}
local unpack, move = table.unpack, table.move

local shards = {count = #handles}

-- Past this many values a table is the cheaper message, and no limit of Lua's stack is near.
local most_arguments = 200

function shards.exec(s, list, n)
  if n <= most_arguments then return handles[s]:call("exec", unpack(list, 1, n)) end
  return handles[s]:call("exec_list", move(list, 1, n, 1, {}))
end

function shards.exec_each(lists)
  local futures, replies = {}, {}
  for s, list in pairs(lists) do futures[s] = handles[s]:async("exec_each", list) end
  for s, future in pairs(futures) do replies[s] = future:await() end
  return replies
end

-- One connection from its first byte to its last. What is read together is answered together, in one write.
local function serve(conn)
  local client <close> = setmetatable({}, {__close = function() conn:close() end})
  local this = session.new(shards)
  while true do
    local data = conn:read()
    if not data then return end
    local answered, reply, close = pcall(this.feed, this, data)
    if not answered then -- a shard is gone or out of memory; how much of the pipeline was done is not known
      local failure = reply
      conn:write(resp.error("ERR " .. tostring(failure)))
      if type(failure) == "table" and failure.code == "runtime_finalizing" then return end
      error(failure, 0)
    end
    if reply ~= "" and not conn:write(reply) then return end
    if close then return end
  end
end

return {serve = serve}
