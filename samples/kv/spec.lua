-- The commands there are: how many arguments each takes, and where it runs. The one list that routing, the check of
-- argument counts and COMMAND are made from.
--
-- arity: the name included; negative means at least that many.
-- where: "key"    the first argument is the key, whose shard runs it
--        "shards" runs in every shard, or its arguments are split over them (session.lua says how); one shard runs it whole
--        "here"   answered by the connection's interpreter
-- flags, first, last, step: as COMMAND reports them (which arguments are keys).

local resp = require "resp"

local spec = {}

local function add(name, arity, where, flags, first, last, step)
  local entry = {
    name = name, arity = arity, where = where, flags = flags,
    first = first or 0, last = last or 0, step = step or 0,
  }
  spec[name], spec[name:upper()] = entry, entry
  resp.know(name)
end

add("get", 2, "key", "readonly fast", 1, 1, 1)
add("set", -3, "key", "write denyoom", 1, 1, 1)
add("getset", 3, "key", "write denyoom fast", 1, 1, 1)
add("expire", -3, "key", "write fast", 1, 1, 1)
add("pexpire", -3, "key", "write fast", 1, 1, 1)
add("ttl", 2, "key", "readonly fast", 1, 1, 1)
add("pttl", 2, "key", "readonly fast", 1, 1, 1)
add("persist", 2, "key", "write fast", 1, 1, 1)
add("type", 2, "key", "readonly fast", 1, 1, 1)
add("incr", 2, "key", "write denyoom fast", 1, 1, 1)
add("decr", 2, "key", "write denyoom fast", 1, 1, 1)
add("incrby", 3, "key", "write denyoom fast", 1, 1, 1)
add("decrby", 3, "key", "write denyoom fast", 1, 1, 1)
add("append", 3, "key", "write denyoom fast", 1, 1, 1)
add("strlen", 2, "key", "readonly fast", 1, 1, 1)
add("getrange", 4, "key", "readonly", 1, 1, 1)
add("setrange", 4, "key", "write denyoom", 1, 1, 1)
add("mget", -2, "shards", "readonly fast", 1, -1, 1)
add("mset", -3, "shards", "write denyoom", 1, -1, 2)
add("del", -2, "shards", "write", 1, -1, 1)
add("exists", -2, "shards", "readonly fast", 1, -1, 1)
add("keys", 2, "shards", "readonly")
add("scan", -2, "shards", "readonly")
add("dbsize", 1, "shards", "readonly fast")
add("flushall", -1, "shards", "write")
add("info", -1, "here", "loading stale")
add("ping", -1, "here", "fast")
add("echo", 2, "here", "loading stale fast")
add("select", 2, "here", "loading stale fast")
add("config", -2, "here", "admin noscript loading stale")
add("command", -1, "here", "loading stale")
add("quit", -1, "here", "noscript loading stale fast")

-- A name may come in any mixture of cases; the usual two are in the table itself.
return setmetatable(spec, {
  __index = function(_, name)
    return rawget(spec, name:lower())
  end,
})
