// A call and its answer between two native interpreters, the caller a coroutine: as bench/messages.lua does it in Lua.
// Prints "round_trip nanoseconds" for bench/messages.sh.
//   native_calls [N]
#include <cstdio>
#include <cstdlib>

#include <atoll/native.hpp>

namespace {

using namespace Atoll;

native_task<double> round_trip(native_context& c, interpreter_id to, int n) {
  const auto start = clock_type::now();
  for (int i = 0; i < n; ++i)
    if ((co_await c.call<int>(to, "echo", i)).value() != i) std::abort();
  co_return std::chrono::duration<double, std::nano>(clock_type::now() - start).count() / n;
}

} // namespace

int main(int argc, char** argv) {
  const int n = argc > 1 ? std::atoi(argv[1]) : 1'000'000;
  native_interface offered;
  offered.function("echo", [](int i) { return i; });
  offered.function("measure", round_trip);
  system_config config;
  config.languages["native"] = Atoll::native(offered);
  Atoll::system runtime(config);
  const auto caller = runtime.spawn<Atoll::native>({.name = "caller"}).value();
  const auto callee = runtime.spawn<Atoll::native>({.name = "callee"}).value();
  (void)caller.call<double>("measure", callee.id(), n / 50).get();
  std::printf("round_trip %.1f\n", caller.call<double>("measure", callee.id(), n / 5).get().value());
}
