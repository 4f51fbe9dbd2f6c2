-- What a shard does for each command, and `run`, which does a list of them.
-- Every command is a function of (a, i, argc): `a` is a flat list as resp.lua makes it, a[i] the command's name, a[i + 1] its
-- first argument; it returns its reply, encoded. Counts of arguments are checked before (session.lua, from spec.lua).
-- Words of errors are those of redis 7.

local resp = require "resp"
local glob = require "glob"
local store = require "store"

local concat, sub, lower = table.concat, string.sub, string.lower
local bulk, bulk_head, integer, parse_integer = resp.bulk, resp.bulk_head, resp.integer, resp.parse_integer
local ok, null = resp.ok, resp.null

local not_an_integer = "-ERR value is not an integer or out of range\r\n"
local syntax_error = "-ERR syntax error\r\n"
local zero, one = ":0\r\n", ":1\r\n"
local max_value = resp.max_bulk
local max_int, min_int = math.maxinteger, math.mininteger

local function bad_expire(name)
  return "-ERR invalid expire time in '" .. name .. "' command\r\n"
end

-- The commands of one store. `clock` gives milliseconds and never goes back.
return function(clock)
  local db = store.new(clock)
  local cmd = {}

  -- Strings ----------------------------------------------------------------------------------------------------------

  function cmd.get(a, i)
    local key = a[i + 1]
    local at = db.index[key]
    if at and db.exp_n > 0 then at = db:find(key) end
    if not at then return null end
    local value = db.vals[at]
    return (bulk_head[#value] or "$" .. #value .. "\r\n") .. value .. "\r\n"
  end

  -- When "EX 10" and the like say the key ends; or nil and the error.
  local function expiry(name, text, unit)
    local amount = parse_integer(text)
    if not amount then return nil, not_an_integer end
    if amount <= 0 or amount > max_int // unit then return nil, bad_expire(name) end
    local now = clock()
    if amount * unit > max_int - now then return nil, bad_expire(name) end
    return now + amount * unit
  end

  local function set_with_options(a, i, argc)
    local key, value = a[i + 1], a[i + 2]
    local only_if, want_old, keep_ttl, time, unit
    local k, last = i + 3, i + argc - 1
    while k <= last do
      local option = lower(a[k])
      if option == "nx" and only_if ~= "xx" or option == "xx" and only_if ~= "nx" then
        only_if = option
      elseif option == "get" then
        want_old = true
      elseif option == "keepttl" and not time then
        keep_ttl = true
      elseif (option == "ex" or option == "px") and not time and not keep_ttl and k < last then
        k = k + 1
        time, unit = a[k], option == "ex" and 1000 or 1
      else
        return syntax_error
      end
      k = k + 1
    end
    local at, problem
    if time then
      at, problem = expiry("set", time, unit)
      if not at then return problem end
    end
    local old = db:find(key)
    local reply = want_old and (old and bulk(db.vals[old]) or null)
    if only_if == "nx" and old or only_if == "xx" and not old then return reply or null end
    db:put(key, value)
    if at then
      db:expire_at(key, at)
    elseif not keep_ttl then
      db:persist(key)
    end
    return reply or ok
  end

  function cmd.set(a, i, argc)
    if argc ~= 3 then return set_with_options(a, i, argc) end
    local key = a[i + 1]
    local at = db.index[key]
    if at then
      db.vals[at] = a[i + 2]
      if db.exp_n > 0 then db:persist(key) end
    else
      at = db.n + 1
      db.n, db.index[key], db.keys[at], db.vals[at] = at, at, key, a[i + 2]
    end
    return ok
  end

  function cmd.getset(a, i)
    local old = db:find(a[i + 1])
    local reply = old and bulk(db.vals[old]) or null
    db:put(a[i + 1], a[i + 2])
    db:persist(a[i + 1])
    return reply
  end

  function cmd.mget(a, i, argc)
    local items = {}
    for k = 1, argc - 1 do items[k] = cmd.get(a, i + k - 1) end
    return resp.array(items)
  end

  function cmd.mset(a, i, argc)
    if argc % 2 == 0 then return "-ERR wrong number of arguments for 'mset' command\r\n" end
    for k = i + 1, i + argc - 2, 2 do cmd.set(a, k - 1, 3) end
    return ok
  end

  function cmd.strlen(a, i)
    local at = db:find(a[i + 1])
    return at and integer(#db.vals[at]) or zero
  end

  function cmd.append(a, i)
    local at = db:find(a[i + 1])
    local old = at and db.vals[at] or ""
    if #old + #a[i + 2] > max_value then
      return "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
    end
    local value = old .. a[i + 2]
    db:put(a[i + 1], value)
    return integer(#value)
  end

  function cmd.getrange(a, i)
    local from, to = parse_integer(a[i + 2]), parse_integer(a[i + 3])
    if not from or not to then return not_an_integer end
    local at = db:find(a[i + 1])
    if not at then return "$0\r\n\r\n" end
    local value = db.vals[at]
    if from < 0 and to < 0 and from > to then return "$0\r\n\r\n" end
    -- Redis counts from 0, and an end before the start means the start.
    if from < 0 then from = math.max(#value + from, 0) end
    if to < 0 then to = math.max(#value + to, 0) end
    if from > to or from >= #value then return "$0\r\n\r\n" end
    return bulk(sub(value, from + 1, math.min(to, #value) + 1))
  end

  function cmd.setrange(a, i)
    local offset, piece = parse_integer(a[i + 2]), a[i + 3]
    if not offset then return not_an_integer end
    if offset < 0 then return "-ERR offset is out of range\r\n" end
    local at = db:find(a[i + 1])
    local old = at and db.vals[at] or ""
    if piece == "" then return integer(#old) end
    if offset > max_value - #piece then
      return "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
    end
    local gap = offset > #old and ("\0"):rep(offset - #old) or ""
    local value = sub(old, 1, offset) .. gap .. piece .. sub(old, offset + #piece + 1)
    db:put(a[i + 1], value)
    return integer(#value)
  end

  -- Counters ---------------------------------------------------------------------------------------------------------

  local function add(key, amount)
    local at = db:find(key)
    local value = 0
    if at then
      value = parse_integer(db.vals[at])
      if not value then return not_an_integer end
    end
    if amount < 0 and value < min_int - amount or amount > 0 and value > max_int - amount then
      return "-ERR increment or decrement would overflow\r\n"
    end
    local text = tostring(value + amount)
    db:put(key, text)
    return ":" .. text .. "\r\n"
  end

  function cmd.incr(a, i) return add(a[i + 1], 1) end
  function cmd.decr(a, i) return add(a[i + 1], -1) end

  function cmd.incrby(a, i)
    local amount = parse_integer(a[i + 2])
    return amount and add(a[i + 1], amount) or not_an_integer
  end

  function cmd.decrby(a, i)
    local amount = parse_integer(a[i + 2])
    if not amount then return not_an_integer end
    if amount == min_int then return "-ERR decrement would overflow\r\n" end
    return add(a[i + 1], -amount)
  end

  -- Keys -------------------------------------------------------------------------------------------------------------

  function cmd.del(a, i, argc)
    local count = 0
    for k = i + 1, i + argc - 1 do
      if db:find(a[k]) then
        db:remove(a[k])
        count = count + 1
      end
    end
    return integer(count)
  end

  function cmd.exists(a, i, argc)
    local count = 0
    for k = i + 1, i + argc - 1 do
      if db:find(a[k]) then count = count + 1 end
    end
    return integer(count)
  end

  function cmd.type(a, i)
    return db:find(a[i + 1]) and "+string\r\n" or "+none\r\n"
  end

  -- NX XX GT LT of EXPIRE: whether the key may get the new end; or nil and the error.
  local function may_expire(a, i, argc, old, at)
    local has = {}
    for k = i + 3, i + argc - 1 do
      local option = lower(a[k])
      if option ~= "nx" and option ~= "xx" and option ~= "gt" and option ~= "lt" then
        return nil, "-ERR Unsupported option " .. a[k]:gsub("[\r\n]", " ") .. "\r\n"
      end
      has[option] = true
    end
    if has.nx and (has.xx or has.gt or has.lt) then
      return nil, "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n"
    elseif has.gt and has.lt then
      return nil, "-ERR GT and LT options at the same time are not compatible\r\n"
    end
    -- A key without an end never ends: later than any.
    return not (has.nx and old or has.xx and not old or has.gt and (not old or at <= old) or has.lt and old and at >= old)
  end

  local function expire(name, unit, a, i, argc)
    local key = a[i + 1]
    local allowed, problem = may_expire(a, i, argc, nil, 0)
    if problem then return problem end
    local amount = parse_integer(a[i + 2])
    if not amount then return not_an_integer end
    if amount > max_int // unit or amount < min_int // unit then return bad_expire(name) end
    local now = clock()
    if amount > 0 and amount * unit > max_int - now then return bad_expire(name) end
    if not db:find(key) then return zero end
    local at = now + amount * unit
    allowed = may_expire(a, i, argc, db:deadline(key), at)
    if not allowed then return zero end
    if at <= now then
      db:remove(key)
    else
      db:expire_at(key, at)
    end
    return one
  end

  function cmd.expire(a, i, argc) return expire("expire", 1000, a, i, argc) end
  function cmd.pexpire(a, i, argc) return expire("pexpire", 1, a, i, argc) end

  -- Milliseconds left; -1: no end; -2: no key.
  local function time_left(key)
    if not db:find(key) then return -2 end
    local at = db:deadline(key)
    return at and math.max(at - clock(), 0) or -1
  end

  function cmd.pttl(a, i) return integer(time_left(a[i + 1])) end

  function cmd.ttl(a, i)
    local left = time_left(a[i + 1])
    return integer(left < 0 and left or (left + 500) // 1000)
  end

  function cmd.persist(a, i)
    return db:find(a[i + 1]) and db:persist(a[i + 1]) and one or zero
  end

  function cmd.keys(a, i)
    local matches, items = glob.matcher(a[i + 1]), {}
    db:scan(0, db.n, function(key)
      if matches(key) then items[#items + 1] = bulk(key) end
    end)
    return resp.array(items)
  end

  function cmd.scan(a, i, argc)
    local cursor, count, matches, of_type = a[i + 1], 10, nil, "string"
    if not cursor:find("^%d+$") or #cursor > 20 then return "-ERR invalid cursor\r\n" end
    for k = i + 2, i + argc - 1, 2 do
      local option, value = lower(a[k]), a[k + 1]
      if k == i + argc - 1 then return syntax_error end
      if option == "count" then
        count = parse_integer(value)
        if not count then return not_an_integer end
        if count < 1 then return syntax_error end
      elseif option == "match" then
        matches = glob.matcher(value)
      elseif option == "type" then
        of_type = lower(value)
      else
        return syntax_error
      end
    end
    local items = {}
    local next_cursor = db:scan(math.tointeger(tonumber(cursor)) or max_int, count, function(key)
      if of_type == "string" and (not matches or matches(key)) then items[#items + 1] = bulk(key) end
    end)
    return "*2\r\n" .. bulk(tostring(next_cursor)) .. resp.array(items)
  end

  function cmd.dbsize() return integer(db.n) end

  function cmd.flushall(a, i, argc)
    local how = argc == 2 and lower(a[i + 1])
    if argc > 2 or how and how ~= "sync" and how ~= "async" then return syntax_error end
    db:clear()
    return ok
  end

  -- For INFO, whose text the connection's interpreter makes of all shards' counts. Not a name that clients can use.
  cmd["info counts"] = function()
    return concat({db.n, db.exp_n, db.expired_keys, db.commands}, " ")
  end

  -- Upper case is as usual as lower case; other mixtures are looked up through lower().
  for _, name in ipairs((function()
    local names = {}
    for name in pairs(cmd) do names[#names + 1] = name end
    return names
  end)()) do
    cmd[name:upper()] = cmd[name]
  end
  setmetatable(cmd, {__index = function(_, name) return rawget(cmd, lower(name)) end})

  -- Runs the commands in a[1 .. n] in order and returns their replies, a list.
  local function run(a, n)
    local replies, count, i = {}, 0, 1
    while i <= n do
      local argc = a[i]
      count = count + 1
      replies[count] = cmd[a[i + 1]](a, i + 1, argc)
      i = i + argc + 1
    end
    db.commands = db.commands + count
    return replies
  end

  -- The same, with the replies in one string.
  local function answer(a, n)
    if a[1] + 1 < n then return concat(run(a, n)) end
    db.commands = db.commands + 1
    return cmd[a[2]](a, 2, a[1])
  end

  return {run = run, answer = answer, store = db}
end
