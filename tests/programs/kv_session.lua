-- samples/kv without sockets: the bytes of a client in, its replies out, over one shard and over several.
-- expect: over 1 shards every reply is right
-- expect: over 2 shards every reply is right
-- expect: over 7 shards every reply is right
-- expect: QUIT ends a pipeline
-- expect: replies before a protocol error are kept
-- expect: half a command does nothing
-- expect: keys spread over the shards
-- expect: SCAN over 1 shards meets every key that stays, while others come and go
-- expect: SCAN over 5 shards meets every key that stays, while others come and go
-- expect: options: 127.0.0.1 6379 1 1; ::1 0 4 2
-- expect: --port needs a number from 0 to 65535, not '65536'
-- expect: --shards needs a number from 1 to 64, not 'x'
-- expect: --bind needs a value
-- expect: unknown option '--foo'
-- expect: unknown option 'file.lua'

package.path = (arg[0]:match("^(.*/)") or "./") .. "../../samples/kv/?.lua;" .. package.path
local session = require "session"
local new_commands = require "commands"
local options = require "options"

-- What conn.lua does through messages, by plain calls.
local function server(count)
  local stores = {}
  for s = 1, count do stores[s] = new_commands(function() return 1000 end) end
  local shards = {count = count, stores = stores}
  function shards.exec(s, list, n) return stores[s].answer(table.move(list, 1, n, 1, {}), n) end
  function shards.exec_each(lists)
    local replies = {}
    for s, list in pairs(lists) do replies[s] = stores[s].run(list, #list) end
    return replies
  end
  return shards
end

local function command(...)
  local parts = {"*" .. select("#", ...) .. "\r\n"}
  for _, s in ipairs{...} do parts[#parts + 1] = "$" .. #s .. "\r\n" .. s .. "\r\n" end
  return table.concat(parts)
end

-- Each line a command and its reply, the reply's line ends written as a space.
local script = {
  {"MSET a 1 b 2 c 3 d 4", "+OK"}, {"MGET a b none d c a", "*6 $1 1 $1 2 $-1 $1 4 $1 3 $1 1"}, {"DBSIZE", ":4"},
  {"MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"}, {"EXISTS a b a none", ":3"}, {"DEL a none b", ":2"},
  {"KEYS c*", "*1 $1 c"}, {"KEYS none*", "*0"}, {"PING", "+PONG"}, {"PING hi", "$2 hi"}, {"ECHO x", "$1 x"}, {"INCR n", ":1"},
  {"INCR n", ":2"}, {"GET n", "$1 2"}, {"SET c x GET", "$1 3"}, {"GET", "-ERR wrong number of arguments for 'get' command"},
  {"get c", "$1 x"}, {"GeT c", "$1 x"}, {"foo a b", "-ERR unknown command 'foo', with args beginning with: 'a' 'b' "},
  {"SELECT 0", "+OK"}, {"SELECT 1", "-ERR DB index is out of range"}, {"CONFIG GET save", "*2 $4 save $0 "},
  {"COMMAND COUNT", ":32"}, {"SCAN x", "-ERR invalid cursor"}, {"SCAN 0 COUNT 0", "-ERR syntax error"}, {"TYPE c", "+string"},
  {"FLUSHALL", "+OK"}, {"DBSIZE", ":0"}, {"INFO keyspace", "$12 # Keyspace "},
}
for _, count in ipairs{1, 2, 7} do
  local client, sent, want, apart = session.new(server(count)), {}, {}, {}
  for _, step in ipairs(script) do
    local words = {}
    for word in step[1]:gmatch("%S+") do words[#words + 1] = word end
    sent[#sent + 1] = command(table.unpack(words))
    want[#want + 1] = step[2] .. " "
  end
  local together = client:feed(table.concat(sent)):gsub("\r\n", " ")
  for k, bytes in ipairs(sent) do apart[k] = client:feed(bytes):gsub("\r\n", " ") end
  want = table.concat(want)
  print(together == want and table.concat(apart) == want and ("over %d shards every reply is right"):format(count) or
    together .. "\n" .. table.concat(apart) .. "\n" .. want)
end

local client = session.new(server(2))
local reply, close = client:feed("PING\r\nQUIT\r\nPING\r\n")
print(reply == "+PONG\r\n+OK\r\n" and close and "QUIT ends a pipeline" or reply)

reply, close = session.new(server(2)):feed("SET a 1\r\nGET a\r\n*1\r\n$x\r\nGET a\r\n")
print(reply == "+OK\r\n$1\r\n1\r\n-ERR Protocol error: invalid bulk length\r\n" and close and
  "replies before a protocol error are kept" or reply)

local shards = server(1)
reply = session.new(shards):feed("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n")
print(reply == "" and shards.stores[1].store.n == 0 and "half a command does nothing" or "half a command did something")

local counts, spread = {}, true
for _, format in ipairs{"key:%d", "user:%d:name", "%d", "aaaaaaaa%012d", "%016d"} do
  for s = 1, 8 do counts[s] = 0 end
  for i = 1, 8000 do
    local s = session.shard_of(format:format(i), 8)
    counts[s] = counts[s] + 1
  end
  for s = 1, 8 do spread = spread and counts[s] > 700 and counts[s] < 1300 end
end
print(spread and "keys spread over the shards" or "keys crowd")

for _, count in ipairs{1, 5} do
  math.randomseed(5)
  local ok = true
  for round = 1, 30 do
    client = session.new(server(count))
    local stays, seen = {}, {}
    for i = 1, 300 do client:feed(command("SET", "stay" .. i, "v") .. command("SET", "go" .. i, "v")) end
    local cursor, steps = "0", 0
    repeat
      reply = client:feed(command("SCAN", cursor, "COUNT", tostring(math.random(20)), "MATCH", "*"))
      cursor = reply:match("^%*2\r\n%$%d+\r\n(%d+)")
      for i in reply:gmatch("stay(%d+)") do seen[tonumber(i)] = true end
      for _ = 1, math.random(0, 30) do
        local key = (math.random(2) == 1 and "go" or "new") .. math.random(300)
        client:feed(math.random(3) == 1 and command("SET", key, "v") or command("DEL", key))
      end
      steps = steps + 1
    until cursor == "0" or steps > 10000
    for i = 1, 300 do ok = ok and seen[i] end
    ok = ok and steps <= 10000
  end
  print(ok and ("SCAN over %d shards meets every key that stays, while others come and go"):format(count) or "SCAN missed a key")
end

local function shown(o) return table.concat({o.bind, o.port, o.shards, o.conns}, " ") end
print("options: " .. shown(options.parse{}) .. "; " ..
  shown(options.parse{"--bind", "::1", "--port=0", "--shards", "4", "--conns", "2"}))
for _, bad in ipairs{{"--port", "65536"}, {"--shards", "x"}, {"--bind"}, {"--foo"}, {"file.lua"}} do
  print((select(2, options.parse(bad))))
end
