// The guests of the simulation: a Lua program and a native interface that do at random whatever a program can do with
// references; the Lua program shares memory too. Both answer to the same names, so that anyone may call anyone: act, take, give, wind_up; their objects:
// poke, wait, refuse.
// Threads: as any guest.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "atoll/lua.hpp"
#include "atoll/native.hpp"

namespace Atoll::test {

/// The Lua program. Its arguments: its own text, for children; whether it lives until it is ended.
/// What must not happen it logs as "broken: ...". No loop over string keys: their order differs from run to run.
inline constexpr const char* lua_player = R"lua(
local text, stays = ...
local atoll = require("atoll")
local random = math.random
local me = atoll.self().id
local made, kept, blocks, held_timers, depth = {}, {}, {}, {}, 0
local things = setmetatable({}, {__mode = "k"})
local class = {__atoll = "ref", __name = "thing", __close = function() end}
class.__index = class

local function broken(what) atoll.log.error("broken: " .. what) end

local function thing()
  if #made > 0 and random(3) > 1 then return made[random(#made)] end
  local t = setmetatable({owner = me, pokes = 0, field = false}, class)
  things[t] = true
  made[#made < 6 and #made + 1 or random(#made)] = t
  return t
end

-- Memory of one's own or of others; what was moved away or has ended is forgotten.
local function block()
  if #blocks == 0 or random(3) == 1 then blocks[#blocks < 6 and #blocks + 1 or random(#blocks)] = atoll.buffer(random(64)) end
  local i = random(#blocks)
  local b = blocks[i]
  if not pcall(b.len, b) then
    table.remove(blocks, i)
    return
  end
  if random(3) == 1 then
    local mine, moving = pcall(atoll.move, b)
    if mine then return moving end
  end
  if random(3) == 1 and #b > 1 then return b:slice(2, #b - 1) end
  return b
end

local function keep(v, level)
  if type(v) == "userdata" and tostring(v):find("^buffer") then
    local ok, text = pcall(v.read, v)
    if ok and text ~= ("\0"):rep(#v) then broken("a block was overwritten") end
    if random(2) == 1 then blocks[#blocks < 6 and #blocks + 1 or random(#blocks)] = v end
    return
  end
  if atoll.is_ref(v) then
    if atoll.owner(v).id == me then broken("one's own object came as a reference") end
    for i = 1, #kept do
      if kept[i] == v and not rawequal(kept[i], v) and not tostring(kept[i]):find("released", 1, true) then
        broken("one object, two references")
      end
    end
    if random(3) > 1 then kept[#kept < 12 and #kept + 1 or random(#kept)] = v end
  elseif type(v) == "table" and getmetatable(v) == class then
    if v.owner ~= me then broken("another's object came as one's own") end
  elseif type(v) == "table" and level < 4 then
    for i = 1, #v do keep(v[i], level + 1) end
  end
end

local function keep_all(...)
  for i = 1, select("#", ...) do keep((select(i, ...)), 0) end
end

local function one()
  local n = random(10)
  if n <= 2 then return thing() end
  if n <= 6 and #kept > 0 then return kept[random(#kept)] end
  if n == 7 then return string.rep("x", random(200)) end
  if n == 8 then
    local shared = {thing()}
    return {shared, shared, kept[random(#kept + 1)], 3}
  end
  if n == 9 and random(4) == 1 then return setmetatable({}, {}) end -- cannot cross: what was written is taken back
  if n == 10 then return block() end
  return random(1000)
end

local function some()
  local n = random(4)
  if n == 1 then return end
  if n == 2 then return one() end
  if n == 3 then return one(), one() end
  return one(), one(), one()
end

local function peer()
  local all = atoll.list()
  return all[random(#all)]
end

local act

local function called(...)
  keep_all(...)
  depth = depth + 1
  if depth < 3 and random(6) == 1 then act() end
  depth = depth - 1
end

function class:poke(...)
  if rawget(self, "owner") ~= me then broken("a method ran on something else") end
  self.pokes = self.pokes + 1
  called(...)
  return some()
end
function class:wait(...)
  keep_all(...)
  atoll.sleep(random(3) / 1000)
  return some()
end
function class:refuse(...)
  keep_all(...)
  error("refused")
end
local methods = {"poke", "poke", "poke", "wait", "refuse", "missing"}

local function any_kept() return kept[random(#kept)] or thing() end

local function forget(r)
  for i = #kept, 1, -1 do if rawequal(kept[i], r) then table.remove(kept, i) end end
  return r
end

local acts = {
  function() peer():send("take", some()) end,
  function() peer():send("take", some()) end,
  function() keep_all(peer():call("give", some())) end,
  function() keep_all(peer():call("take", some())) end,
  function() local r = any_kept(); local f = r[methods[random(#methods)]]; if f then keep_all(f(r, some())) end end,
  function() local r = any_kept(); if atoll.is_ref(r) then atoll.send(r, methods[random(#methods)], some()) end end,
  function() local r = any_kept(); if atoll.is_ref(r) then atoll.async(r, methods[random(#methods)], some()) end end,
  function()
    local f = peer():async("give", some())
    if random(2) == 1 then keep_all(f:await(random(4) / 1000)) end
  end,
  function() if #kept > 0 then atoll.release(forget(kept[random(#kept)])) end end,
  function() if #kept > 0 then table.remove(kept, random(#kept)) end collectgarbage(random(2) == 1 and "step" or "collect") end,
  function() if #made > 0 then table.remove(made, random(#made)) end end,
  function()
    local closed = any_kept()
    local ok, why = pcall(function()
      local r <close> = closed
      if atoll.is_ref(r) and random(2) == 1 then keep_all(r:poke(some())) end
    end)
    forget(closed)
    if not ok then error(why, 0) end
  end,
  function() local r = any_kept(); if atoll.is_ref(r) then atoll.set(r, "field", one()); keep_all(atoll.get(r, "field")) end end,
  function() held_timers[random(3)] = atoll.after(random(4) / 1000, function() act() end) end,
  function() local t = held_timers[random(3)]; if t then t:cancel() end end,
  function()
    local r = random(2) == 1 and any_kept() or peer()
    if type(r) == "table" and not atoll.is_ref(r) then return end
    local m = atoll.monitor(r, function(down) if type(down.reason) ~= "string" then broken("a monitor without a reason") end end)
    if random(3) == 1 then m:cancel() end
  end,
  function() if random(3) == 1 and #atoll.list() < 7 then atoll.spawn({code = text}, {args = {text, false, some()}}) end end,
  function() atoll.task(function() keep_all(peer():call("take", some())) end) end,
  function() if random(8) == 1 then peer():kill() end end,
  function() if random(8) == 1 then peer():stop(random(3) / 1000) end end,
  function() atoll.at_exit(function() peer():send("take", some()) end) end,
}

local M = {}
act = function()
  local ok, why = pcall(acts[random(#acts)])
  if not ok and type(why) == "string" and not why:find("refused", 1, true) then broken(why) end
end
function M.act() act() end
function M.take(...) called(...) end
function M.give(...) called(...) return some() end
function M.wind_up()
  made, kept, blocks = {}, {}, {}
  for t in pairs(things) do t.field = false end -- circles through several interpreters are not collected
  for i = 1, 3 do if held_timers[i] then held_timers[i]:cancel() end end
  acts = {function() end}
  some = function() end
  keep = function() end
  collectgarbage()
  collectgarbage()
end
if stays then M.forever = atoll.every(1000, function() end) end
keep_all(select(3, ...))
return M
)lua";

class native_thing;

/// What a native player has: objects of its own, and references.
struct native_hand {
  std::vector<value> kept;
  std::shared_ptr<std::vector<native_thing*>> holding =
      std::make_shared<std::vector<native_thing*>>(); // no order of pointers
  std::uint64_t random = 88172645463325252ULL;

  std::size_t below(std::size_t n) {
    random ^= random << 13U;
    random ^= random >> 7U;
    random ^= random << 17U;
    return static_cast<std::size_t>(random % n);
  }
};

class native_thing {
public:
  native_thing() = default;
  native_thing(const native_thing&) = delete;
  native_thing& operator=(const native_thing&) = delete;
  ~native_thing() {
    if (holding_) std::erase(*holding_, this);
  }
  /// Another may hold this one, which then dies here: nothing of it is touched any more.
  void forget() { const std::vector<value> last = std::exchange(kept_, {}); }
  std::vector<value> poke(native_context& c, native_args args);
  native_results refuse(native_context&, native_args) { return fail(errc::guest_error, "refused"); }

private:
  std::vector<value> kept_;
  std::shared_ptr<std::vector<native_thing*>> holding_;
};

inline void native_keep(native_context& c, native_args args) {
  native_hand& hand = c.state<native_hand>();
  for (const value& v : args) {
    if (hand.below(3) == 0) continue;
    if (hand.kept.size() < 10) {
      hand.kept.push_back(v);
    } else {
      hand.kept[hand.below(hand.kept.size())] = v;
    }
  }
}

inline std::vector<value> native_some(native_context& c) {
  native_hand& hand = c.state<native_hand>();
  std::vector<value> all;
  for (std::size_t n = hand.below(3); n > 0; --n) {
    if (hand.kept.empty() || hand.below(3) == 0) {
      all.push_back(to_value(c.make<native_thing>()));
    } else {
      all.push_back(hand.kept[hand.below(hand.kept.size())]);
    }
  }
  return all;
}

inline std::vector<value> native_thing::poke(native_context& c, native_args args) {
  const std::vector<value> before = std::exchange(kept_, std::vector<value>(args.begin(), args.end()));
  if (holding_ == nullptr) {
    holding_ = c.state<native_hand>().holding;
    holding_->push_back(this);
  }
  return native_some(c);
}

inline void native_act(native_context& c) {
  native_hand& hand = c.state<native_hand>();
  const std::size_t what = hand.below(6);
  if (what == 0 && !hand.kept.empty()) {
    hand.kept.erase(hand.kept.begin() + static_cast<std::ptrdiff_t>(hand.below(hand.kept.size())));
  } else if (what < 4) {
    const auto all = c.outside().list();
    (void)c.send_values(all[hand.below(all.size())].id, "take",
                        native_some(c)); // it may be gone: nothing was sent then
  } else if (!hand.kept.empty()) {
    const value& v = hand.kept[hand.below(hand.kept.size())];
    const reference* r = v.if_reference();
    const auto* foreign = r != nullptr ? r->as<foreign_holder>() : nullptr;
    if (foreign != nullptr && foreign->held())
      (void)c.send_values(foreign->held(), hand.below(4) == 0 ? "refuse" : "poke", native_some(c));
  }
}

inline native_interface native_player() {
  native_interface offered;
  offered
      .add(native_class<native_thing>("thing")
               .method("poke", &native_thing::poke)
               .method("refuse", &native_thing::refuse))
      .on_start([](native_context& c, native_args args) {
        c.state<native_hand>().random ^= number(c.id()) * 0x9E3779B97F4A7C15ULL;
        native_keep(c, args);
      })
      .function("act", [](native_context& c, native_args) { native_act(c); })
      .function("take", [](native_context& c, native_args args) { native_keep(c, args); })
      .function("give",
                [](native_context& c, native_args args) {
                  native_keep(c, args);
                  return native_some(c);
                })
      .function("wind_up", [](native_context& c, native_args) {
        native_hand& hand = c.state<native_hand>();
        hand.kept.clear();
        const auto things = *hand.holding; // circles through several interpreters are not collected
        for (native_thing* t : things)
          if (std::find(hand.holding->begin(), hand.holding->end(), t) != hand.holding->end()) t->forget();
      });
  return offered;
}

} // namespace Atoll::test
