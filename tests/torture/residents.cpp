#include "tests/torture/residents.hpp"

#include <stdexcept>

namespace Atoll::torture {

namespace {

void chain(native_context& c, const std::shared_ptr<ledger>& book, int left) {
  (void)c.finalizer(
      [book, left](native_context& again) {
        book->note();
        if (left > 0) chain(again, book, left - 1);
      },
      left % 2 == 0 ? 1 : -1);
}

} // namespace

native_interface native_resident(std::shared_ptr<ledger> book) {
  native_interface f;
  f.add(native_class<thing>("thing").method("hit", &thing::hit));
  f.function("make", [book](native_context& c) {
    book->note();
    return reference_to(c.make<thing>().header());
  });
  f.function("touch", [book](int x) {
    book->note();
    return x;
  });
  f.function("pass", [book](native_context& c, const std::vector<reference>& refs) {
    book->note();
    c.state<std::vector<reference>>() = refs;
  });
  f.function("fail", [book] {
    book->note();
    throw std::runtime_error("as asked");
  });
  f.function("chain", [book](native_context& c) {
    book->note();
    chain(c, book, 3);
  });
  return f;
}

source lua_resident() {
  return code(R"lua(
    local atoll = require "atoll"
    local habits, peers = ...
    local function has(letter) return habits:find(letter, 1, true) end
    local Thing = {__name = "thing", __atoll = "ref"}
    Thing.__index = Thing
    function Thing:hit() self.hits = self.hits + 1 return self.hits end
    local kept = {}

    local function chain(left)
      atoll.finalizer(nil, function()
        if has "r" and left == 2 then error("in a finalizer") end
        if left > 0 then chain(left - 1) end
      end, {priority = left % 2 == 0 and 1 or -1})
    end
    local function forever() while true do pcall(function() while true do end end) end end

    if has "e" then
      atoll.at_exit(function()
        for _, p in ipairs(peers) do pcall(p.call, p, "touch", 1) pcall(p.send, p, "pass", {Thing}) end
      end)
    end
    if has "s" then
      atoll.at_exit(function()
        local ok, e = pcall(atoll.spawn, {code = "return {}"})
        assert(not ok, "a birth during the finalization")
      end)
    end
    if has "c" then chain(3) end
    if has "r" then atoll.at_exit(function() error("in a handler") end) end
    if has "t" then
      atoll.every(0.0005, function() kept[#kept % 8 + 1] = atoll.ref({}) end)
      atoll.task(function() while true do atoll.sleep(0.0003) end end)
    end
    if has "w" then atoll.at_exit(forever) end
    if has "f" then atoll.finalizer(nil, forever, {priority = -1}) end
    if has "k" then atoll.after(0.0002, forever) end
    if has "m" then
      atoll.at_exit(function() local all = {} while true do all[#all + 1] = ("x"):rep(10000) end end)
    end
    atoll.at_exit(function() atoll.log.warn("goodbye") end)
    return {
      make = function() return setmetatable({hits = 0}, Thing) end,
      touch = function(x) return x end,
      pass = function(refs) kept = refs end,
      fail = function() error("as asked") end,
      chain = function() chain(3) end,
    }
  )lua",
              "resident");
}

} // namespace Atoll::torture
