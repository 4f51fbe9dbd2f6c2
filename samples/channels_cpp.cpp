// Channels in C++: host threads wait on them, native interpreters co_await them, and both meet in one.
#include <cstdio>
#include <thread>

#include <atoll/native.hpp>

using namespace std::chrono_literals;
using Atoll::channel;
using Atoll::native_context;
using Atoll::native_task;

int main() {
  Atoll::native_interface offered;
  offered
      .function("square", // until nobody sends any more
                [](native_context& c, channel<int> jobs, channel<int> results) -> native_task<> {
                  while (const auto n = co_await c.recv(jobs)) co_await c.send(results, *n * *n);
                  (void)results.close();
                })
      .function("first", // of several
                [](native_context& c, channel<std::string> a, channel<std::string> b) -> native_task<std::string> {
                  Atoll::selection either;
                  either.receive(a);
                  either.receive(b);
                  co_await c.select(either);
                  co_return either.received<std::string>().value();
                });
  Atoll::system_config config;
  config.languages["native"] = Atoll::native(offered);
  Atoll::system runtime(config);
  const auto worker = runtime.spawn<Atoll::native>({.name = "worker"}).value();

  // A stream through an interpreter: who sends too fast waits for room.
  const auto jobs = runtime.make_channel<int>({.capacity = 2}).value();
  const auto results = runtime.make_channel<int>({.capacity = 2}).value();
  const auto done = worker.call<void>("square", jobs, results); // a channel is a value
  std::thread sender([&] {
    for (int n = 1; n <= 5; ++n) (void)jobs.send(n);
    (void)jobs.close(); // what is in it is still received
  });
  while (const auto n = results.recv()) std::printf("%d ", *n);
  std::printf("\n");
  sender.join();

  // Limits, and their errors.
  std::printf("%s\n", jobs.recv().error().message.c_str());
  const auto quiet = runtime.make_channel<std::string>().value();
  std::printf("%s\n", quiet.recv(500us).error().message.c_str());

  // Whichever comes first. Of two that are possible one happens, and the other does not.
  const auto other = runtime.make_channel<std::string>().value();
  const auto first = worker.call<std::string>("first", quiet, other);
  (void)other.send("the other one");
  std::printf("%s\n", first.get().value().c_str());

  Atoll::selection now;
  const auto receives = now.receive(quiet), sends = now.send(other, "still there at the end");
  const auto which = now.try_now();
  std::printf("%s\n", which == receives ? "received" : which == sends ? "sent" : "nothing");

  const Atoll::finalization_report r = runtime.finalize();
  for (const auto& left : r.channels) std::printf("channel %d holds %zu item\n", int(left.id), left.items);
  std::printf("%s\n", name_of(other.recv().error().code)); // handles outlive the runtime
}
