-- kv: a key-value server that speaks RESP2, the protocol of Redis.
-- main accepts connections and deals them out to the interpreters that serve them (conn.lua); those ask the interpreters
-- that hold the keys (shard.lua).

local folder = arg[0]:match("^(.*/)") or "./"
package.path = folder .. "?.lua;" .. package.path

local atoll = require "atoll"
local options = require "options"

local opts, problem = options.parse({...})
if not opts then
  io.stderr:write("kv: ", problem, "\n", options.usage)
  return atoll.exit(2)
elseif opts.help then
  io.stdout:write(options.usage)
  return
end

local shards, conns = {}, {}
for i = 1, opts.shards do
  shards[i] = atoll.spawn(folder .. "shard.lua", {name = "shard" .. i, args = {folder}})
end
for i = 1, opts.conns do
  conns[i] = atoll.spawn(folder .. "conn.lua", {name = "conn" .. i, args = {folder, table.unpack(shards)}})
end

local host = opts.bind:find(":", 1, true) and "[" .. opts.bind .. "]" or opts.bind
local turn = 0
local bound, listener = pcall(atoll.net.listen, host .. ":" .. opts.port, function(conn)
  turn = turn % #conns + 1
  conns[turn]:send("serve", conn)
end)
if not bound then
  io.stderr:write("kv: ", tostring(listener), "\n")
  return atoll.exit(1)
end

print(("kv: listening on %s (%d shard%s)"):format(listener.address, opts.shards, opts.shards == 1 and "" or "s"))
io.stdout:flush()
