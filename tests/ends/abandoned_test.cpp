// Whom the finalization had to leave behind: none of its code runs when finalize() has returned, though its thread comes
// back, and though it only waited for a worker.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "tests/actors/outside.hpp"
#include "tests/in_a_process.hpp"

using namespace Atoll;
using namespace std::chrono_literals;

namespace {

std::atomic<bool> release{false};
std::atomic<int> ran{0};

struct mortal {
  ~mortal() { ++ran; }
};

/// One worker, which a guest's function keeps; behind it more messages for the same guest, and for others. In a process of
/// its own, as the threads stay behind. 0: as it should be.
int nothing_runs_after_the_end() {
  native_interface offered;
  offered.function("block", [](native_context& c) {
    (void)c.make<mortal>();
    c.state<mortal>();
    (void)c.finalizer([](native_context&) { ++ran; }, -1);
    (void)c.at_exit([](native_context&) { ++ran; });
    while (!release) std::this_thread::sleep_for(1ms);
  });
  offered.add(native_class<mortal>("mortal")).function("run", [] { ++ran; });
  system_config config;
  config.workers = 1;
  config.spare_workers = 0; // nobody takes over what waits
  config.deadline = 600ms;
  config.languages["native"] = native(offered);
  config.languages["lua"] = lua();
  config.log = [](std::string_view line) {
    if (release && line.find("goodbye") != std::string_view::npos) ++ran;
  };
  Atoll::system runtime(config);
  const auto stuck = runtime.spawn<native>({.name = "stuck"});
  const auto waits = runtime.spawn<native>({.name = "waits"});
  const auto script = runtime.spawn<lua>({}, code(R"(
    local atoll = require "atoll"
    local function say() atoll.log.warn("goodbye") end
    atoll.at_exit(say)
    atoll.finalizer(nil, say, {priority = -1})
    return {run = say}
  )"));
  if (!stuck || !waits || !script) return 1;
  (void)stuck->send("block");
  for (int i = 0; i < 3; ++i)
    for (const interpreter_handle& who : {*stuck, *waits, *script}) (void)who.send("run");
  (void)runtime.add_pending_call(stuck->id(), [] { ++ran; });
  (void)runtime.add_pending_call(waits->id(), [] { ++ran; });
  const auto start = std::chrono::steady_clock::now();
  const finalization_report r = runtime.finalize();
  if (std::chrono::steady_clock::now() - start > 5s) return 2;
  if (r.interpreters.size() != 3) return 3;
  for (const interpreter_report& i : r.interpreters)
    if (i.outcome != end_kind::abandoned) return 4;
  const int before = ran;
  release = true;
  std::this_thread::sleep_for(300ms); // what should not happen would by then
  return ran == before ? 0 : 5;
}

} // namespace

TEST_CASE(
    "abandoned: no code of a guest runs after the end, neither behind a function that comes back nor in who waited") {
  CHECK(test::in_a_process(nothing_runs_after_the_end) == 0);
}
