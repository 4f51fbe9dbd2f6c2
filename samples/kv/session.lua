-- One client's connection without the socket: bytes in, replies out. It parses, sends every command to the shard of its
-- key, and puts the replies together in the order of the commands.
-- Ownership: one per connection. `shards` is what it asks, shared by all connections of the interpreter:
--   shards.count                  how many there are, numbered from 1
--   shards.exec(s, list, n)       runs the commands in list[1 .. n] (resp.lua's flat form) and returns their replies as one
--                                 string; must be done with `list` before it waits
--   shards.exec_each(lists)       the same for several shards at once, {[s] = list}; returns {[s] = {reply, ...}}
-- Order: commands of one connection run in their order on each shard; on different shards they run at the same time.
-- A command over several shards is not atomic: another client may see half an MSET.

local resp = require "resp"
local spec = require "spec"
local here = require "here"

local concat, unpack, lower = table.concat, string.unpack, string.lower

local session = {}
session.__index = session

function session.new(shards)
  return setmetatable({shards = shards, parser = resp.parser()}, session)
end

-- Hashes eight bytes at a step: going through a key byte by byte costs more than running its command.
local tail_format = {"<I1", "<I2", "<I3", "<I4", "<I5", "<I6", "<I7"}

local function shard_of(key, count)
  if count == 1 then return 1 end
  local size = #key
  local h = size
  if size >= 8 then
    for pos = 1, size - 7, 8 do
      h = (h ~ unpack("<i8", key, pos)) * 0x9E3779B97F4A7C15
      h = h ~ (h >> 32)
    end
    h = h ~ unpack("<i8", key, size - 7)
  elseif size > 0 then
    h = h ~ (unpack(tail_format[size], key) << 4)
  end
  -- A product carries upwards only: without the folding, keys that differ in their last characters would crowd.
  h = (h ~ (h >> 32)) * 0x9E3779B97F4A7C15
  h = (h ~ (h >> 29)) * 0xBF58476D1CE4E5B9
  return (h >> 33) % count + 1
end
session.shard_of = shard_of

local function arity_ok(entry, argc)
  local arity = entry.arity
  return argc == arity or arity < 0 and argc >= -arity
end

-- A plan: what each shard is asked, and how the replies become one. Steps are, in the order of the commands, a string (a
-- reply that is known), {s, k} (the k-th reply of shard s) or a function of all replies.
local plan = {}
plan.__index = plan

-- Adds a command for shard s; returns which of its replies it will be. `first` .. `last` are positions in `args`.
function plan:ask(s, name, args, first, last)
  local list = self.lists[s]
  if not list then
    list = {}
    self.lists[s], self.sizes[s], self.replies_of[s] = list, 0, 0
  end
  local size, argc = self.sizes[s], last - first + 2
  list[size + 1], list[size + 2] = argc, name
  table.move(args, first, last, size + 3, list)
  self.sizes[s] = size + argc + 1
  local k = self.replies_of[s] + 1
  self.replies_of[s] = k
  return k
end

-- One command per key, `step` arguments each; returns the list of {s, k}.
function plan:ask_keys(name, args, first, last, step)
  local parts = {}
  for at = first, last, step do
    local s = shard_of(args[at], self.count)
    parts[#parts + 1] = {s, self:ask(s, name, args, at, at + step - 1)}
  end
  return parts
end

function plan:ask_all(name, args, first, last)
  local parts = {}
  for s = 1, self.count do parts[s] = {s, self:ask(s, name, args, first, last)} end
  return parts
end

local function sum(parts)
  return function(replies)
    local total = 0
    for _, part in ipairs(parts) do
      local reply = replies[part[1]][part[2]]
      if reply:byte() ~= 58 then return reply end
      total = total + tonumber(reply:sub(2, -3))
    end
    return resp.integer(total)
  end
end

-- The first error there is, or the last reply.
local function agree(parts)
  return function(replies)
    local reply
    for _, part in ipairs(parts) do
      reply = replies[part[1]][part[2]]
      if reply:byte() == 45 then return reply end
    end
    return reply
  end
end

local split = {}

function split.mget(p, args, i, argc)
  local parts = p:ask_keys("get", args, i + 1, i + argc - 1, 1)
  return function(replies)
    local items = {}
    for k, part in ipairs(parts) do items[k] = replies[part[1]][part[2]] end
    return resp.array(items)
  end
end

function split.mset(p, args, i, argc)
  if argc % 2 == 0 then return here.wrong_arity("mset") end
  return agree(p:ask_keys("set", args, i + 1, i + argc - 1, 2))
end

function split.del(p, args, i, argc) return sum(p:ask_keys("del", args, i + 1, i + argc - 1, 1)) end
function split.exists(p, args, i, argc) return sum(p:ask_keys("exists", args, i + 1, i + argc - 1, 1)) end
function split.dbsize(p) return sum(p:ask_all("dbsize", {}, 1, 0)) end
function split.flushall(p, args, i, argc) return agree(p:ask_all("flushall", args, i + 1, i + argc - 1)) end

function split.keys(p, args, i, argc)
  local parts = p:ask_all("keys", args, i + 1, i + argc - 1)
  return function(replies)
    local total, bodies = 0, {}
    for k, part in ipairs(parts) do
      local count, body = replies[part[1]][part[2]]:match("^%*(%d+)\r\n()")
      total = total + tonumber(count)
      bodies[k] = replies[part[1]][part[2]]:sub(body)
    end
    return resp.array(bodies, total)
  end
end

-- The client's cursor is (the shard's cursor) * (number of shards) + (the shard, from 0): shard after shard, and 0 is both the
-- start of the first and the end of the last.
function split.scan(p, args, i, argc)
  local count = p.count
  local cursor = args[i + 1]:find("^%d+$") and math.tointeger(tonumber(args[i + 1]))
  if not cursor then return {1, p:ask(1, "scan", args, i + 1, i + argc - 1)} end
  local s = cursor % count
  local own = table.move(args, i + 1, i + argc - 1, 1, {})
  own[1] = tostring(cursor // count)
  local k = p:ask(s + 1, "scan", own, 1, #own)
  return function(replies)
    local reply = replies[s + 1][k]
    local next_cursor, rest = reply:match("^%*2\r\n%$%d+\r\n(%d+)\r\n()")
    if not next_cursor then return reply end
    next_cursor = tonumber(next_cursor)
    if next_cursor ~= 0 then
      next_cursor = next_cursor * count + s
    elseif s + 1 < count then
      next_cursor = s + 1
    end
    return "*2\r\n" .. resp.bulk(tostring(next_cursor)) .. reply:sub(rest)
  end
end

local function info(p, args, i, argc)
  local sections = table.move(args, i + 1, i + argc - 1, 1, {})
  local parts = p:ask_all("info counts", {}, 1, 0)
  return function(replies)
    local totals = {0, 0, 0, 0}
    for _, part in ipairs(parts) do
      local k = 0
      for number in replies[part[1]][part[2]]:gmatch("%d+") do
        k = k + 1
        totals[k] = totals[k] + tonumber(number)
      end
    end
    return here.info(sections, p.count, totals)
  end
end

-- The step for one command; the second result: this was QUIT.
local function step_for(p, args, i, argc)
  local entry = spec[args[i]]
  if not entry then return here.unknown_command(args, i, argc) end
  local name = entry.name
  if not arity_ok(entry, argc) then return here.wrong_arity(name) end
  if entry.where == "key" then
    local s = shard_of(args[i + 1], p.count)
    return {s, p:ask(s, name, args, i + 1, i + argc - 1)}
  elseif entry.where == "shards" then
    if p.count == 1 then return {1, p:ask(1, name, args, i + 1, i + argc - 1)} end
    return split[name](p, args, i, argc)
  elseif name == "info" then
    return info(p, args, i, argc)
  end
  return here[name](args, i, argc), name == "quit"
end

-- The general way: any commands, any shards. Returns the replies and whether to close.
local function run_plan(shards, args, n)
  local p = setmetatable({count = shards.count, lists = {}, sizes = {}, replies_of = {}}, plan)
  local steps, i, quit = {}, 1, false
  while i <= n and not quit do
    local argc = args[i]
    steps[#steps + 1], quit = step_for(p, args, i + 1, argc)
    i = i + argc + 1
  end
  local replies = next(p.lists) and shards.exec_each(p.lists)
  for k, step in ipairs(steps) do
    if type(step) == "table" then
      steps[k] = replies[step[1]][step[2]]
    elseif type(step) == "function" then
      steps[k] = step(replies)
    end
  end
  return concat(steps), quit
end

-- The shard that can run all of these commands just as they are; nil when there is no such shard.
local function only_shard(args, n, count)
  local only, i = nil, 1
  while i <= n do
    local argc = args[i]
    local entry = spec[args[i + 1]]
    if not entry or not arity_ok(entry, argc) then return nil end
    local where = entry.where
    if where == "here" or where == "shards" and count > 1 then return nil end
    if count > 1 then
      local s = shard_of(args[i + 2], count)
      if only and s ~= only then return nil end
      only = s
    end
    i = i + argc + 1
  end
  return only or 1
end

-- Takes what a read returned; gives what to write back ("": nothing yet) and whether to close the connection then.
function session:feed(data)
  local args, n, problem = self.parser:feed(data)
  local reply, close = "", false
  if n > 0 then
    local shards = self.shards
    local s = only_shard(args, n, shards.count)
    if s then
      reply = shards.exec(s, args, n)
    else
      reply, close = run_plan(shards, args, n)
    end
  end
  if problem and not close then return reply .. resp.error(problem), true end
  return reply, close
end

return session
