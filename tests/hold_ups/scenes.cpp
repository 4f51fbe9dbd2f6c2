#include "tests/hold_ups/scenes.hpp"

#include <fmt/format.h>

#include <chrono>

namespace Atoll::hold_ups {

namespace {

using namespace std::chrono_literals;

struct thing {
  int hit() const { return 1; }
};

native_interface compiled_interface(std::shared_ptr<aftertime> after) {
  native_interface f;
  f.add(native_class<thing>("thing").method("hit", &thing::hit));
  f.function("make", [after](native_context& c) {
    after->note_guest();
    return reference_to(c.make<thing>().header());
  });
  f.function("touch", [after](int x) {
    after->note_guest();
    return x;
  });
  return f;
}

const char* const script_text = R"lua(
  local atoll = require "atoll"
  local asked, offered, other = ...
  local Thing = {__name = "thing", __atoll = "ref"}
  Thing.__index = Thing
  function Thing:hit() return 1 end
  local kept = {}
  atoll.task(function() while asked:recv() do end end)
  atoll.task(function() while offered:send(1) do end end)
  atoll.finalizer(nil, function() end, {priority = 1})
  atoll.at_exit(function() pcall(other.call, other, "touch", 1) end)
  atoll.every(0.001, function() kept[#kept % 8 + 1] = other:call("make") end)
  return {
    make = function() return setmetatable({}, Thing) end,
    touch = function(x) return x end,
    pass = function(...) kept = {...} end,
    lend = function() return atoll.buffer(64) end,
  }
)lua";

} // namespace

stage::stage(std::chrono::milliseconds deadline, std::function<void(std::string_view)> at_phase) : deadline_(deadline) {
  system_config c;
  c.workers = 2;
  c.deadline = deadline;
  c.languages["native"] = native(compiled_interface(after));
  c.languages["lua"] = lua();
  c.log = [after = after](std::string_view) { after->note(); };
  c.on_phase = [after = after, at_phase = std::move(at_phase)](std::string_view phase) {
    after->note();
    at_phase(phase);
  };
  runtime_ = std::make_unique<Atoll::system>(std::move(c));
  asked = *runtime_->make_channel<int>();
  offered = *runtime_->make_channel<int>({.capacity = 0});
  compiled = *runtime_->spawn<native>({});
  script = *runtime_->spawn<lua>({}, code(script_text, "script"), asked, offered, compiled);
  of_compiled = *compiled.call<ref<>>("make").get();
  of_script = *script.call<ref<>>("make").get();
  of_host = *runtime_->make_buffer(64);
  lent = *script.call<buffer>("lend").get();
}

std::string stage::end() {
  for (const interpreter_handle& h : {script, compiled})
    (void)h.monitor([after = after](const down&) { after->note(); });
  const auto start = std::chrono::steady_clock::now();
  const finalization_report r = runtime_->finalize();
  const auto took = std::chrono::steady_clock::now() - start;
  for (const interpreter_report& i : r.interpreters)
    if (i.outcome == end_kind::abandoned) after->abandoned = true;
  after->over = true;
  if (took > deadline_ + 2s) // who stands still may have a lock that it needs, and the machine may be busy
    return fmt::format("finalize() took {} ms, with a deadline of {} ms",
                       std::chrono::duration_cast<std::chrono::milliseconds>(took).count(), deadline_.count());
  return {};
}

const std::vector<deed>& deeds() {
  static const std::vector<deed> all{
      {"send to a task that waits", [](stage& s) { return [c = s.asked] { (void)c.send(1, 50ms); }; }},
      {"receive from a task that waits", [](stage& s) { return [c = s.offered] { (void)c.recv(50ms); }; }},
      {"close a channel on which a task waits", [](stage& s) { return [c = s.asked] { (void)c.close(); }; }},
      {"let go of the last handle of a channel",
       [](stage& s) {
         channel<int> own = *s.runtime().make_channel<int>();
         (void)own.send(1);
         return [c = std::move(own)]() mutable { c = {}; };
       }},
      {"let go of the host's own buffer", [](stage& s) { return [b = std::move(s.of_host)]() mutable { b = {}; }; }},
      {"let go of a buffer of an interpreter", [](stage& s) { return [b = std::move(s.lent)]() mutable { b = {}; }; }},
      {"let go of an object in Lua", [](stage& s) { return [r = std::move(s.of_script)]() mutable { r = {}; }; }},
      {"let go of a native object", [](stage& s) { return [r = std::move(s.of_compiled)]() mutable { r = {}; }; }},
      {"call", [](stage& s) { return [h = s.script] { (void)h.call<int>("touch", 1).get_for(50ms); }; }},
      {"call an object", [](stage& s) { return [r = s.of_compiled] { (void)r.call<int>("hit").get_for(50ms); }; }},
      {"pass on what others own",
       [](stage& s) {
         return [h = s.script, r = s.of_compiled, b = s.of_host, c = s.asked] { (void)h.send("pass", r, b, c); };
       }},
      {"send references into a channel",
       [](stage& s) {
         channel<ref<>> own = *s.runtime().make_channel<ref<>>();
         return [c = std::move(own), r = s.of_script]() mutable {
           (void)c.send(r);
           c = {};
         };
       }},
      {"drop a future", [](stage& s) { return [h = s.compiled] { (void)h.call<int>("touch", 1); }; }},
      {"watch",
       [](stage& s) {
         return [h = s.script, after = s.after] { (void)h.monitor([after](const down&) { after->note(); }); };
       }},
      {"kill", [](stage& s) { return [h = s.compiled] { (void)h.kill(); }; }},
      {"stop", [](stage& s) { return [h = s.script] { (void)h.stop(10ms).get_for(50ms); }; }},
      {"a job", [](stage& s) { return [h = s.compiled] { (void)h.make<thing>().get_for(50ms); }; }},
      {"spawn",
       [](stage& s) {
         return [&runtime = s.runtime()] {
           (void)runtime.spawn_async({.language = "lua"}, code("return {}")).get_for(50ms);
         };
       },
       true},
      {"a pending call",
       [](stage& s) {
         return [&runtime = s.runtime(), who = s.script.id(), after = s.after] {
           (void)runtime.add_pending_call(who, [after] { after->note(); });
         };
       },
       true},
      {"ask for all references", [](stage& s) { return [&runtime = s.runtime()] { (void)runtime.references(20ms); }; },
       true},
  };
  return all;
}

} // namespace Atoll::hold_ups
