// What plain CAF costs on this machine: the yardstick of the message benchmarks (bench/messages.sh).
// Prints "name nanoseconds" lines: one message between two C++ actors with one sender, one round trip, one spawn.
#include <caf/all.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>

namespace {

using clock_type = std::chrono::steady_clock;
using put_atom = caf::atom_constant<caf::atom("put")>;
using ping_atom = caf::atom_constant<caf::atom("ping")>;

double nanoseconds(clock_type::time_point since, int n) {
  return std::chrono::duration<double, std::nano>(clock_type::now() - since).count() / n;
}

caf::behavior counter(caf::event_based_actor* self, int n, std::promise<void>* done) {
  auto seen = std::make_shared<int>(0);
  return {[=](put_atom, int) {
    if (++*seen < n) return;
    done->set_value();
    self->quit();
  }};
}

void message(caf::actor_system& sys, int n) {
  std::promise<void> done;
  const auto receiver = sys.spawn(counter, n, &done);
  const auto start = clock_type::now();
  sys.spawn([=](caf::event_based_actor* self) {
    for (int i = 0; i < n; ++i) self->send(receiver, put_atom::value, i);
  });
  done.get_future().wait();
  std::printf("message %.1f\n", nanoseconds(start, n));
}

caf::behavior echo() {
  return {[](ping_atom, int i) { return i; }};
}

void ask(caf::event_based_actor* self, const caf::actor& server, int left, std::promise<void>* done) {
  if (left == 0) return done->set_value();
  self->request(server, caf::infinite, ping_atom::value, left).then([=](int) { ask(self, server, left - 1, done); });
}

/// Request and response, as a call is.
void request(caf::actor_system& sys, int n) {
  std::promise<void> done;
  const auto server = sys.spawn(echo);
  const auto start = clock_type::now();
  sys.spawn([=, &done](caf::event_based_actor* self) { ask(self, server, n, &done); });
  done.get_future().wait();
  std::printf("request %.1f\n", nanoseconds(start, n));
}

/// The usual ping-pong: two actors, one message each way.
void ping_pong(caf::actor_system& sys, int n) {
  std::promise<void> done;
  const auto server = sys.spawn([](caf::event_based_actor* self) -> caf::behavior {
    return {
        [=](ping_atom, int i) { self->send(caf::actor_cast<caf::actor>(self->current_sender()), put_atom::value, i); }};
  });
  const auto start = clock_type::now();
  sys.spawn([=, &done](caf::event_based_actor* self) -> caf::behavior {
    self->send(server, ping_atom::value, n);
    return {[=, &done](put_atom, int left) {
      if (left > 0) {
        self->send(server, ping_atom::value, left - 1);
      } else {
        done.set_value();
        self->quit();
      }
    }};
  });
  done.get_future().wait();
  std::printf("round_trip %.1f\n", nanoseconds(start, n));
  caf::anon_send_exit(server, caf::exit_reason::user_shutdown);
}

void spawn(caf::actor_system& sys, int n) {
  const auto start = clock_type::now();
  for (int i = 0; i < n; ++i) sys.spawn<caf::lazy_init>(echo);
  std::printf("spawn %.1f\n", nanoseconds(start, n));
}

} // namespace

int main(int argc, char** argv) {
  const int n = argc > 1 ? std::atoi(argv[1]) : 1000000;
  caf::actor_system_config config;
  config.set("scheduler.max-threads", static_cast<size_t>(2));
  caf::actor_system sys(config);
  message(sys, n / 10); // warm
  message(sys, n);
  ping_pong(sys, n / 5);
  request(sys, n / 5);
  spawn(sys, n / 10);
  std::fflush(stdout);
  std::_Exit(0);
}
