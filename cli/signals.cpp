#include "cli/signals.hpp"

#include <pthread.h>
#include <unistd.h>

#include <csignal>

namespace Atoll::cli {

namespace {

constexpr int end_watch = SIGUSR2; // sent by the destructor to its own thread

sigset_t watched() {
  sigset_t set;
  sigemptyset(&set);
  for (const int s : {SIGINT, SIGTERM, end_watch}) sigaddset(&set, s);
  return set;
}

} // namespace

signal_watch::signal_watch() {
  const sigset_t set = watched();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN); // a closed peer is an error of its connection, not the end of the process
}

void signal_watch::start(std::function<void()> first) {
  first_ = std::move(first);
  thread_ = std::thread([this] {
    const sigset_t set = watched();
    for (bool again = false;; again = true) {
      int which = 0;
      if (sigwait(&set, &which) != 0 || which == end_watch) return;
      if (again) _exit(128 + which);
      first_();
    }
  });
}

signal_watch::~signal_watch() {
  if (!thread_.joinable()) return;
  pthread_kill(thread_.native_handle(), end_watch);
  thread_.join();
}

} // namespace Atoll::cli
