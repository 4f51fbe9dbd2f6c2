// Whole programs of interpreters at random, on 1 to 16 threads: born, fed, asked, stopped and killed by four threads from
// outside while they send objects and references on, keep them, let go, call, answer late, wait for room, spawn, monitor.
//
// When all have come to rest, answered and let go, everything must be home: minted == returned, no tombstone, every call
// answered once, every monitor told once, every object dropped once; then all are ended at once, and nobody is left.
//
// A failing run prints its seed: ATOLL_SEED=n test_shell_threads runs the same program again; threads make it go another
// way each time. ATOLL_SIMULATIONS=n runs so many seeds.
#include <doctest/doctest.h>

#include <map>
#include <mutex>
#include <set>

#include "channels/disposal.hpp"
#include "tests/actors/audit.hpp"
#include "tests/actors/gambler.hpp"
#include "tests/seeds.hpp"
#include "tests/shell_threads/thread_world.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::thread_world;

namespace {

using test::gambler;

// They are quicker to act than where each act is looked at, and kill less.
constexpr test::gambler_habits habits{.acts_when_told = 3, .acts_when_asked = 2, .kills = 60};

struct run_options {
  unsigned workers = 1;
  interpreter_config config;
};

/// One program: a world, its gamblers, and four threads outside.
class show final : public test::gambling_house {
public:
  show(std::uint64_t seed, const run_options& o)
      : seed_(seed), world_(seed, o.workers, o.config, [this](host& h) { return enter(h); }) {}

  std::string run();

  // gambling_house
  interpreter_id anybody(std::uint64_t dice) override { return world_.anybody(dice); }
  bool full() override { return world_.where().size() > 10; }
  bool winding_up() const noexcept override { return winding_up_.load(std::memory_order_relaxed); }
  void violated(const std::string& what) override { world_.violated(what); }

private:
  std::unique_ptr<guest> enter(host& h);
  void act_outside(std::uint64_t number);
  void start(outbox& out);
  void ask(outbox& out, interpreter_id whom, record_kind kind, std::uint64_t dice);
  void post(outbox& out, interpreter_id who, void (gambler::*what)());
  void wind_up();
  void read_answers();
  void check_end();
  void end_all();

  const std::uint64_t seed_;
  std::atomic<bool> winding_up_{false};
  std::atomic<std::uint64_t> host_calls_{0}, jobs_posted_{0}, jobs_over_{0};
  std::map<call_id, int> answers_;
  std::mutex books_mutex_;
  std::map<interpreter_id, test::gambler_book> books_; // under books_mutex_; kept until the run is over
  thread_world world_;                                 // last: its workers use the rest
};

std::unique_ptr<guest> show::enter(host& h) {
  const std::scoped_lock lock(books_mutex_);
  return std::make_unique<gambler>(*this, books_[h.id()], h, seed_ * 7919 + number(h.id()), habits);
}

void show::start(outbox& out) {
  const auto id = world_.create({.language = "gambler"}, host_interpreter);
  wire_writer& w = out.open(*id, record_kind::start);
  w.put_u64(host_calls_.fetch_add(1) + 1);
  w.put_u8(0);
  w.put_text("");
  w.put_text("");
  if (out.commit() > send_status::crowded) {
    // It was killed before its start.
    ignoring_visitor nothing;
    out.rollback(nothing);
    host_calls_.fetch_sub(1);
  }
  out.flush();
}

void show::ask(outbox& out, interpreter_id whom, record_kind kind, std::uint64_t dice) {
  const call_id c = host_calls_.fetch_add(1) + 1;
  wire_writer& w = out.open(whom, kind);
  w.put_u64(c);
  if (kind == record_kind::stop) w.put_u64(dice % 3);
  if (kind == record_kind::call) w.put_text("f");
  if (out.commit() > send_status::crowded) {
    ignoring_visitor nothing;
    out.rollback(nothing);
    const std::scoped_lock lock(books_mutex_);
    ++answers_[c]; // not sent: that is the answer
  }
  out.flush();
}

void show::post(outbox& out, interpreter_id who, void (gambler::*what)()) {
  class work final : public job {
  public:
    work(show& s, void (gambler::*what)()) : show_(s), what_(what) {}
    void run(host& owner) override {
      if (auto* const g = static_cast<gambler*>(owner.program())) (g->*what_)();
      show_.jobs_over_.fetch_add(1, std::memory_order_relaxed);
    }
    void abandon(const error&) noexcept override { show_.jobs_over_.fetch_add(1, std::memory_order_relaxed); }

  private:
    show& show_;
    void (gambler::*what_)();
  };
  auto made = std::make_unique<work>(*this, what);
  jobs_posted_.fetch_add(1, std::memory_order_relaxed);
  out.open(who, record_kind::job).put_u64(reinterpret_cast<std::uint64_t>(made.get()));
  if (out.commit() <= send_status::crowded) {
    (void)made.release();
  } else {
    ignoring_visitor nothing;
    out.rollback(nothing);
    made->abandon({});
  }
  out.flush();
}

void show::act_outside(std::uint64_t number) {
  std::mt19937_64 dice(seed_ * 31 + number);
  outbox out(host_interpreter, world_.where());
  for (int step = 0; step < 1000; ++step) {
    // Not faster than they work: else most of it would be left to the dead.
    while (jobs_posted_.load(std::memory_order_relaxed) > jobs_over_.load(std::memory_order_relaxed) + 32)
      std::this_thread::yield();
    const interpreter_id who = world_.anybody(dice());
    switch (dice() % 16) {
    case 0:
      if (world_.where().size() < 9) start(out);
      break;
    case 1:
    case 2: ask(out, who, record_kind::call, dice()); break;
    case 3:
      switch (dice() % 48) {
      case 0: ask(out, who, record_kind::stop, dice()); break;
      case 1:
      case 2: world_.control(who, {.kill = true}); break;
      case 3: world_.control(who, {.interrupt = true}); break;
      default: world_.control(who, {.yield = true}); break;
      }
      break;
    case 4: std::this_thread::sleep_for(std::chrono::microseconds(dice() % 200)); break;
    default: post(out, who, &gambler::act); break;
    }
  }
}

void show::read_answers() {
  while (envelope_ptr e = world_.host_box().take()) {
    wire_reader in = e->reader();
    while (!in.at_end()) {
      record r = next_record(in);
      if (r.kind == record_kind::reply || r.kind == record_kind::reply_error) ++answers_[r.body.get_u64()];
    }
    dispose(std::move(e), host_interpreter, world_.where()); // the references in them go home
  }
}

void show::wind_up() {
  winding_up_ = true;
  outbox out(host_interpreter, world_.where());
  // Each round may bring what the round before had on its way.
  for (int round = 0; round < 4; ++round) {
    for (const interpreter_id who : world_.living()) post(out, who, &gambler::wind_up);
    if (!world_.await_rest()) return world_.violated("they never come to rest");
    read_answers();
    if (!world_.await_rest()) return world_.violated("they never come to rest");
  }
}

void show::check_end() {
  if (world_.where().tombstones() != 0) world_.violated("I3: a tombstone waits for ever");
  for (call_id c = 1; c <= host_calls_; ++c)
    if (answers_[c] != 1)
      world_.violated("call " + std::to_string(c) + " from outside was answered " + std::to_string(answers_[c])
                      + " times");
  if (jobs_posted_ != jobs_over_) world_.violated("a job was neither run nor abandoned");
  const auto name = [](interpreter_id who) { return ", of interpreter " + std::to_string(number(who)); };
  for (const interpreter_id who : world_.living())
    for (const std::string& what : test::left_over(*world_.at_rest(who))) violated(what + name(who));
  const auto lives = [this](interpreter_id who) { return world_.at_rest(who) != nullptr; };
  for (const auto& [who, book] : books_)
    for (const std::string& what : book.faults(who, lives)) violated(what + name(who));
}

void show::end_all() {
  const auto living = world_.living();
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 2; ++t)
    threads.emplace_back([this, &living, t] {
      outbox out(host_interpreter, world_.where());
      for (const interpreter_id who : living) {
        if ((number(who) + t) % 2 == 0) {
          world_.control(who, {.kill = true});
        } else {
          ask(out, who, record_kind::stop, 2);
        }
      }
    });
  for (std::thread& t : threads) t.join();
  if (!world_.await_rest()) world_.violated("the ended never come to rest");
  read_answers();
  if (!world_.living().empty() || world_.where().size() != 0) world_.violated("an interpreter does not end");
  if (world_.where().tombstones() != 0) world_.violated("a tombstone is left");
  std::set<interpreter_id> reported;
  for (const auto& r : world_.reports())
    if (!reported.insert(r.id).second) world_.violated("two reports of one interpreter");
  if (reported.size() != world_.born()) world_.violated("an interpreter ended without a report");
}

std::string show::run() {
  {
    outbox out(host_interpreter, world_.where());
    for (int i = 0; i < 4; ++i) start(out);
  }
  std::vector<std::thread> outside;
  for (std::uint64_t i = 0; i < 4; ++i) outside.emplace_back([this, i] { act_outside(i); });
  for (std::thread& t : outside) t.join();
  if (!world_.await_rest()) world_.violated("they never come to rest");
  if (world_.why().empty()) wind_up();
  if (world_.why().empty()) check_end();
  if (world_.why().empty()) end_all();
  if (world_.why().empty()) check_end();
  return world_.why();
}

run_options options_of(std::uint64_t seed) {
  const credit_policy tiny{.grant = 4, .low = 1, .cap = 16};
  const credit_policy ones{.grant = 1, .low = 1, .cap = 4};
  const interpreter_config configs[] = {
      {.credit = tiny},
      {.credit = ones, .turn_messages = 2, .bounds = {.high_water = 3}},
      {.credit = tiny, .bounds = {.high_water = 2}},
      {.credit = ones},
      {.credit = {}, .turn_messages = 1},
      {.credit = tiny, .protocol_words = 1},
  };
  constexpr unsigned workers[] = {2, 4, 1, 16, 3, 8, 2};
  return {workers[seed % std::size(workers)], configs[seed % std::size(configs)]};
}

} // namespace

TEST_CASE("shell threads: whatever programs do and whoever dies on however many threads, everything comes home") {
  const auto seeds = testing::seeds::from_environment(1, testing::from_environment("ATOLL_SIMULATIONS", 60));
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    const std::string why = show(seed, options_of(seed)).run();
    CHECK_MESSAGE(why.empty(), why << "; run again with ATOLL_SEED=" << seed);
    if (!why.empty()) break;
  }
}
