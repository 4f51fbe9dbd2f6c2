// References in the hands of many host threads: copied, moved, dropped, called and sent while the runtime works, is finalized
// and is gone. What threads share is a pool under a lock; a ref object itself belongs to one of them, as a shared_ptr.
//
// A failing round prints its seed: ATOLL_SEED=n test_actors -tc="*eight threads*" runs that one again, as far as threads repeat.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <random>
#include <thread>

#include <atoll/native.hpp>

#include "actors/core.hpp"
#include "tests/actors/outside.hpp"
#include "tests/seeds.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::code_of;

namespace {

/// Asks the runtime something when it ends, as an argument's destructor may.
struct asks_at_the_end {
  explicit asks_at_the_end(interpreter_handle whom) : handle(std::move(whom)) {}
  asks_at_the_end(const asks_at_the_end&) = delete;
  ~asks_at_the_end() { (void)handle.state(); }
  interpreter_handle handle;
};

struct counter {
  explicit counter(std::atomic<int>* living) : alive(living) { ++*alive; }
  counter(const counter&) = delete;
  ~counter() { --*alive; }
  int add(int k) { return n += k; }
  void look_at(const std::shared_ptr<asks_at_the_end>&) {}
  handle<counter> make_another(native_context& c) const { return c.make<counter>(alive); }

  std::atomic<int>* alive;
  int n = 0;
};

using counters = std::vector<ref<counter>>;

/// Two owners of counters, and one that keeps what it is sent and never answers.
struct runtime_under_test {
  explicit runtime_under_test(std::uint64_t seed) {
    native_interface f;
    f.add(native_class<counter>("counter").method("add", &counter::add));
    f.function("keep", [](native_context& c, foreign_ref r) {
      auto& kept = c.state<std::vector<foreign_ref>>();
      if (kept.size() > 20) kept.clear();
      kept.push_back(std::move(r));
    });
    f.function("kept", [](native_context& c) { return c.state<std::vector<foreign_ref>>(); });
    functions["hang"] = [](test::probe& p, const incoming& m) { p.take(m.args); };
    system_config config;
    config.workers = 2;
    config.log = [](std::string_view) {};
    if (seed % 2 == 0) config.credit = {.grant = 4, .low = 1, .cap = 16};
    config.languages["native"] = native(f);
    config.languages["probe"] = [this](host& h) { return std::make_unique<test::probe>(h, functions); };
    runtime = std::make_unique<Atoll::system>(config);
    for (interpreter_handle& o : owners) o = runtime->spawn<native>({}).value();
    silent = runtime->spawn({.language = "probe"}, code("")).value();
  }
  test::probe_functions functions;
  std::array<interpreter_handle, 2> owners;
  interpreter_handle silent;
  std::unique_ptr<Atoll::system> runtime;
};

/// What the threads share.
struct pool {
  std::mutex mutex;
  counters refs; // under mutex
};

bool allowed(errc code) {
  return code == errc::ok || code == errc::runtime_finalizing || code == errc::runtime_finalized
         || code == errc::interpreter_gone;
}

/// One thread's own references and futures, and what it does with them.
class hand {
public:
  hand(std::uint64_t seed, pool& shared, const runtime_under_test& t, std::atomic<int>& alive)
      : dice_(seed), shared_(shared), owners_(t.owners), silent_(t.silent), alive_(alive) {}

  void play() {
    switch (below(12)) {
    case 0: take(); break;
    case 1: put(); break;
    case 2: shuffle(); break;
    case 3:
      if (!mine_.empty()) mine_.pop_back();
      break;
    case 4: numbers_.push_back(any().call(&counter::add, 1)); break;
    case 5: numbers_.push_back(any().call<int>("add", 1)); break;
    case 6: made_.push_back(owners_[below(2)].make<counter>(&alive_)); break;
    case 7: made_.push_back(any().call(&counter::make_another)); break;
    case 8: note(code_of(any().send("add", 1))); break;
    case 9: pass_on(); break;
    case 10: collect(); break;
    default: forget(); break;
    }
  }
  /// Everything asked has an answer, and in time.
  void await_all() {
    for (const auto& f : numbers_) note(code_of(f.get_for(10s)));
    for (const auto& f : made_) note(code_of(f.get_for(10s)));
    for (const auto& f : lists_) note(code_of(f.get_for(10s)));
    for (const auto& f : unanswered_) {
      const errc code = code_of(f.get_for(10s));
      odd_ += code == errc::runtime_finalizing || code == errc::runtime_finalized ? 0 : 1;
    }
  }
  void let_go() {
    mine_.clear();
    numbers_.clear();
    made_.clear();
    lists_.clear();
  }
  /// Answers that should not be, or never came.
  int odd() const { return odd_; }
  counters& refs() { return mine_; }
  void ask_silent() { unanswered_.push_back(silent_.call("hang", any())); }

private:
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(dice_() % n); }
  void note(errc code) {
    // An empty reference has a right to say so.
    if (!allowed(code) && code != errc::reference_released) ++odd_;
  }
  const ref<counter>& any() {
    static const ref<counter> none;
    return mine_.empty() ? none : mine_[below(mine_.size())];
  }
  void take() {
    const std::scoped_lock lock(shared_.mutex);
    if (!shared_.refs.empty()) mine_.push_back(shared_.refs[below(shared_.refs.size())]);
  }
  void put() {
    if (mine_.empty()) return;
    const std::scoped_lock lock(shared_.mutex);
    if (shared_.refs.size() < 50) shared_.refs.push_back(std::move(mine_.back()));
    mine_.pop_back();
    if (below(4) == 0) shared_.refs[below(shared_.refs.size())] = shared_.refs.back();
  }
  void shuffle() {
    if (mine_.empty()) return;
    ref<counter>& a = mine_[below(mine_.size())];
    ref<counter>& b = mine_[below(mine_.size())];
    ref<counter> copy = a;
    if (!(copy == a) || copy.owner() != a.owner()) ++odd_;
    std::swap(a, b);
    b = copy;
    a = static_cast<ref<counter>&&>(copy);
    const ref<> untyped = b;
    if (b && untyped.describe().empty()) ++odd_;
    if (mine_.size() > 40) mine_.resize(10);
  }
  void pass_on() {
    if (mine_.empty()) return;
    note(code_of(owners_[below(2)].send("keep", any()))); // an owner may get its own
    if (below(3) == 0) lists_.push_back(owners_[below(2)].call<counters>("kept"));
  }
  void collect() {
    if (!made_.empty()) {
      auto got = made_.back().get();
      note(code_of(got));
      made_.pop_back();
      if (got) mine_.push_back(std::move(*got));
    }
    if (!numbers_.empty() && below(2) == 0) note(code_of(numbers_.back().get()));
  }
  /// Futures nobody awaits.
  void forget() {
    if (numbers_.size() > 10) numbers_.clear();
    if (made_.size() > 5) made_.resize(2, future<ref<counter>>(error{}));
    if (lists_.size() > 2) lists_.clear();
  }

  std::mt19937_64 dice_;
  pool& shared_;
  std::array<interpreter_handle, 2> owners_;
  interpreter_handle silent_;
  std::atomic<int>& alive_;
  counters mine_;
  std::vector<future<int>> numbers_;
  std::vector<future<ref<counter>>> made_;
  std::vector<future<counters>> lists_;
  std::vector<future<value>> unanswered_;
  int odd_ = 0;
};

constexpr std::size_t players = 8;

enum class ending {
  let_go,     // the threads let go and end before the finalization
  owner_dies, // the same, but an owner is killed while they play
  through_it, // they play through the finalization and beyond
};

void round(std::uint64_t seed, ending how) {
  CAPTURE(seed);
  const bool before = how != ending::through_it;
  std::atomic<int> alive{0};
  runtime_under_test t(seed);
  pool shared;
  for (int i = 0; i < 10; ++i) shared.refs.push_back(t.owners[0].make<counter>(&alive).get().value());
  std::vector<std::unique_ptr<hand>> hands;
  for (std::size_t i = 0; i < players; ++i)
    hands.push_back(std::make_unique<hand>(seed * players + i, shared, t, alive));

  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (const auto& h : hands) {
    threads.emplace_back([&stop, &h = *h] {
      h.ask_silent();
      while (!stop) h.play();
      h.ask_silent();
    });
  }
  const auto join = [&] {
    stop = true;
    for (std::thread& thread : threads) thread.join();
  };
  std::this_thread::sleep_for(std::chrono::milliseconds(1 + seed % 7));
  if (how == ending::owner_dies) {
    CHECK(t.owners[1].kill());
    std::this_thread::sleep_for(std::chrono::milliseconds(seed % 5));
  }
  if (before) {
    join();
    for (const auto& h : hands) h->let_go();
    shared.refs.clear();
  }
  const finalization_report r = t.runtime->finalize();
  CHECK(alive == 0); // whoever holds references, the objects went with their owners
  CHECK(r.verdict != finalization_report::verdict_kind::forced);
  if (before) {
    CHECK(r.verdict == finalization_report::verdict_kind::clean);
    CHECK(r.leaked.empty());
    if (how == ending::let_go) CHECK(r.exported == r.released);
  } else {
    // What was let go between the look for leaks and the end of the owner is in neither of the two.
    CHECK(r.exported - r.released <= r.leaked.size());
    // Nobody else holds it, and maybe no host thread either any more: then its release was on the way.
    for (const exported_object& l : r.leaked)
      CHECK((l.holders.empty() || l.holders == std::vector<interpreter_id>{host_interpreter}));
    std::this_thread::sleep_for(1ms);
    if (seed % 3 == 0) t.runtime.reset(); // the threads go on
    std::this_thread::sleep_for(1ms);
    join();
  }
  int odd = 0;
  for (const auto& h : hands) {
    h->await_all();
    odd += h->odd();
  }
  CHECK(odd == 0);
  if (!before && !shared.refs.empty()) {
    ref<counter> last = shared.refs[0];
    CHECK(code_of(last.call(&counter::add, 1).get()) == errc::runtime_finalized);
    CHECK(code_of(last.call("add", 1).get()) == errc::runtime_finalized);
    CHECK(code_of(last.send("add", 1)) == errc::runtime_finalized);
  }
}

void rounds(ending how) {
  const auto seeds = testing::seeds::from_environment(1, 20);
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) round(seed, how);
}

} // namespace

TEST_CASE("eight threads copy, move, drop and call references through the finalization and after, and nothing leaks") {
  rounds(ending::through_it);
}

TEST_CASE("eight threads copy, move, drop and call references, let go of all, and every export is released") {
  rounds(ending::let_go);
}

TEST_CASE("eight threads copy, move, drop and call references whose owner is killed, and nothing is left") {
  rounds(ending::owner_dies);
}

TEST_CASE("what was sent along with a call may ask the runtime as it ends, also when the call came too late") {
  std::atomic<int> alive{0};
  runtime_under_test t(1);
  for (int i = 0; i < 150; ++i) {
    const interpreter_handle owner = t.runtime->spawn<native>({}).value();
    const ref<counter> r = owner.make<counter>(&alive).get().value();
    std::thread caller([&] {
      while (owner.state() != run_state::gone)
        (void)r.call(&counter::look_at, std::make_shared<asks_at_the_end>(owner));
    });
    std::this_thread::sleep_for(std::chrono::microseconds(i));
    CHECK(owner.kill());
    caller.join();
  }
  CHECK(t.runtime->finalize().verdict == finalization_report::verdict_kind::clean);
}
