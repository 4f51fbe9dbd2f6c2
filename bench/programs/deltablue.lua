-- DeltaBlue: an incremental solver of one-way constraints with strengths, after Freeman-Benson and Maloney, on their
-- two networks: a chain of equalities, and a set of scaled values (projection).
-- Watches: method calls through metatables, many small objects, lists that grow and shrink.
local size = tonumber((...)) or 12000

-- Strengths: a smaller number is stronger.
local required, preferred, strong_default, normal, weak_default, weakest = 0, 2, 3, 4, 5, 6

local function class(base)
  local c = {}
  c.__index = c
  return setmetatable(c, base)
end

local function remove(list, item)
  for i = #list, 1, -1 do
    if list[i] == item then table.remove(list, i) end
  end
end

local function pop(list)
  local n = #list
  local item = list[n]
  list[n] = nil
  return item
end

local function variable(value)
  return {value = value, constraints = {}, by = nil, mark = 0, strength = weakest, stays = true}
end

local planner = class()

-- What every constraint has: an output variable that it may determine, inputs, a strength.
local constraint = class()

function constraint:add(p)
  self:join()
  p:incremental_add(self)
end

function constraint:destroy(p)
  if self.satisfied then p:incremental_remove(self) else self:leave() end
end

function constraint:satisfy(mark, p)
  self:choose(mark)
  if not self.satisfied then
    if self.strength == required then error("deltablue: a required constraint can't be satisfied") end
    return nil
  end
  self:mark_inputs(mark)
  local out = self:output()
  local overridden = out.by
  if overridden then overridden.satisfied = false end
  out.by = self
  if not p:propagate(self, mark) then error("deltablue: a cycle") end
  out.mark = mark
  return overridden
end

-- Unary: determines its one variable.
local unary = class(constraint)

function unary:output() return self.variable end
function unary:join()
  local list = self.variable.constraints
  list[#list + 1] = self
end
function unary:leave()
  remove(self.variable.constraints, self)
  self.satisfied = false
end
function unary:choose(mark)
  self.satisfied = self.variable.mark ~= mark and self.strength < self.variable.strength
end
function unary:mark_inputs() end
function unary:inputs_known() return true end
function unary:recalculate()
  local out = self.variable
  out.strength = self.strength
  out.stays = not self.is_input
  if out.stays then self:execute() end
end
function unary:execute() end

local function stay(v, strength, p)
  setmetatable({variable = v, strength = strength, satisfied = false, is_input = false}, unary):add(p)
end

local function edit(v, strength, p)
  local c = setmetatable({variable = v, strength = strength, satisfied = false, is_input = true}, unary)
  c:add(p)
  return c
end

-- Binary: either variable may be determined from the other.
local binary = class(constraint)

function binary:output() return self.forward and self.second or self.first end
function binary:input() return self.forward and self.first or self.second end
function binary:join()
  for _, v in ipairs(self:variables()) do v.constraints[#v.constraints + 1] = self end
end
function binary:variables() return {self.first, self.second} end
function binary:leave()
  for _, v in ipairs(self:variables()) do remove(v.constraints, self) end
  self.satisfied = false
end

local function can_set(self, v, mark, other)
  return v.mark ~= mark and self.strength < v.strength and (other == nil or other.mark == mark)
end

function binary:choose(mark)
  local a, b = self.first, self.second
  if a.mark == mark then
    self.satisfied, self.forward = can_set(self, b, mark, nil), true
  elseif b.mark == mark then
    self.satisfied, self.forward = can_set(self, a, mark, nil), false
  elseif a.strength > b.strength then
    self.satisfied, self.forward = self.strength < a.strength, false
  else
    self.satisfied, self.forward = self.strength < b.strength, true
  end
end

function binary:mark_inputs(mark) self:input().mark = mark end
local function known(v, mark) return v.mark == mark or v.stays or v.by == nil end
function binary:inputs_known(mark) return known(self:input(), mark) end
function binary:recalculate()
  local into, from = self:output(), self:input()
  into.strength = math.max(self.strength, from.strength)
  into.stays = self:input_stays()
  if into.stays then self:execute() end
end
function binary:input_stays() return self:input().stays end
function binary:execute() self:output().value = self:input().value end

local function equal(a, b, strength, p)
  setmetatable({first = a, second = b, strength = strength, satisfied = false, forward = true}, binary):add(p)
end

-- Scale: second = first * factor + offset, where factor and offset are variables that it only reads.
local scale = class(binary)

function scale:variables() return {self.first, self.second, self.factor, self.offset} end
function scale:mark_inputs(mark)
  self:input().mark, self.factor.mark, self.offset.mark = mark, mark, mark
end
function scale:inputs_known(mark)
  return known(self:input(), mark) and known(self.factor, mark) and known(self.offset, mark)
end
function scale:input_stays() return self:input().stays and self.factor.stays and self.offset.stays end
function scale:execute()
  if self.forward then
    self.second.value = self.first.value * self.factor.value + self.offset.value
  else
    self.first.value = (self.second.value - self.offset.value) // self.factor.value
  end
end

local function scaled(from, factor, offset, to, strength, p)
  setmetatable({first = from, second = to, factor = factor, offset = offset, strength = strength, satisfied = false,
                forward = true}, scale):add(p)
end

-- Metatables are looked up raw: what a class inherits is copied once.
for name, f in pairs(constraint) do
  for _, c in ipairs{unary, binary, scale} do c[name] = rawget(c, name) or f end
end
for name, f in pairs(binary) do scale[name] = rawget(scale, name) or f end
unary.__index, binary.__index, scale.__index = unary, binary, scale

-- The planner.

local function new_planner() return setmetatable({mark = 0}, planner) end

function planner:new_mark()
  self.mark = self.mark + 1
  return self.mark
end

function planner:incremental_add(c)
  local mark = self:new_mark()
  local overridden = c:satisfy(mark, self)
  while overridden do overridden = overridden:satisfy(mark, self) end
end

function planner:incremental_remove(c)
  local out = c:output()
  c:leave()
  local unsatisfied = self:retract(out)
  table.sort(unsatisfied, function(a, b) return a.strength < b.strength end)
  for _, u in ipairs(unsatisfied) do self:incremental_add(u) end
end

local function add_consumers(v, list)
  for _, c in ipairs(v.constraints) do
    if c.satisfied and c ~= v.by then list[#list + 1] = c end
  end
end

-- Recalculates everything downstream of c; false when that reaches c's own input.
function planner:propagate(c, mark)
  local todo = {c}
  while #todo > 0 do
    local next = pop(todo)
    if next:output().mark == mark then
      self:incremental_remove(c)
      return false
    end
    next:recalculate()
    add_consumers(next:output(), todo)
  end
  return true
end

-- Takes back what depended on a variable that nothing determines now; returns the constraints that could step in.
function planner:retract(out)
  out.by, out.strength, out.stays = nil, weakest, true
  local unsatisfied, todo = {}, {out}
  while #todo > 0 do
    local v = pop(todo)
    for _, c in ipairs(v.constraints) do
      if not c.satisfied then unsatisfied[#unsatisfied + 1] = c end
    end
    local consumers = {}
    add_consumers(v, consumers)
    for _, c in ipairs(consumers) do
      c:recalculate()
      todo[#todo + 1] = c:output()
    end
  end
  return unsatisfied
end

-- The order in which to execute constraints when these inputs change.
function planner:plan(inputs)
  local mark, plan, todo = self:new_mark(), {}, {}
  for _, c in ipairs(inputs) do
    if c.is_input and c.satisfied then todo[#todo + 1] = c end
  end
  while #todo > 0 do
    local c = pop(todo)
    local out = c:output()
    if out.mark ~= mark and c:inputs_known(mark) then
      plan[#plan + 1] = c
      out.mark = mark
      add_consumers(out, todo)
    end
  end
  return plan
end

local function execute(plan)
  for i = 1, #plan do plan[i]:execute() end
end

local function chain(n)
  local p, vars = new_planner(), {}
  for i = 0, n do vars[i] = variable(0) end
  for i = 1, n do equal(vars[i - 1], vars[i], required, p) end
  stay(vars[n], strong_default, p)
  local e = edit(vars[0], preferred, p)
  local plan = p:plan{e}
  for value = 1, 100 do
    vars[0].value = value
    execute(plan)
    if vars[n].value ~= value then error("deltablue: the chain ends in " .. vars[n].value) end
  end
  e:destroy(p)
end

local function change(p, v, value)
  local e = edit(v, preferred, p)
  local plan = p:plan{e}
  for _ = 1, 10 do
    v.value = value
    execute(plan)
  end
  e:destroy(p)
end

local function projection(n)
  local p, factor, offset = new_planner(), variable(10), variable(1000)
  local from, to = {}, {}
  for i = 1, n do
    from[i], to[i] = variable(i), variable(i)
    stay(from[i], normal, p)
    scaled(from[i], factor, offset, to[i], required, p)
  end
  local function expect(list, formula, last)
    for i = 1, last do
      if list[i].value ~= formula(i) then error("deltablue: projected to " .. list[i].value) end
    end
  end
  change(p, from[n], 17)
  expect({to[n]}, function() return 1170 end, 1)
  change(p, to[n], 1050)
  expect({from[n]}, function() return 5 end, 1)
  change(p, factor, 5)
  expect(to, function(i) return i * 5 + 1000 end, n - 1)
  change(p, offset, 2000)
  expect(to, function(i) return i * 5 + 2000 end, n - 1)
end

for _ = 1, 3 do
  chain(size)
  projection(size)
end
print(("deltablue: chain and projection of %d"):format(size))
