-- What the connection's interpreter answers by itself: commands without a key, and errors in naming a command.
-- Functions of (args, i, argc) as in commands.lua; the check of argument counts is done before.

local resp = require "resp"
local spec = require "spec"
local glob = require "glob"

local lower = string.lower

local here = {}

-- The parameters CONFIG GET knows: what clients and redis-benchmark look at.
local parameters = {
  {"appendonly", "no"},
  {"databases", "1"},
  {"maxmemory", "0"},
  {"proto-max-bulk-len", tostring(resp.max_bulk)},
  {"save", ""},
}

function here.wrong_arity(name)
  return resp.error("ERR wrong number of arguments for '" .. name .. "' command")
end

function here.unknown_command(args, i, argc)
  local shown = ""
  for k = i + 1, i + argc - 1 do
    if #shown >= 128 then break end
    shown = shown .. "'" .. args[k]:sub(1, 128 - #shown) .. "' "
  end
  return resp.error("ERR unknown command '" .. args[i]:sub(1, 128) .. "', with args beginning with: " .. shown)
end

local function unknown_subcommand(command, given)
  return resp.error("ERR unknown subcommand '" .. given:sub(1, 128) .. "'. Try " .. command .. " HELP.")
end

function here.ping(args, i, argc)
  if argc > 2 then return here.wrong_arity("ping") end
  return argc == 2 and resp.bulk(args[i + 1]) or "+PONG\r\n"
end

function here.echo(args, i) return resp.bulk(args[i + 1]) end
function here.quit() return resp.ok end

function here.select(args, i)
  local number = resp.parse_integer(args[i + 1])
  if not number then return resp.error("ERR value is not an integer or out of range") end
  return number == 0 and resp.ok or resp.error("ERR DB index is out of range")
end

function here.config(args, i, argc)
  if lower(args[i + 1]) ~= "get" then return unknown_subcommand("CONFIG", args[i + 1]) end
  if argc < 3 then return here.wrong_arity("config|get") end
  local items, matchers = {}, {}
  for k = i + 2, i + argc - 1 do matchers[#matchers + 1] = glob.matcher(lower(args[k])) end
  for _, parameter in ipairs(parameters) do
    for _, matches in ipairs(matchers) do
      if matches(parameter[1]) then
        items[#items + 1] = resp.bulk(parameter[1])
        items[#items + 1] = resp.bulk(parameter[2])
        break
      end
    end
  end
  return resp.array(items)
end

local function describe(entry)
  local flags = {}
  for flag in entry.flags:gmatch("%S+") do flags[#flags + 1] = "+" .. flag .. "\r\n" end
  return resp.array{
    resp.bulk(entry.name), resp.integer(entry.arity), resp.array(flags),
    resp.integer(entry.first), resp.integer(entry.last), resp.integer(entry.step),
  }
end

local function names()
  local list = {}
  for name, entry in pairs(spec) do
    if name == entry.name then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

function here.command(args, i, argc)
  local items, what = {}, argc > 1 and lower(args[i + 1])
  if (what == "count" or what == "list") and argc > 2 then return here.wrong_arity("command|" .. what) end
  if what == "count" then return resp.integer(#names()) end
  if what == "docs" then return resp.empty_array end
  if what == "info" and argc > 2 then
    for k = i + 2, i + argc - 1 do
      local entry = spec[args[k]]
      items[#items + 1] = entry and describe(entry) or resp.null
    end
    return resp.array(items)
  end
  if what and what ~= "info" and what ~= "list" then
    return unknown_subcommand("COMMAND", args[i + 1])
  end
  for k, name in ipairs(names()) do
    items[k] = what == "list" and resp.bulk(name) or describe(spec[name])
  end
  return resp.array(items)
end

local started = os.time()

-- The sections asked for, in this order; all without a list. totals: keys, keys with an end, expired keys, commands.
function here.info(wanted, shard_count, totals)
  local all = #wanted == 0
  local asked = {}
  for _, section in ipairs(wanted) do asked[lower(section)] = true end
  all = all or asked.all or asked.default or asked.everything
  local text = {}
  local function section(title, lines)
    if not all and not asked[lower(title)] then return end
    text[#text + 1] = table.concat({"# " .. title, table.unpack(lines)}, "\r\n") .. "\r\n"
  end
  local uptime = os.time() - started
  section("Server", {
    "redis_version:7.0.0", "server_name:atoll-kv", "redis_mode:standalone", "shards:" .. shard_count,
    "uptime_in_seconds:" .. uptime,
  })
  section("Stats", {"total_commands_processed:" .. totals[4], "expired_keys:" .. totals[3]})
  section("Keyspace", {totals[1] > 0 and ("db0:keys=%d,expires=%d,avg_ttl=0"):format(totals[1], totals[2]) or nil})
  return resp.bulk(table.concat(text, "\r\n"))
end

return here
