// The three regressions that made CPython take back its first change for bpo-33608 (interpreters that release each other's
// objects by pending calls), each by its number: what crashed there at shutdown is done here thousands of times.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "tests/actors/outside.hpp"
#include "tests/seeds.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::code_of;

namespace {

/// Four threads make and finalize runtimes at a time, as an end is mostly waiting: until there were 4000, or ATOLL_SECONDS (5)
/// are over, in which this machine makes some hundreds to thousands. How many there were.
template <class F>
int again_and_again(F round) {
  std::atomic<int> begun{0};
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::seconds(testing::from_environment("ATOLL_SECONDS", 5));
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      std::minstd_rand dice(100 + i);
      do {
        ++begun;
        round(dice);
      } while (begun < 4000 && std::chrono::steady_clock::now() < until);
    });
  for (std::thread& t : threads) t.join();
  return begun;
}

class counter {
public:
  int add(int n) { return sum_ += n; }

private:
  int sum_ = 0;
};

system_config counters() {
  native_interface offered;
  offered.add(native_class<counter>("counter").method("add", &counter::add)).function("add", [](int a, int b) {
    return a + b;
  });
  system_config config;
  config.workers = 2;
  config.languages["native"] = native(offered);
  config.log = [](std::string_view) {};
  return config;
}

/// Some time that is never the same: up to 300 us.
void a_moment(std::minstd_rand& dice) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(dice() % 300);
  while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
}

bool is_an_end(errc code) {
  return code == errc::ok || code == errc::interpreter_gone || code == errc::runtime_finalizing
         || code == errc::runtime_finalized || code == errc::channel_closed;
}

/// Threads that do the same again and again, each with dice of its own, until the scope ends.
class crowd {
public:
  template <class F>
  crowd(unsigned size, F what) {
    for (unsigned i = 0; i < size; ++i)
      threads_.emplace_back([this, what, i] {
        std::minstd_rand dice(i + 1);
        while (!over_.load(std::memory_order_relaxed)) what(dice);
      });
  }
  ~crowd() {
    over_ = true;
    for (std::thread& t : threads_) t.join();
  }

private:
  std::atomic<bool> over_{false};
  std::vector<std::thread> threads_;
};

} // namespace

TEST_CASE("bpo-36114: threads use handles, references and channels while their runtime finalizes, and after its end") {
  struct held {
    interpreter_handle who;
    ref<counter> object;
    channel<int> items;
  };
  std::mutex mutex;
  held current;
  std::atomic<int> unexpected{0};
  const auto expect = [&](errc code) {
    if (!is_an_end(code)) unexpected = static_cast<int>(code);
  };
  const crowd users(3, [&](std::minstd_rand& dice) {
    held mine;
    {
      const std::scoped_lock lock(mutex);
      mine = current;
    }
    if (mine.who.id() == interpreter_id{}) return std::this_thread::yield();
    switch (dice() % 8) {
    case 0: return expect(code_of(mine.who.call<int>("add", 1, 2).get()));
    case 1: return expect(code_of(mine.object.call(&counter::add, 1).get()));
    case 2: return expect(code_of(mine.object.call<int>("add", 1).get()));
    case 3: return expect(code_of(mine.who.send("add", 1, 2)));
    case 4: return expect(code_of(mine.who.make<counter>().get()));
    case 5: return expect(code_of(mine.who.monitor([](const down&) {})));
    case 6: return expect(code_of(mine.items.send(1)));
    default:
      (void)mine.who.call<int>("add", 1, 2); // nobody waits for the answer
      (void)mine.items.try_recv();
      return void(mine.who.state());
    }
  });
  const int runtimes = again_and_again([&](std::minstd_rand& dice) {
    Atoll::system runtime(counters());
    const auto who = runtime.spawn<native>({.name = "counters"});
    CHECK(who);
    held mine{*who, *who->make<counter>().get(),
              *runtime.make_channel<int>({.capacity = 64, .full = full_policy::drop_oldest})};
    {
      const std::scoped_lock lock(mutex);
      current = mine;
    }
    a_moment(dice);
    const finalization_report report = runtime.finalize();
    CHECK(report.verdict != finalization_report::verdict_kind::forced);
    CHECK(code_of(mine.who.call<int>("add", 1, 2).get()) == errc::runtime_finalized);
    CHECK(code_of(mine.object.call(&counter::add, 1).get()) == errc::runtime_finalized);
  });
  CHECK(unexpected == 0);
  MESSAGE(runtimes, " runtimes");
}

TEST_CASE("bpo-36177: two interpreters and two threads log while their runtime ends, and nobody does after it") {
  const char* const program = R"(
    local atoll = require 'atoll'
    local function say() atoll.log.warn('still here') end
    atoll.every(0.0003, say)
    atoll.at_exit(say)
    atoll.finalizer(nil, say, {priority = 0})
    atoll.finalizer(nil, say, {priority = -1})
  )";
  std::FILE* const out = std::fopen("/dev/null", "w");
  REQUIRE(out != nullptr);
  std::mutex mutex;
  std::shared_ptr<Atoll::system> current;
  const crowd users(2, [&](std::minstd_rand& dice) {
    std::shared_ptr<Atoll::system> runtime;
    {
      const std::scoped_lock lock(mutex);
      runtime = current;
    }
    if (runtime == nullptr) return std::this_thread::yield();
    (void)runtime->add_pending_call(interpreter_id{2 + dice() % 2},
                                    [](host& h) { h.log(log_level::warn, "on behalf of a thread"); });
    std::this_thread::sleep_for(50us);
  });
  std::atomic<std::uint64_t> lines{0};
  const int runtimes = again_and_again([&](std::minstd_rand& dice) {
    std::atomic<bool> over{false};
    std::atomic<int> late{0};
    std::atomic<std::uint64_t> said{0};
    system_config config;
    config.workers = 2;
    config.languages["lua"] = lua();
    config.log = [&](std::string_view line) {
      std::fwrite(line.data(), 1, line.size(), out);
      ++said;
      if (over) ++late;
    };
    auto runtime = std::make_shared<Atoll::system>(config);
    CHECK(runtime->spawn<lua>({.name = "a"}, code(program)));
    CHECK(runtime->spawn<lua>({.name = "b"}, code(program)));
    {
      const std::scoped_lock lock(mutex);
      current = runtime;
    }
    a_moment(dice);
    const finalization_report report = runtime->finalize();
    over = true;
    CHECK(report.verdict == finalization_report::verdict_kind::clean);
    {
      const std::scoped_lock lock(mutex);
      current = nullptr;
    }
    while (runtime.use_count() > 1) std::this_thread::yield();
    runtime.reset();
    CHECK(late == 0);
    CHECK(said >= 6);
    lines += said;
  });
  std::fclose(out);
  MESSAGE(runtimes, " runtimes, ", lines.load(), " lines");
}

TEST_CASE(
    "bpo-36116: runtimes made and finalized in quick succession while threads let go of references to their objects") {
  constexpr std::size_t objects = 64;
  std::mutex mutex;
  std::vector<ref<counter>> about; // what threads take from, to let go of
  const crowd users(2, [&](std::minstd_rand& dice) {
    ref<counter> mine;
    {
      const std::scoped_lock lock(mutex);
      if (!about.empty()) {
        mine = std::move(about.back());
        about.pop_back();
      }
    }
    const ref<counter> copy = mine;
    mine = {};
    if (!copy) std::this_thread::yield();
    if (dice() % 4 == 0) (void)copy.call(&counter::add, 1);
  });
  std::atomic<std::uint64_t> leaked{0};
  const int runtimes = again_and_again([&](std::minstd_rand& dice) {
    Atoll::system runtime(counters());
    const auto who = runtime.spawn<native>({.name = "counters"});
    CHECK(who);
    std::vector<future<ref<counter>>> made;
    for (std::size_t i = 0; i < objects; ++i) made.push_back(who->make<counter>());
    for (const auto& m : made) {
      auto got = m.get();
      CHECK(got);
      const std::scoped_lock lock(mutex);
      about.push_back(std::move(*got));
    }
    made.clear();
    if (dice() % 2 == 0) a_moment(dice);
    // One more release is pending in the owner's own turn.
    (void)runtime.add_pending_call(who->id(), [&] {
      const std::scoped_lock lock(mutex);
      if (!about.empty()) about.pop_back();
    });
    const finalization_report report = runtime.finalize();
    CHECK(report.verdict != finalization_report::verdict_kind::forced);
    CHECK(report.exported == objects);
    // What is still held when everybody has let go is told as leaked, though it may come home a moment later.
    CHECK(report.released <= objects);
    CHECK(report.released + report.leaked.size() >= objects);
    for (const exported_object& l : report.leaked) CHECK(l.holders == std::vector<interpreter_id>{host_interpreter});
    leaked += report.leaked.size();
  });
  MESSAGE(runtimes, " runtimes, ", leaked.load(), " objects still held at the end");
}
