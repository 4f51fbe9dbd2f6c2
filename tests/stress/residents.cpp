#include "tests/stress/residents.hpp"

#include <random>

namespace Atoll::stress {

namespace {

constexpr std::size_t most_kept = 4000; // as in Lua below

/// What one interpreter keeps.
struct cellar {
  std::vector<reference> kept;
  std::mt19937 dice;

  std::size_t below(std::size_t n) { return dice() % n; }
  void keep(const reference& r) {
    if (kept.size() >= most_kept) kept.resize(below(2) == 0 ? 0 : most_kept / 2);
    kept.push_back(r);
  }
};

using references = std::vector<reference>;
using route = std::vector<interpreter_id>;

references fresh(native_context& c, int n) {
  references all;
  for (int i = 0; i < n; ++i) all.push_back(reference_to(c.make<node>().header()));
  return all;
}

} // namespace

native_interface native_resident(std::atomic<std::uint64_t>& moved) {
  const auto send_on = [&moved](native_context& c, const references& refs, route way) {
    if (way.empty() || refs.empty()) return;
    const interpreter_id to = way.back();
    way.pop_back();
    if (c.send(to, "pass", refs, way)) moved.fetch_add(refs.size(), std::memory_order_relaxed);
  };
  native_interface f;
  f.add(native_class<node>("node").method("hit", &node::hit));
  f.function("make", [send_on](native_context& c, int n, route way) { send_on(c, fresh(c, n), std::move(way)); });
  f.function("pass", [send_on](native_context& c, const references& refs, route way) {
    cellar& own = c.state<cellar>();
    for (const reference& r : refs)
      if (own.below(4) == 0) own.keep(r);
    send_on(c, refs, std::move(way));
  });
  f.function("touch", [](native_context& c, int n) {
    cellar& own = c.state<cellar>();
    for (; n > 0 && !own.kept.empty(); --n)
      if (const auto* held = own.kept[own.below(own.kept.size())].as<foreign_holder>())
        (void)c.send(held->held(), "hit"); // its owner may be gone
  });
  f.function("drop", [](native_context& c) { c.state<cellar>().kept.clear(); });
  f.function("give", [](native_context& c, int n) { return fresh(c, n); });
  f.function("some", [](native_context& c, int n) {
    cellar& own = c.state<cellar>();
    references all;
    for (; n > 0 && !own.kept.empty(); --n) all.push_back(own.kept[own.below(own.kept.size())]);
    return all;
  });
  f.function("bear", [](int) {});
  f.function("figures", [] { return std::vector<int>{0, 0}; }); // counted as it happens; it does not wait for answers
  return f;
}

source lua_resident() {
  return code(R"lua(
    local atoll = require "atoll"
    local random = math.random
    local Node = {__name = "node", __atoll = "ref"}
    Node.__index = Node
    function Node:hit() self.hits = self.hits + 1 return self.hits end

    local kept, count, most = {}, 0, 4000
    local moved, early = 0, 0

    local function fresh(n)
      local all = {}
      for i = 1, n do all[i] = setmetatable({hits = 0}, Node) end
      return all
    end
    local function send_on(refs, route)
      local to = table.remove(route)
      if to == nil or #refs == 0 then return end
      if pcall(to.send, to, "pass", refs, route) then moved = moved + #refs end
    end
    local function keep(r)
      if count >= most then
        if random(2) == 1 then
          for i = 1, count do if atoll.is_ref(kept[i]) then atoll.release(kept[i]) end end
        end
        kept, count = {}, 0 -- else: the collector finds them
      end
      count = count + 1
      kept[count] = r
    end
    local function some(n)
      local all = {}
      for i = 1, count > 0 and n or 0 do all[i] = kept[random(count)] end
      return all
    end

    return {
      make = function(n, route) send_on(fresh(n), route) end,
      pass = function(refs, route)
        for i = 1, #refs do if random(4) == 1 then keep(refs[i]) end end
        send_on(refs, route)
      end,
      touch = function(n)
        for _, r in ipairs(some(n)) do
          if random(2) == 1 then
            pcall(atoll.send, r, "hit")
          else
            local ok, e = pcall(function() return r:hit() end)
            if not ok and tostring(e):find("no such object any more", 1, true) then early = early + 1 end
          end
        end
      end,
      drop = function() kept, count = {}, 0 if random(4) == 1 then collectgarbage() end end,
      give = fresh,
      some = some,
      bear = function(n)
        local ok, child = pcall(atoll.spawn, {code = [[
          local kept = {...}
          return {take = function(refs) kept = refs return refs end}
        ]]}, {args = {some(1)}})
        if not ok then return end
        pcall(child.call, child, "take", some(n))
        if random(2) == 1 then child:kill() else pcall(child.stop, child) end
      end,
      figures = function() return {moved, early} end,
    }
  )lua",
              "resident");
}

} // namespace Atoll::stress
