-- Richards: an operating system's scheduler in miniature, after Martin Richards: an idler, a worker, two handlers and
-- two devices pass packets; the numbers of packets queued and of tasks held are known.
-- Watches: method calls, field access, linked lists.
local repeats = tonumber((...)) or 62

local idler, worker, handler_a, handler_b, device_a, device_b = 1, 2, 3, 4, 5, 6
local running, runnable, suspended, held = 0, 1, 2, 4
local device_kind, work_kind = 1, 2
local data_size = 4

local function packet(link, destination, kind)
  return {link = link, destination = destination, kind = kind, at = 1, data = {0, 0, 0, 0}}
end

local function append(list, item)
  item.link = nil
  if not list then return item end
  local last = list
  while last.link do last = last.link end
  last.link = item
  return list
end

local scheduler = {}
scheduler.__index = scheduler

local function new_scheduler()
  return setmetatable({tasks = {}, first = nil, current = nil, queued = 0, held = 0}, scheduler)
end

local task = {}
task.__index = task

function scheduler:add(id, priority, inbox, state, step)
  local t = setmetatable({id = id, priority = priority, inbox = inbox, state = state, step = step, next = self.first}, task)
  self.first = t
  self.tasks[id] = t
end

function task:waits() return self.state & held ~= 0 or self.state == suspended end

function task:take()
  if self.state ~= suspended | runnable then return nil end
  local p = self.inbox
  self.inbox = p.link
  self.state = self.inbox and runnable or running
  return p
end

-- The task to run after p has been queued here: this one if it is more urgent than the sender.
function task:receive(p, sender)
  if self.inbox then
    append(self.inbox, p)
    return sender
  end
  p.link = nil
  self.inbox = p
  self.state = self.state | runnable
  return self.priority > sender.priority and self or sender
end

function scheduler:hold()
  self.held = self.held + 1
  self.current.state = self.current.state | held
  return self.current.next
end

function scheduler:suspend()
  self.current.state = self.current.state | suspended
  return self.current
end

function scheduler:wake(id)
  local t = self.tasks[id]
  t.state = t.state & ~held
  return t.priority > self.current.priority and t or self.current
end

function scheduler:queue(p)
  local target = self.tasks[p.destination]
  self.queued = self.queued + 1
  p.link = nil
  p.destination = self.current.id
  return target:receive(p, self.current)
end

function scheduler:run()
  self.current = self.first
  while self.current do
    local t = self.current
    if t:waits() then self.current = t.next else self.current = t.step(self, t:take()) end
  end
end

-- Wakes one device or the other by the bits of a shift register, a given number of times.
local function idle_step(count)
  local register = 1
  return function(s)
    count = count - 1
    if count == 0 then return s:hold() end
    local bit = register & 1
    register = register >> 1
    if bit == 0 then return s:wake(device_a) end
    register = register ~ 0xd008
    return s:wake(device_b)
  end
end

local function work_step()
  local target, letter = handler_a, 0
  return function(s, p)
    if not p then return s:suspend() end
    target = target == handler_a and handler_b or handler_a
    p.destination, p.at = target, 1
    for i = 1, data_size do
      letter = letter % 26 + 1
      p.data[i] = letter
    end
    return s:queue(p)
  end
end

local function handle_step()
  local work, devices
  return function(s, p)
    if p then
      if p.kind == work_kind then work = append(work, p) else devices = append(devices, p) end
    end
    if work then
      if work.at > data_size then
        local done = work
        work = work.link
        return s:queue(done)
      elseif devices then
        local order = devices
        devices = devices.link
        order.at = work.data[work.at]
        work.at = work.at + 1
        return s:queue(order)
      end
    end
    return s:suspend()
  end
end

local function device_step()
  local pending
  return function(s, p)
    if p then
      pending = p
      return s:hold()
    elseif pending then
      local ready = pending
      pending = nil
      return s:queue(ready)
    end
    return s:suspend()
  end
end

local function packets(n, destination, kind)
  local list
  for _ = 1, n do list = packet(list, destination, kind) end
  return list
end

for _ = 1, repeats do
  local s = new_scheduler()
  s:add(idler, 0, nil, running, idle_step(10000))
  s:add(worker, 1000, packets(2, worker, work_kind), suspended | runnable, work_step())
  s:add(handler_a, 2000, packets(3, device_a, device_kind), suspended | runnable, handle_step())
  s:add(handler_b, 3000, packets(3, device_b, device_kind), suspended | runnable, handle_step())
  s:add(device_a, 4000, nil, suspended, device_step())
  s:add(device_b, 5000, nil, suspended, device_step())
  s:run()
  if s.queued ~= 23246 or s.held ~= 9297 then
    error(("richards: %d queued, %d held"):format(s.queued, s.held))
  end
end
print(("richards: %d runs, %d packets"):format(repeats, repeats * 23246))
