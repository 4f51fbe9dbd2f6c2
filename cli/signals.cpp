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

signal_watch::request::request(signal_watch& watch, std::function<void()> first) : watch_(watch) {
  watch_.first_ = std::move(first);
  watch_.thread_ = std::thread([&w = watch_] { w.watch(); });
}

signal_watch::request::~request() {
  const std::scoped_lock lock(watch_.mutex_);
  watch_.first_ = nullptr;
}

void signal_watch::watch() {
  const sigset_t set = watched();
  for (bool again = false;; again = true) {
    int which = 0;
    if (sigwait(&set, &which) != 0 || which == end_watch) return;
    if (again) _exit(128 + which);
    const std::scoped_lock lock(mutex_);
    if (first_) first_();
  }
}

signal_watch::~signal_watch() {
  if (!thread_.joinable()) return;
  pthread_kill(thread_.native_handle(), end_watch);
  thread_.join();
}

} // namespace Atoll::cli
