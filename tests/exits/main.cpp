// exits HOW: a host program that leaves while its runtime is at work, in one of the ways in which programs leave. It must
// neither crash nor hang, and end with the status it asked for (tests/shell/host_exits.sh).
//
//   static   returns from main, the runtime a static object                                 3
//   exit     std::exit in main, the runtime on main's stack: nobody ever ends it            4
//   thread   std::exit in another thread, while main waits for its program                  5
//   turn     std::exit in an interpreter's turn, the runtime a static object                6
//   leaked   returns from main, the runtime never ended                                     7
//   quick    std::quick_exit                                                                8
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>

#include <atoll/lua.hpp>

namespace {

using namespace std::chrono_literals;

// Two that log all the time, and when they end.
const char* const program = R"(
  local atoll = require "atoll"
  local function say() atoll.log.warn("still here") end
  atoll.every(0.0003, say)
  atoll.at_exit(say)
  atoll.finalizer(nil, say, {priority = -1})
  return {touch = function(x) return x end}
)";

Atoll::system_config settings() {
  Atoll::system_config config;
  config.workers = 2;
  config.deadline = 1s;
  config.languages["lua"] = Atoll::lua();
  return config;
}

/// Threads that call and let go, and never stop.
void load(Atoll::system& runtime) {
  for (int i = 0; i < 2; ++i) {
    const auto who = runtime.spawn<Atoll::lua>({}, Atoll::code(program));
    if (!who) std::_Exit(100);
    std::thread([who = *who] {
      for (;;) {
        (void)who.call<int>("touch", 1).get();
        (void)who.call<int>("touch", 1);
      }
    }).detach();
  }
  std::this_thread::sleep_for(5ms);
}

} // namespace

int main(int argc, char** argv) {
  const auto how = [&](const char* name) { return argc == 2 && std::strcmp(argv[1], name) == 0; };
  if (how("static") || how("turn")) {
    static Atoll::system runtime(settings());
    load(runtime);
    if (how("static")) return 3;
    (void)runtime.add_pending_call(Atoll::interpreter_id{2}, [] { std::exit(6); });
    for (;;) std::this_thread::sleep_for(1s);
  }
  if (how("leaked")) {
    static auto* const runtime = new Atoll::system(settings());
    load(*runtime);
    return 7;
  }
  Atoll::system runtime(settings());
  load(runtime);
  if (how("exit")) std::exit(4);
  if (how("quick")) std::quick_exit(8);
  if (!how("thread")) return 2;
  std::thread([] {
    std::this_thread::sleep_for(5ms);
    std::exit(5);
  }).detach();
  (void)runtime.run_main({.name = "main", .language = "lua"},
                         Atoll::code("local atoll = require 'atoll' atoll.task(function() atoll.sleep(100) end)"), {});
  return 1;
}
