// Whole programs of interpreters at random, on 1 to 16 threads: born, fed, asked, stopped and killed by four threads from
// outside while they send objects and references on, keep them, let go, call, answer late, wait for room, spawn, monitor.
//
// When all have come to rest, answered and let go, everything must be home: minted == returned, no tombstone, every call
// answered once, every monitor told once, every object dropped once; then all are ended at once, and nobody is left.
//
// A failing run prints its seed: ATOLL_SEED=n test_shell_threads runs the same program again; threads make it go another
// way each time. ATOLL_SIMULATIONS=n runs so many seeds.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <set>

#include "channels/disposal.hpp"
#include "tests/actors/probe_guest.hpp"
#include "tests/seeds.hpp"
#include "tests/shell_threads/thread_world.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::probe;
using test::thread_world;

namespace {

class player;

struct run_options {
  unsigned workers = 1;
  interpreter_config config;
};

/// One program: a world, its players, and four threads outside.
class show {
public:
  show(std::uint64_t seed, const run_options& o)
      : seed_(seed), world_(seed, o.workers, o.config, [this](host& h) { return enter(h); }) {}

  std::string run();

  thread_world& world() noexcept { return world_; }
  bool winding_up() const noexcept { return winding_up_.load(std::memory_order_relaxed); }
  std::uint64_t seed() const noexcept { return seed_; }

private:
  std::unique_ptr<guest> enter(host& h);
  player* find(interpreter_id who);
  void act_outside(std::uint64_t number);
  void start(outbox& out);
  void ask(outbox& out, interpreter_id whom, record_kind kind, std::uint64_t dice);
  void post(outbox& out, interpreter_id who, void (player::*what)());
  void wind_up();
  void read_answers();
  void check_end();
  void end_all();

  const std::uint64_t seed_;
  std::atomic<bool> winding_up_{false};
  std::atomic<std::uint64_t> host_calls_{0}, jobs_posted_{0}, jobs_over_{0};
  std::map<call_id, int> answers_;
  std::mutex players_mutex_;
  std::map<interpreter_id, std::unique_ptr<player>> players_; // under players_mutex_; kept until the run is over
  thread_world world_;                                        // last: its workers use the rest
};

/// What a probe does, and its books. Owner's turns only; the main thread when all rest.
class player {
public:
  player(show& s, host& h) : show_(s), host_(h), dice_(s.seed() * 7919 + number(h.id())) {
    functions_["f"] = [this](probe&, const incoming& m) { hear(m); };
    functions_["m"] = functions_["f"];
  }
  std::unique_ptr<guest> make_guest() {
    auto made = std::make_unique<probe>(host_, functions_);
    probe_ = made.get();
    probe_->hooks["close"] = [this] { close(); };
    probe_->ready = [this] { return below(40) == 0; };
    return made;
  }

  void act();
  /// Everything that was put off or kept comes to its end.
  void wind_up();
  /// What is wrong with the books of one who lives and rests; `lives` tells of others.
  std::string audit(interpreter& shell, const std::function<bool(interpreter_id)>& lives) const;

private:
  enum class wait { answer, timer, room, down };
  struct expectation {
    wait what{};
    interpreter_id whom{};
    int came = 0;
    bool cancelled = false;
    guest_word token = 0;
  };

  std::size_t below(std::size_t n) { return static_cast<std::size_t>(dice_() % n); }
  interpreter_id anybody() { return show_.world().anybody(dice_()); }
  void violated(const std::string& what) {
    show_.world().violated("interpreter " + std::to_string(number(host_.id())) + ": " + what);
  }
  std::size_t expect(wait what, interpreter_id whom) {
    const std::size_t i = books_.size();
    books_.push_back({what, whom, 0, false, 0});
    books_[i].token = probe_->await([this, i](const outcome& o) { came(i, o); });
    return i;
  }
  void cancel(std::size_t i) {
    books_[i].cancelled = true;
    probe_->waiting_for.erase(books_[i].token);
  }
  void came(std::size_t i, const outcome& o);
  void hear(const incoming& m);
  void take(wire_reader values);
  void fill(wire_writer& w);
  bool finish(interpreter_id to);
  void send();
  void call();
  void invoke();
  void spawn();
  void let_go();
  void answer(request_id request);
  void close();

  show& show_;
  host& host_;
  std::mt19937_64 dice_;
  test::probe_functions functions_;
  probe* probe_ = nullptr; // null after close
  std::vector<expectation> books_;
  std::vector<std::pair<call_id, std::size_t>> calls_;
  std::vector<std::pair<std::uint64_t, std::size_t>> timers_;
  std::vector<std::size_t> monitors_;
  std::vector<request_id> kept_;
  guest_word words_ = 0;
};

// -- the player -----------------------------------------------------------------------------------------------------------

void player::came(std::size_t i, const outcome& o) {
  expectation& e = books_[i];
  ++e.came;
  const bool fits = (e.what == wait::answer && o.what <= outcome::kind::failed)
                    || (e.what == wait::timer && o.what == outcome::kind::timer)
                    || (e.what == wait::room && o.what == outcome::kind::room)
                    || (e.what == wait::down && o.what == outcome::kind::down && o.down_id == e.whom);
  if (!fits) violated("an outcome of the wrong kind came");
  if (o.what == outcome::kind::values) take(o.values);
  if (!show_.winding_up() && below(3) == 0) act();
}

void player::hear(const incoming& m) {
  if (below(20) == 0) {
    host_.give_back(m.args);
  } else {
    take(m.args);
  }
  if (!show_.winding_up() && below(2) == 0) act();
  answer(m.request);
}

void player::take(wire_reader values) {
  probe_->take(values);
  const std::size_t most = show_.winding_up() ? 0 : 30;
  while (probe_->held.size() > most) let_go();
}

void player::let_go() {
  std::vector<import_table::index>& held = probe_->held;
  if (held.empty()) return;
  std::swap(held[below(held.size())], held.back());
  host_.imports().drop_use(held.back());
  held.pop_back();
}

void player::fill(wire_writer& w) {
  for (std::size_t n = below(4); n > 0; --n) {
    const std::size_t k = below(5);
    if (k == 0) {
      w.put_string(std::string(below(200), 'x'));
    } else if (k == 1 || probe_->held.empty()) {
      probe_->put_own(w, below(3) == 0 || words_ < 4 ? ++words_ : words_ - below(4));
    } else {
      put_imported(w, host_.imports(), probe_->held[below(probe_->held.size())]);
    }
  }
}

/// Commits, or takes back; true when it was sent.
bool player::finish(interpreter_id to) {
  if (below(12) == 0) {
    host_.rollback();
    return false;
  }
  const send_status sent = host_.commit();
  if (sent > send_status::crowded) {
    host_.rollback();
    return false;
  }
  if (sent == send_status::crowded || below(20) == 0) {
    const std::size_t i = expect(wait::room, to);
    host_.await_room(to, books_[i].token);
  }
  return true;
}

void player::send() {
  const interpreter_id to = anybody();
  wire_writer& w = host_.open_message(to, record_kind::send);
  w.put_text("f");
  fill(w);
  finish(to);
}

void player::call() {
  const interpreter_id to = anybody();
  wire_writer& w = host_.open_message(to, record_kind::call);
  const std::size_t i = expect(wait::answer, to);
  const call_id c = host_.open_call(books_[i].token);
  w.put_u64(c);
  w.put_text("f");
  fill(w);
  if (!finish(to)) return cancel(i);
  calls_.emplace_back(c, i);
}

void player::invoke() {
  if (probe_->held.empty()) return;
  const import_table::index target = probe_->held[below(probe_->held.size())];
  const interpreter_id to = host_.imports().id_of(target).owner;
  wire_writer& w = host_.open_message(to, record_kind::invoke);
  const std::size_t i = expect(wait::answer, to);
  const call_id c = host_.open_call(books_[i].token);
  w.put_u64(c);
  w.put_u8(static_cast<std::uint8_t>(below(4)));
  put_imported_target(w, host_.imports(), target);
  w.put_text("m");
  fill(w);
  if (!finish(to)) return cancel(i);
  calls_.emplace_back(c, i);
}

void player::spawn() {
  if (show_.world().where().size() > 10) return;
  const std::size_t i = expect(wait::answer, {});
  const bool written = below(10) != 0;
  const auto child = host_.spawn(
      {.language = "player"}, {source_kind::code, below(10) == 0 ? "fail" : "", {}},
      [&](wire_writer& w) {
        fill(w);
        return written;
      },
      books_[i].token);
  if (!child) return cancel(i);
  books_[i].whom = *child;
}

void player::answer(request_id request) {
  if (request == no_request) return;
  const std::size_t k = show_.winding_up() ? 2 : below(6);
  if (k == 0) return kept_.push_back(request);
  if (k == 1) return host_.reply_error(request, {errc::guest_error, "no", {}, {}, {}, {}});
  wire_writer& w = host_.open_reply(request);
  if (!show_.winding_up()) fill(w);
  host_.commit();
}

void player::close() {
  // Some let go and send in their last moment, some just end.
  if (below(2) == 0) {
    while (!probe_->held.empty() && below(4) != 0) let_go();
    if (below(2) == 0) send();
    if (!kept_.empty() && below(2) == 0) answer(kept_.back());
  }
  if (probe_->resumed_in_vain != 0) violated("something came that nobody waits for");
  probe_ = nullptr;
}

void player::act() {
  if (probe_ == nullptr) return;
  switch (below(19)) {
  case 0:
  case 1:
  case 2:
  case 3: return send();
  case 4:
  case 5:
  case 6: return call();
  case 7:
  case 8: return invoke();
  case 9:
  case 10: return let_go();
  case 11: return spawn();
  case 12:
    if (kept_.empty()) return;
    answer(kept_.back());
    return kept_.pop_back();
  case 13:
    if (calls_.empty()) return;
    if (books_[calls_.back().second].came == 0) {
      host_.forget_call(calls_.back().first);
      cancel(calls_.back().second);
    }
    return calls_.pop_back();
  case 14: {
    const std::size_t i = expect(wait::timer, {});
    const auto when = host_.now() + std::chrono::microseconds(below(3000));
    return void(timers_.emplace_back(host_.set_timer(when, books_[i].token), i));
  }
  case 15:
    if (timers_.empty()) return;
    if (books_[timers_.back().second].came == 0) {
      host_.cancel_timer(timers_.back().first);
      cancel(timers_.back().second);
    }
    return timers_.pop_back();
  case 16:
    monitors_.push_back(expect(wait::down, anybody()));
    return host_.monitor(books_[monitors_.back()].whom, books_[monitors_.back()].token);
  case 17:
    if (monitors_.empty()) return;
    if (const std::size_t i = monitors_.back(); books_[i].came == 0) {
      host_.demonitor(books_[i].whom, books_[i].token);
      cancel(i);
    }
    return monitors_.pop_back();
  default:
    if (below(60) == 0) host_.kill(anybody());
    return;
  }
}

void player::wind_up() {
  if (probe_ == nullptr) return;
  for (const request_id r : std::exchange(kept_, {})) answer(r);
  while (!probe_->held.empty()) let_go();
}

std::string player::audit(interpreter& shell, const std::function<bool(interpreter_id)>& lives) const {
  if (shell.imports().size() != 0) return "I3: an import is left";
  if (shell.exports_live() != 0) return "I3: an export is left";
  if (shell.exports().minted() != shell.exports().returned()) return "I1: minted and returned differ";
  if (shell.box().backlog() != 0) return "the backlog is wrong";
  if (!shell.box().turn().idle()) return "no rest";
  if (probe_ == nullptr) return "it lives without its guest";
  if (probe_->resumed_in_vain != 0) return "something came that nobody waits for";
  if (probe_->dropped.size() != shell.exports().added()) return "I4: not every object was dropped once";
  for (const expectation& e : books_) {
    static constexpr const char* names[] = {"an answer", "a timer", "room", "the end"};
    const std::string name =
        std::string(names[static_cast<int>(e.what)]) + " of interpreter " + std::to_string(number(e.whom));
    const int due = e.cancelled || (e.what == wait::down && lives(e.whom)) ? 0 : 1;
    if (e.came > due) return name + " came too often";
    if (e.came < due) return name + " never came";
  }
  return {};
}

// -- the show -------------------------------------------------------------------------------------------------------------

std::unique_ptr<guest> show::enter(host& h) {
  const std::scoped_lock lock(players_mutex_);
  std::unique_ptr<player>& p = players_[h.id()];
  p = std::make_unique<player>(*this, h);
  return p->make_guest();
}

player* show::find(interpreter_id who) {
  const std::scoped_lock lock(players_mutex_);
  const auto it = players_.find(who);
  return it != players_.end() ? it->second.get() : nullptr;
}

void show::start(outbox& out) {
  const auto id = world_.create({.language = "player"}, host_interpreter);
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
    const std::scoped_lock lock(players_mutex_);
    ++answers_[c]; // not sent: that is the answer
  }
  out.flush();
}

void show::post(outbox& out, interpreter_id who, void (player::*what)()) {
  class work final : public job {
  public:
    work(show& s, interpreter_id who, void (player::*what)()) : show_(s), who_(who), what_(what) {}
    void run(host&) override {
      if (player* p = show_.find(who_)) (p->*what_)();
      show_.jobs_over_.fetch_add(1, std::memory_order_relaxed);
    }
    void abandon(const error&) noexcept override { show_.jobs_over_.fetch_add(1, std::memory_order_relaxed); }

  private:
    show& show_;
    interpreter_id who_;
    void (player::*what_)();
  };
  auto made = std::make_unique<work>(*this, who, what);
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
    default: post(out, who, &player::act); break;
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
    for (const interpreter_id who : world_.living()) post(out, who, &player::wind_up);
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
  for (const interpreter_id who : world_.living()) {
    interpreter* shell = world_.at_rest(who);
    const player* p = find(who);
    if (p == nullptr) continue; // it never started
    const std::string wrong = p->audit(*shell, [this](interpreter_id id) { return world_.at_rest(id) != nullptr; });
    if (!wrong.empty()) world_.violated(wrong + ", says interpreter " + std::to_string(number(who)));
  }
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
      {.credit = ones, .high_water = 3, .turn_messages = 2},
      {.credit = tiny, .high_water = 2},
      {.credit = ones},
      {.credit = {}, .turn_messages = 1},
      {.credit = tiny, .protocol_words = 1},
  };
  constexpr unsigned workers[] = {2, 4, 1, 16, 3, 8, 2};
  return {workers[seed % std::size(workers)], configs[seed % std::size(configs)]};
}

} // namespace

TEST_CASE("shell threads: whatever programs do and whoever dies on however many threads, everything comes home") {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): read before any thread
  const char* wanted = std::getenv("ATOLL_SIMULATIONS");
  const auto seeds = testing::seeds::from_environment(1, wanted != nullptr ? std::strtoull(wanted, nullptr, 0) : 60);
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    const std::string why = show(seed, options_of(seed)).run();
    CHECK_MESSAGE(why.empty(), why << "; run again with ATOLL_SEED=" << seed);
    if (!why.empty()) break;
  }
}
