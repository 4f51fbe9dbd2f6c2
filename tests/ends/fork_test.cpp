// Forks of a process whose runtime is at work (DESIGN section 11): in the child everything answers `forked`, nothing waits,
// and a new runtime can be made; the parent's goes on as if nothing had been.
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <optional>
#include <random>
#include <thread>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "tests/actors/outside.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::code_of;
using test::soon;

namespace {

struct box {
  int get() const { return content; }
  int content = 3;
};

system_config boxes() {
  native_interface offered;
  offered.add(native_class<box>("box").method("get", &box::get)).function("add", [](int a, int b) { return a + b; });
  system_config config;
  config.workers = 2;
  config.languages["native"] = native(offered);
  config.languages["lua"] = lua();
  config.log = [](std::string_view) {};
  return config;
}

/// What a process has of its runtime.
struct belongings {
  std::optional<Atoll::system> runtime{std::in_place, boxes()};
  interpreter_handle who;
  std::vector<ref<box>> refs;
  std::vector<channel<int>> channels;
  std::vector<buffer> buffers;
  std::optional<pending_flag> flag;

  belongings() {
    who = *runtime->spawn<native>({.name = "boxes"});
    for (int i = 0; i < 8; ++i) refs.push_back(*who.make<box>().get());
    for (int i = 0; i < 4; ++i) {
      channels.push_back(*runtime->make_channel<int>({.capacity = 2, .full = full_policy::drop_oldest}));
      buffers.push_back(*runtime->make_buffer(1000));
    }
    flag = *runtime->make_pending_flag(who.id(), [](host&) {});
  }
};

/// The first thing in the child that was not as it has to be; 0: all was. A number says which, as a child cannot report.
class child {
public:
  void expect(bool right) {
    ++number_;
    if (!right && failed_ == 0) failed_ = number_;
  }
  template <class T>
  void forked(const result<T>& r) {
    expect(code_of(r) == errc::forked);
  }
  int failed() const { return failed_; }

private:
  int number_ = 0;
  int failed_ = 0;
};

int look_around(belongings& all, const future<int>& asked_before) {
  child c;
  Atoll::system& s = *all.runtime;
  c.forked(asked_before.get()); // 1
  c.forked(s.spawn<native>({}));
  c.forked(s.spawn_async({.language = "lua"}, code("")).get());
  c.forked(s.run_main({.name = "main", .language = "lua"}, code(""), {}));
  c.forked(s.find("boxes")); // 5
  c.expect(s.list().empty());
  c.forked(s.make_channel<int>());
  c.forked(s.make_buffer(10));
  c.forked(s.add_pending_call(all.who.id(), [] {}));
  c.forked(s.make_pending_flag(all.who.id(), [](host&) {})); // 10
  c.forked(s.references());
  s.request_exit(1);
  c.forked(all.who.call<int>("add", 1, 2).get());
  c.forked(all.who.send("add", 1, 2));
  c.forked(all.who.make<box>().get());
  c.forked(all.who.stop().get()); // 15
  c.forked(all.who.interrupt());
  c.forked(all.who.kill());
  c.forked(all.who.monitor([](const down&) {}));
  c.forked(all.who.stats().get());
  c.expect(all.who.state() == run_state::gone); // 20
  for (const ref<box>& r : all.refs) {
    const ref<box> copy = r;
    c.forked(copy.call(&box::get).get());
    c.forked(copy.send("get"));
  } // 36
  for (const channel<int>& items : all.channels) {
    c.forked(items.send(1));
    c.forked(items.try_recv());
    c.forked(items.recv(1s));
    c.forked(items.close());
    c.forked(items.release());
    c.expect(items.size() == 0);
  } // 60
  for (const buffer& b : all.buffers) {
    c.forked(b.look());
    c.forked(b.edit());
    c.expect(!b.describe().empty());
  } // 72
  all.flag->raise();
  c.expect(s.finalize().verdict == finalization_report::verdict_kind::forced);
  all.refs.clear();
  all.channels.clear();
  all.buffers.clear();
  all.flag.reset();
  all.who = {};
  all.runtime.reset();
  return c.failed();
}

int begin_again() {
  Atoll::system fresh(boxes());
  const auto who = fresh.spawn<native>({});
  if (!who || who->call<int>("add", 1, 2).get() != 3) return 101;
  const auto script = fresh.spawn<lua>({}, code("return {twice = function(x) return 2 * x end}"));
  if (!script || script->call<int>("twice", 4).get() != 8) return 102;
  const auto items = fresh.make_channel<int>({.capacity = 1});
  if (!items || !items->send(7) || items->recv() != 7) return 103;
  return fresh.finalize().verdict == finalization_report::verdict_kind::clean ? 0 : 104;
}

/// How the child ended; a child that hangs is ended by its alarm.
std::string end_of(pid_t pid) {
  int status = -1;
  if (waitpid(pid, &status, 0) != pid) return "it cannot be waited for";
  if (WIFEXITED(status)) return "status " + std::to_string(WEXITSTATUS(status));
  return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status)) : "?";
}

constexpr unsigned patience = 60; // seconds for a child on a slow machine

// With gcc 12 nobody gives back the locks of AddressSanitizer's allocator in the child: whatever thread had one is not
// there. (glibc's allocator does so.)
#if defined(__SANITIZE_ADDRESS__)
constexpr bool allocator_survives_fork = false;
#else
constexpr bool allocator_survives_fork = true;
#endif

} // namespace

TEST_CASE("fork: at any moment under load, everything answers forked in the child, which can have a runtime of its own"
          * doctest::skip(!allocator_survives_fork)) {
  belongings all;
  std::atomic<bool> over{false};
  std::vector<std::thread> load;
  for (unsigned i = 0; i < 3; ++i)
    load.emplace_back([&, i] {
      std::minstd_rand dice(i + 1);
      std::vector<ref<box>> mine = all.refs;
      while (!over) {
        switch (dice() % 7) {
        case 0: CHECK(all.who.call<int>("add", 1, 2).get() == 3); break;
        case 1: (void)all.who.call<int>("add", 1, 2); break;
        case 2: mine[dice() % mine.size()] = *all.who.make<box>().get(); break;
        case 3: (void)all.channels[dice() % all.channels.size()].send(1); break;
        case 4: (void)all.channels[dice() % all.channels.size()].recv(100us); break;
        case 5: (void)all.runtime->make_buffer(100); break;
        default: (void)all.runtime->add_pending_call(all.who.id(), [] {}); break;
        }
      }
    });
  const auto until = std::chrono::steady_clock::now() + 10s;
  std::minstd_rand dice(5);
  int forks = 0;
  for (; forks < 150 && std::chrono::steady_clock::now() < until; ++forks) {
    std::this_thread::sleep_for(std::chrono::microseconds(dice() % 2000));
    const future<int> asked = all.who.call<int>("add", 1, 2);
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      alarm(patience);
      const int failed = look_around(all, asked);
      _exit(failed != 0 ? failed : begin_again());
    }
    CHECK(asked.get() == 3);
    REQUIRE(end_of(pid) == "status 0");
  }
  over = true;
  for (std::thread& t : load) t.join();
  CHECK(all.who.call<int>("add", 1, 2).get() == 3);
  all.refs.clear();
  CHECK(all.runtime->finalize().verdict != finalization_report::verdict_kind::forced);
  MESSAGE(forks, " forks");
}

TEST_CASE("fork: while the runtime finalizes, and after it" * doctest::skip(!allocator_survives_fork)) {
  std::minstd_rand dice(9);
  for (int i = 0; i < 20; ++i) {
    std::optional<belongings> all(std::in_place);
    const future<int> asked = all->who.call<int>("add", 1, 2);
    std::thread end([&] { all->runtime->finalize(); });
    std::this_thread::sleep_for(std::chrono::microseconds(dice() % 3000));
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      alarm(patience);
      const int failed = look_around(*all, asked);
      _exit(failed != 0 ? failed : begin_again());
    }
    end.join();
    REQUIRE(end_of(pid) == "status 0");
  }
}

TEST_CASE("fork: a child that was made in an interpreter's turn ends with that turn, or with the status it asks for") {
  belongings all;
  for (const int status : {0, 7}) {
    std::atomic<pid_t> pid{-1};
    REQUIRE(all.runtime->add_pending_call(all.who.id(), [&](host& h) {
      const pid_t made = fork();
      if (made != 0) return pid.store(made);
      alarm(patience);
      if (status != 0) h.request_exit(status);
    }));
    REQUIRE(soon([&] { return pid > 0; }));
    CHECK(end_of(pid) == "status " + std::to_string(status));
  }
  CHECK(all.who.call<int>("add", 1, 2).get() == 3);
}
