// Who is late at the end of a runtime: callbacks behind finalize(), a thread that still connects, a main that never ends,
// and a runtime that ends in a callback of its own.
#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fmt/format.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <atoll/lua.hpp>

#include "tests/actors/outside.hpp"
#include "tests/in_a_process.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::in_a_process;
using test::probe;
using test::probe_functions;
using test::soon;

namespace {

system_config config_of(const probe_functions& functions) {
  system_config c;
  c.workers = 2;
  c.languages["probe"] = [&functions](host& h) { return std::make_unique<probe>(h, functions); };
  c.log = [](std::string_view) {};
  return c;
}

/// The supervisor is held up in a phase until the deadline is past.
int no_callback_begins_behind_finalize() {
  const probe_functions functions;
  std::atomic<bool> over{false};
  std::atomic<int> late{0};
  std::atomic<bool> go_on{false};
  std::atomic<bool> went_on{false};
  system_config c = config_of(functions);
  c.deadline = 2s;
  c.on_phase = [&](std::string_view phase) {
    if (over) ++late;
    if (phase != "drain") return;
    while (!go_on) std::this_thread::sleep_for(1ms);
    went_on = true;
  };
  Atoll::system runtime(c);
  const auto who = runtime.spawn({.language = "probe"}, {});
  if (!who) return 1;
  for (int i = 0; i < 10; ++i)
    (void)who->monitor([&](const down&) {
      if (over) ++late;
    });
  if (runtime.finalize().verdict != finalization_report::verdict_kind::forced) return 2;
  over = true;
  go_on = true;
  if (!soon([&] { return went_on.load(); })) return 3;
  std::this_thread::sleep_for(200ms); // the phases that are left take no longer
  return late == 0 ? 0 : 4;
}

/// Its main never comes back from a function: run_main() does when the end has given it up.
int run_main_returns_from_a_main_that_is_given_up() {
  const probe_functions functions{};
  std::atomic<bool> inside{false};
  system_config c = config_of(functions);
  c.deadline = 300ms;
  c.languages["endless"] = [&](host& h) -> std::unique_ptr<guest> {
    auto g = std::make_unique<probe>(h, functions);
    g->hooks["start"] = [&] {
      inside = true;
      for (;;) std::this_thread::sleep_for(1s);
    };
    return g;
  };
  Atoll::system runtime(c);
  std::atomic<bool> returned{false};
  std::thread main([&] {
    (void)runtime.run_main({.name = "main", .language = "endless"}, {}, {});
    returned = true;
  });
  main.detach();
  if (!soon([&] { return inside.load(); })) return 1;
  if (runtime.finalize().verdict != finalization_report::verdict_kind::forced) return 2;
  return soon([&] { return returned.load(); }) ? 0 : 3;
}

/// The last who keeps the runtime is a callback on one of its own threads.
int a_runtime_may_end_in_its_own_callback() {
  const probe_functions functions;
  std::atomic<bool> ended{false};
  system_config c = config_of(functions);
  c.deadline = 400ms;
  auto runtime = std::make_shared<Atoll::system>(c);
  const auto who = runtime->spawn({.language = "probe"}, {});
  if (!who) return 1;
  std::atomic<bool> shared{false};
  (void)who->monitor([&, mine = std::make_shared<std::shared_ptr<Atoll::system>>(runtime)](const down&) {
    while (!shared) std::this_thread::sleep_for(1ms);
    mine->reset();
    ended = true;
  });
  runtime.reset();
  (void)who->kill();
  shared = true;
  return soon([&] { return ended.load(); }) ? 0 : 2;
}

/// A socket on loopback that takes no more connections: whoever connects waits.
class deaf_listener {
public:
  deaf_listener() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(socket_, reinterpret_cast<sockaddr*>(&address_), sizeof address_) == 0);
    REQUIRE(listen(socket_, 0) == 0);
    socklen_t size = sizeof address_;
    REQUIRE(getsockname(socket_, reinterpret_cast<sockaddr*>(&address_), &size) == 0);
    for (int& one : queue_) {
      one = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      (void)connect(one, reinterpret_cast<sockaddr*>(&address_), sizeof address_);
    }
  }
  ~deaf_listener() {
    for (const int one : queue_) close(one);
    close(socket_);
  }
  deaf_listener(const deaf_listener&) = delete;
  deaf_listener& operator=(const deaf_listener&) = delete;
  std::string address() const { return fmt::format("127.0.0.1:{}", ntohs(address_.sin_port)); }

private:
  int socket_;
  sockaddr_in address_{};
  int queue_[4]{};
};

/// Its thread connects for longer than the runtime lives.
int a_thread_that_connects_keeps_no_configuration() {
  const deaf_listener nobody;
  const auto mine = std::make_shared<int>(0);
  {
    system_config c;
    c.languages["lua"] = lua();
    c.log = [mine](std::string_view) {};
    Atoll::system runtime(c);
    const auto who = runtime.spawn<lua>({},
                                        code("local atoll = require 'atoll'\n"
                                             "local address = ...\n"
                                             "local tries = 0\n"
                                             "atoll.task(function() tries = 1; atoll.net.connect(address) end)\n"
                                             "return {tries = function() return tries end}"),
                                        nobody.address());
    if (!who) return 1;
    if (!soon([&] { return who->call<int>("tries").get() == 1; })) return 2;
  }
  return mine.use_count() == 1 ? 0 : 3;
}

} // namespace

TEST_CASE("late: no callback of the user's begins behind finalize(), though the supervisor comes late to its phases") {
  CHECK(in_a_process(no_callback_begins_behind_finalize) == 0);
}

TEST_CASE("late: run_main() returns when the end has given up main") {
  CHECK(in_a_process(run_main_returns_from_a_main_that_is_given_up) == 0);
}

TEST_CASE("late: a runtime whose last owner is a callback of a monitor comes to its end all the same") {
  CHECK(in_a_process(a_runtime_may_end_in_its_own_callback) == 0);
}

TEST_CASE("late: threads that go on calling across the end, many at a time, do not hold it up") {
  const probe_functions functions{{"touch", [](probe& p, const incoming& m) { p.answer(m, 1); }}};
  std::atomic<bool> over{false};
  std::vector<std::thread> callers;
  {
    system_config c = config_of(functions);
    c.deadline = 4s;
    Atoll::system runtime(c);
    const auto who = runtime.spawn({.language = "probe"}, {});
    REQUIRE(who);
    for (int t = 0; t < 12; ++t)
      callers.emplace_back([&over, h = *who] {
        while (!over) (void)h.call<int>("touch");
      });
    std::this_thread::sleep_for(20ms);
    const finalization_report r = runtime.finalize();
    CHECK(r.verdict == finalization_report::verdict_kind::clean);
    CHECK(r.seconds < 2);
  } // nor is the runtime's destructor held up
  over = true;
  for (std::thread& t : callers) t.join();
}

TEST_CASE("late: a thread that still connects keeps nothing of the runtime's configuration") {
  CHECK(in_a_process(a_thread_that_connects_keeps_no_configuration) == 0);
}
