-- One shard's keys, values and times to live.
-- Why three arrays and an index instead of one table from key to value: SCAN needs a position that stays meaningful while
--   keys come and go, and a Lua table has none.
-- Invariants:
-- (1) keys[i] and vals[i] are set exactly for 1 <= i <= n, and index[keys[i]] == i.
-- (2) A key that is removed is replaced by the last one; so a key only ever moves to a lower position. SCAN walks downwards,
--     so what is there throughout is met.
-- (3) The keys with a time to live are kept the same way in exp_*, and every one of them is in index.
-- Times are milliseconds of `clock`, which only needs to be monotonic.

local store = {}
store.__index = store

function store.new(clock)
  local self = setmetatable({clock = clock, expired_keys = 0, commands = 0}, store)
  self:clear()
  return self
end

function store:clear()
  self.index, self.keys, self.vals, self.n = {}, {}, {}, 0
  self.exp_index, self.exp_keys, self.exp_at, self.exp_n = {}, {}, {}, 0
  self.sweep_at = 0
end

-- Forgets the time to live; false when there was none.
function store:persist(key)
  local i = self.exp_index[key]
  if not i then return false end
  local last = self.exp_n
  local moved = self.exp_keys[last]
  self.exp_keys[i], self.exp_at[i], self.exp_index[moved] = moved, self.exp_at[last], i
  self.exp_keys[last], self.exp_at[last], self.exp_index[key] = nil, nil, nil
  self.exp_n = last - 1
  return true
end

function store:remove(key)
  local i, last = self.index[key], self.n
  if self.exp_n > 0 then self:persist(key) end
  local moved = self.keys[last]
  self.keys[i], self.vals[i], self.index[moved] = moved, self.vals[last], i
  self.keys[last], self.vals[last], self.index[key] = nil, nil, nil
  self.n = last - 1
end

-- The key's position, or nil when it is not there or its time is over.
function store:find(key)
  local i = self.index[key]
  if i and self.exp_n > 0 then
    local e = self.exp_index[key]
    if e and self.exp_at[e] <= self.clock() then
      self.expired_keys = self.expired_keys + 1
      self:remove(key)
      return nil
    end
  end
  return i
end

-- Sets the value and leaves the time to live alone.
function store:put(key, value)
  local i = self.index[key]
  if i then
    self.vals[i] = value
  else
    i = self.n + 1
    self.n, self.index[key], self.keys[i], self.vals[i] = i, i, key, value
  end
end

-- When the key's time is over, or nil.
function store:deadline(key)
  local e = self.exp_index[key]
  return e and self.exp_at[e]
end

function store:expire_at(key, at)
  local e = self.exp_index[key]
  if not e then
    e = self.exp_n + 1
    self.exp_n, self.exp_index[key], self.exp_keys[e] = e, e, key
  end
  self.exp_at[e] = at
end

-- Walks `count` positions down from `cursor` (0: the start), calls visit(key, value) for what lives there, and returns the
-- cursor to go on from; 0: done. Removing expired keys on the way keeps (2).
function store:scan(cursor, count, visit)
  local i = (cursor <= 0 or cursor > self.n) and self.n or cursor
  for _ = 1, count do
    if i < 1 then return 0 end
    local key = self.keys[i]
    local found = self:find(key)
    if found then visit(key, self.vals[found]) end
    i = i - 1
    if i > self.n then i = self.n end
  end
  return i
end

-- The active side of expiry: looks at some keys with a time to live and removes those whose time is over; goes on while
-- more than a quarter of a round was, for at most `rounds`. Lazy expiry in `find` alone would keep what nobody asks for.
function store:sweep(rounds)
  for _ = 1, rounds do
    if self.exp_n == 0 then return end
    local now, seen, due = self.clock(), 0, 0
    local i = self.sweep_at
    while seen < 200 and seen < self.exp_n + due do
      if i < 1 or i > self.exp_n then i = self.exp_n end
      if i < 1 then break end
      seen = seen + 1
      if self.exp_at[i] <= now then
        due = due + 1
        self:remove(self.exp_keys[i])
      end
      i = i - 1
    end
    self.sweep_at = i
    self.expired_keys = self.expired_keys + due
    if due * 4 <= seen then return end
  end
end

return store
