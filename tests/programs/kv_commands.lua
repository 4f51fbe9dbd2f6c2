-- The commands of samples/kv on one shard, with a clock that the test turns.
-- expect: SET and GET with any bytes
-- expect: a time to live ends, is kept by KEEPTTL, and dropped by SET
-- expect: the sweep removes what nobody asks for
-- expect: an expired key is no key for SET NX, INCR, APPEND and DEL
-- expect: counters stop at 64 bits
-- expect: SETRANGE fills with zero bytes
-- expect: DBSIZE and FLUSHALL
-- expect: the store's arrays agree after 50000 random changes

package.path = (arg[0]:match("^(.*/)") or "./") .. "../../samples/kv/?.lua;" .. package.path
local now = 1000
local shard = require "commands"(function() return now end)

local function do_(...) return shard.answer({select("#", ...), ...}, select("#", ...) + 1) end
local failures = {}
local function is(got, want)
  if got ~= want then failures[#failures + 1] = ("line %d: %q, not %q"):format(debug.getinfo(2, "l").currentline, got, want) end
end
local function done(what)
  print(#failures == 0 and what or table.concat(failures, "; "))
  failures = {}
end

local all = {}
for b = 0, 255 do all[#all + 1] = string.char(b) end
all = table.concat(all)
is(do_("SET", all, all), "+OK\r\n")
is(do_("get", all), "$256\r\n" .. all .. "\r\n")
is(do_("GeT", ""), "$-1\r\n")
is(do_("SET", "", ""), "+OK\r\n")
is(do_("GET", ""), "$0\r\n\r\n")
done "SET and GET with any bytes"

do_("SET", "a", "1", "EX", "10")
is(do_("TTL", "a"), ":10\r\n")
now = now + 9400
is(do_("PTTL", "a"), ":600\r\n")
do_("SET", "a", "2", "KEEPTTL")
is(do_("PTTL", "a"), ":600\r\n")
now = now + 600
is(do_("GET", "a"), "$-1\r\n")
is(do_("TTL", "a"), ":-2\r\n")
do_("SET", "a", "1", "PX", "5")
do_("SET", "a", "1")
is(do_("TTL", "a"), ":-1\r\n")
is(do_("EXPIRE", "a", "-1"), ":1\r\n")
is(do_("EXISTS", "a"), ":0\r\n")
done "a time to live ends, is kept by KEEPTTL, and dropped by SET"

do_("FLUSHALL")
for i = 1, 5000 do do_("SET", "k" .. i, "v", "PX", i % 2 == 0 and "100" or "100000") end
now = now + 100
for _ = 1, 20 do shard.store:sweep(10) end
is(do_("DBSIZE"), ":2500\r\n")
done "the sweep removes what nobody asks for"

do_("FLUSHALL")
for _, key in ipairs{"nx", "n", "s", "d"} do do_("SET", key, "5", "PX", "1") end
now = now + 1
is(do_("SET", "nx", "new", "NX"), "+OK\r\n")
is(do_("INCR", "n"), ":1\r\n")
is(do_("TTL", "n"), ":-1\r\n")
is(do_("APPEND", "s", "x"), ":1\r\n")
is(do_("DEL", "d"), ":0\r\n")
done "an expired key is no key for SET NX, INCR, APPEND and DEL"

do_("SET", "n", "9223372036854775806")
is(do_("INCR", "n"), ":9223372036854775807\r\n")
is(do_("INCR", "n"), "-ERR increment or decrement would overflow\r\n")
is(do_("INCRBY", "n", "-9223372036854775808"), ":-1\r\n")
is(do_("DECRBY", "n", "-9223372036854775808"), "-ERR decrement would overflow\r\n")
is(do_("DECRBY", "n", "9223372036854775807"), ":-9223372036854775808\r\n")
is(do_("DECR", "n"), "-ERR increment or decrement would overflow\r\n")
is(do_("INCRBY", "n", "9223372036854775808"), "-ERR value is not an integer or out of range\r\n")
done "counters stop at 64 bits"

is(do_("SETRANGE", "r", "3", "x"), ":4\r\n")
is(do_("GET", "r"), "$4\r\n\0\0\0x\r\n")
is(do_("SETRANGE", "r", "536870912", "x"), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n")
is(do_("GETRANGE", "r", "-2", "-1"), "$2\r\n\0x\r\n")
done "SETRANGE fills with zero bytes"

is(do_("FLUSHALL"), "+OK\r\n")
is(do_("MSET", "a", "1", "b", "2"), "+OK\r\n")
is(do_("DBSIZE"), ":2\r\n")
is(do_("FLUSHALL", "ASYNC"), "+OK\r\n")
is(do_("DBSIZE"), ":0\r\n")
done "DBSIZE and FLUSHALL"

-- store.lua's invariants 1 and 3, after anything.
math.randomseed(11)
for _ = 1, 50000 do
  local key = "k" .. math.random(200)
  local what = math.random(6)
  if what <= 2 then do_("SET", key, "v")
  elseif what == 3 then do_("SET", key, "v", "PX", tostring(math.random(50)))
  elseif what == 4 then do_("DEL", key)
  elseif what == 5 then do_("PERSIST", key)
  else
    now = now + math.random(3)
    shard.store:sweep(1)
  end
end
local db, count = shard.store, 0
for key, i in pairs(db.index) do
  count = count + 1
  if db.keys[i] ~= key or not db.vals[i] or i > db.n then failures[1] = "index of " .. key end
end
is(count, db.n)
is(#db.keys, db.n)
count = 0
for key, e in pairs(db.exp_index) do
  count = count + 1
  if db.exp_keys[e] ~= key or not db.exp_at[e] or not db.index[key] then failures[1] = "end of " .. key end
end
is(count, db.exp_n)
done "the store's arrays agree after 50000 random changes"
