// C++ that is to run inside an interpreter's turn, asked for by any thread and by a signal handler.
#include <csignal>
#include <cstdio>
#include <latch>
#include <thread>

#include <atoll/lua.hpp>

namespace {

Atoll::pending_flag reload;
void on_signal(int) { reload.raise(); } // no lock, no memory: a signal handler may

} // namespace

int main() {
  Atoll::system_config config;
  config.languages["lua"] = Atoll::lua();
  config.pending_calls = 100; // that wait for one interpreter; further ones are refused until some have run
  Atoll::system runtime(config);
  const auto worker = runtime.spawn<Atoll::lua>({.name = "worker"}, Atoll::code("return {}")).value();

  // Each call runs once, in a turn of its target and never inside another: they need no lock for what they share.
  int count = 0;
  std::latch both(2);
  const auto submit = [&] {
    for (int i = 0; i < 10; ++i) (void)runtime.add_pending_call(worker.id(), [&count] { ++count; });
    (void)runtime.add_pending_call(worker.id(), [&both] { both.count_down(); }); // behind its thread's others
  };
  std::thread other(submit);
  submit();
  both.wait();
  other.join();
  std::printf("%d calls ran\n", count);

  // A flag is a call made ahead. Raises that come before the runtime looks (every few milliseconds) are one.
  std::latch heard(1);
  reload = runtime
               .make_pending_flag(worker.id(),
                                  [&heard](Atoll::host& target) {
                                    std::printf("the signal is heard in '%s'\n", target.name().c_str());
                                    heard.count_down();
                                  })
               .value();
  std::signal(SIGHUP, on_signal);
  std::raise(SIGHUP);
  heard.wait();
  std::signal(SIGHUP, SIG_DFL);

  (void)worker.stop().get();
  const auto late = runtime.add_pending_call(worker.id(), [] {});
  std::printf("%s\n", late.error().message.c_str());

  const Atoll::finalization_report report = runtime.finalize();
  std::printf("%d calls ran, %d failed, %d refused\n", static_cast<int>(report.pending_calls_run),
              static_cast<int>(report.pending_calls_failed), static_cast<int>(report.pending_calls_refused));
}
