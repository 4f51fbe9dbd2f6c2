-- The server's command line: a table of options, or nil and what is wrong with it.

local options = {}

options.usage = [[
usage: atoll run samples/kv/main.lua [--bind ADDR] [--port P] [--shards N] [--conns M]
  --bind ADDR   the address to listen on (127.0.0.1)
  --port P      the port; 0: any free one (6379)
  --shards N    interpreters that hold the keys, 1 to 64 (1)
  --conns M     interpreters that serve connections, 1 to 64 (1)
]]

local ranges = {port = {0, 65535}, shards = {1, 64}, conns = {1, 64}}

function options.parse(args)
  local result = {bind = "127.0.0.1", port = 6379, shards = 1, conns = 1}
  local i = 1
  while i <= #args do
    local given = tostring(args[i])
    if given == "--help" or given == "-h" then return {help = true} end
    local name, value = given:match("^%-%-(%a+)=(.*)$")
    if not name then name = given:match("^%-%-(%a+)$") end
    if not name or result[name] == nil then return nil, "unknown option '" .. given .. "'" end
    if not value then
      i = i + 1
      value = args[i]
      if value == nil then return nil, "--" .. name .. " needs a value" end
    end
    local range = ranges[name]
    if range then
      local number = tostring(value):find("^%d+$") and math.tointeger(tonumber(value))
      if not number or number < range[1] or number > range[2] then
        return nil, ("--%s needs a number from %d to %d, not '%s'"):format(name, range[1], range[2], value)
      end
      value = number
    elseif value == "" then
      return nil, "--" .. name .. " needs a value"
    end
    result[name] = value
    i = i + 1
  end
  return result
end

return options
