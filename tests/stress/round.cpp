#include "tests/stress/round.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include <fmt/format.h>

#include <atoll/lua.hpp>

#include "tests/stress/residents.hpp"

namespace Atoll::stress {

namespace {

using namespace std::chrono_literals;
using refs = std::vector<ref<>>;

constexpr std::size_t slots = 64;
constexpr auto patience = 30s;

enum class ending : std::uint8_t { let_go_first, go_on, keep };
constexpr std::array ending_names = {"all let go first", "all went on meanwhile", "references were kept"};

system_config config_of(const round_options& o, std::atomic<std::uint64_t>& moved) {
  system_config config;
  config.workers = o.workers;
  config.reported_ends = ~std::size_t{0}; // the audit looks for each of them
  config.deadline = 60s;                  // what is slow is not wrong here, only what never ends
  config.high_water = std::size_t{64} << (2 * (o.seed / 8 % 3));
  if (o.seed / 4 % 2 == 0) config.credit = {.grant = 4, .low = 1, .cap = 16}; // loans and refills all the time
  config.log = [](std::string_view) {};
  config.languages["lua"] = lua();
  config.languages["native"] = native(native_resident(moved));
  return config;
}

class round {
public:
  explicit round(const round_options& o)
      : options_(o), ending_(static_cast<ending>(o.seed % 3)), runtime_(std::in_place, config_of(o, moved_)) {}

  round_result run();

private:
  using dice = std::mt19937_64;

  interpreter_handle start(std::size_t slot);
  interpreter_handle any(dice& d) {
    const std::scoped_lock lock(mutex_);
    return living_[d() % slots];
  }
  std::vector<interpreter_id> route(dice& d);
  void watch(const interpreter_handle& who);

  void move_about(std::uint64_t number);
  void act(dice& d, refs& pocket);
  void exchange(dice& d, refs& pocket);
  void kill_and_replace();
  void await_downs();
  void let_go_together();
  void audit(const finalization_report& r);
  void wrong(std::string what) {
    const std::scoped_lock lock(mutex_);
    if (result_.wrong.empty()) result_.wrong = std::move(what);
  }

  const round_options options_;
  const ending ending_;
  std::atomic<std::uint64_t> moved_{0};
  std::atomic<bool> over_{false};
  round_result result_;

  std::mutex mutex_;
  std::array<interpreter_handle, slots> living_; // under mutex_, as are all below
  std::set<interpreter_id> ended_;               // by kill_and_replace
  std::map<interpreter_id, int> downs_;          // how often each was reported by its monitor
  refs shared_;                                  // what the threads exchange
  std::vector<refs> kept_;                       // what they still held at the end

  std::optional<Atoll::system> runtime_; // after what its callbacks use
};

// -- births and deaths ----------------------------------------------------------------------------------------------------

interpreter_handle round::start(std::size_t slot) {
  auto made = slot % 2 == 0 ? runtime_->spawn<native>({}) : runtime_->spawn<lua>({}, lua_resident());
  if (!made) {
    if (made.error().code < errc::runtime_finalizing) wrong("spawn: " + made.error().message);
    return {};
  }
  watch(*made);
  return *made;
}

void round::watch(const interpreter_handle& who) {
  {
    const std::scoped_lock lock(mutex_);
    downs_[who.id()] = 0;
  }
  const auto watched = who.monitor([this](const down& d) {
    const std::scoped_lock lock(mutex_);
    ++downs_[d.id];
  });
  if (!watched) {
    const std::scoped_lock lock(mutex_);
    downs_.erase(who.id()); // refused: the end has begun
  }
}

void round::kill_and_replace() {
  dice d(options_.seed * 131 + 99);
  while (!over_) {
    std::this_thread::sleep_for(std::chrono::microseconds(d() % 20000));
    const std::size_t slot = d() % slots;
    interpreter_handle who;
    {
      const std::scoped_lock lock(mutex_);
      who = living_[slot];
      ended_.insert(who.id());
    }
    switch (d() % 4) {
    case 0: (void)who.stop(); break;
    case 1: (void)who.stop(1ms); break;
    default: (void)who.kill(); break;
    }
    if (d() % 8 == 0) (void)any(d).interrupt();
    interpreter_handle heir = start(slot);
    if (heir.id() == interpreter_id{}) return; // the end has begun
    const std::scoped_lock lock(mutex_);
    living_[slot] = std::move(heir);
  }
}

// -- threads outside ------------------------------------------------------------------------------------------------------

std::vector<interpreter_id> round::route(dice& d) {
  std::vector<interpreter_id> way(1 + d() % 8);
  const std::scoped_lock lock(mutex_);
  const std::size_t first = d() % slots;
  const bool ring = d() % 2 == 0;
  for (std::size_t i = 0; i < way.size(); ++i) way[i] = living_[ring ? (first + i) % slots : d() % slots].id();
  return way;
}

void round::exchange(dice& d, refs& pocket) {
  refs out;
  {
    const std::scoped_lock lock(mutex_);
    for (std::size_t n = d() % 16; n > 0 && !pocket.empty(); --n) {
      shared_.push_back(d() % 2 == 0 ? pocket.back() : std::move(pocket.back())); // a copy, or the thing itself
      pocket.pop_back();
    }
    for (std::size_t n = d() % 16; n > 0 && !shared_.empty(); --n) {
      std::swap(shared_[d() % shared_.size()], shared_.back());
      out.push_back(std::move(shared_.back()));
      shared_.pop_back();
    }
    if (shared_.size() > 500) shared_.resize(250);
  }
  pocket.insert(pocket.end(), out.begin(), out.end());
}

void round::act(dice& d, refs& pocket) {
  const interpreter_handle who = any(d);
  const int n = static_cast<int>(1 + d() % 256);
  // What fails here fails because somebody ended: whatever was not sent, or not answered, is let go of.
  switch (d() % 20) {
  case 0: (void)who.send("drop"); break;
  case 1:
  case 2: (void)who.send("touch", n / 4); break;
  case 3:
  case 4:
  case 5: {
    const auto asked = who.call<refs>(d() % 2 == 0 ? "give" : "some", n / 4);
    if (d() % 4 == 0) break; // nobody waits for the answer
    const auto got = asked.get_for(patience);
    if (got) pocket.insert(pocket.end(), got->begin(), got->end());
    if (!got && got.error().code == errc::timeout) wrong("a call was not answered in time");
    break;
  }
  case 6: {
    const refs some(pocket.begin(),
                    pocket.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(pocket.size(), 64)));
    if (who.send("pass", some, route(d))) moved_.fetch_add(some.size(), std::memory_order_relaxed);
    break;
  }
  case 7:
    if (!pocket.empty()) (void)pocket[d() % pocket.size()].send("hit");
    break;
  case 8:
    if (!pocket.empty()) {
      const auto hit = pocket[d() % pocket.size()].call<int>("hit");
      if (d() % 2 == 0) break;
      const auto got = hit.get_for(patience);
      if (got) break;
      if (got.error().code == errc::timeout) wrong("a call through a reference was not answered in time");
      if (got.error().code == errc::reference_released) wrong("an object was gone while a thread held it");
    }
    break;
  case 9:
  case 10: exchange(d, pocket); break;
  case 11:
    if (d() % 4 == 0) (void)who.send("bear", n / 8);
    break;
  case 12:
    if (const auto made = who.make<node>().get_for(patience)) { // those in Lua refuse
      ref<node> typed = *made;
      if (d() % 2 == 0) (void)typed.call(&node::hit);
      pocket.push_back(std::move(typed));
    }
    break;
  default: (void)who.send("make", n, route(d)); break;
  }
  if (pocket.size() > 1000) pocket.resize(d() % 2 == 0 ? 0 : 500);
}

void round::move_about(std::uint64_t number) {
  dice d(options_.seed * 7919 + number);
  refs pocket;
  while (!over_) act(d, pocket);
  const std::scoped_lock lock(mutex_);
  if (ending_ != ending::let_go_first) kept_.push_back(std::move(pocket));
}

/// Who was killed or stopped is reported now, not only when the runtime ends.
void round::await_downs() {
  const auto until = std::chrono::steady_clock::now() + patience;
  const auto untold = [this] {
    const std::scoped_lock lock(mutex_);
    return std::find_if(ended_.begin(), ended_.end(), [this](interpreter_id id) { return downs_[id] == 0; })
           != ended_.end();
  };
  while (untold()) {
    if (std::chrono::steady_clock::now() > until) return wrong("the end of an interpreter was not told");
    std::this_thread::sleep_for(1ms);
  }
}

void round::let_go_together() {
  std::vector<std::thread> threads;
  for (refs& some : kept_)
    threads.emplace_back([this, &some] {
      const refs copies = some;
      for (const ref<>& r : copies) {
        const auto got = r ? r.call<int>("hit").get() : result<int>(0);
        if (r && (got || got.error().code != errc::runtime_finalized))
          wrong("a call after the finalization was answered");
      }
      some.clear();
    });
  for (std::thread& t : threads) t.join();
}

// -- the end --------------------------------------------------------------------------------------------------------------

void round::audit(const finalization_report& r) {
  result_.interpreters = r.interpreters.size();
  result_.exported = r.exported;
  result_.released = r.released;
  using verdict = finalization_report::verdict_kind;
  if (r.verdict == verdict::forced) wrong("something had to be forced:\n" + to_text(r));
  if (ending_ == ending::let_go_first && r.verdict != verdict::clean) wrong("the end was not clean:\n" + to_text(r));

  std::map<interpreter_id, std::uint64_t> leaked;
  for (const exported_object& l : r.leaked) {
    ++leaked[l.id.owner];
    if (l.holders != std::vector<interpreter_id>{host_interpreter}) wrong("somebody but the host program holds a leak");
  }
  std::set<interpreter_id> reported;
  for (const interpreter_report& i : r.interpreters) {
    const std::string name = fmt::format("interpreter {} ({})", number(i.id), name_of(i.outcome));
    if (!reported.insert(i.id).second) wrong(name + " is reported twice");
    if (i.outcome == end_kind::failed || i.outcome == end_kind::abandoned) wrong(name + ": " + i.failure.message);
    if (i.released > i.exported) wrong(name + " released more than it exported");
  }
  for (const interpreter_report& i : r.interpreters) {
    const bool survived = downs_.count(i.id) > 0 && ended_.count(i.id) == 0;
    if (survived && i.exported - i.released > leaked[i.id])
      wrong(fmt::format("interpreter {} exported {} objects, released {}, and {} leaked", number(i.id), i.exported,
                        i.released, leaked[i.id]));
  }
  for (const auto& [id, times] : downs_) {
    if (reported.count(id) == 0) wrong(fmt::format("interpreter {} is missing in the report", number(id)));
    if (times > 1) wrong(fmt::format("the end of interpreter {} was told {} times", number(id), times));
    if (times == 0) wrong(fmt::format("the end of interpreter {} was never told", number(id)));
  }
}

round_result round::run() {
  for (std::size_t slot = 0; slot < slots; ++slot) living_[slot] = start(slot);
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 3; ++i) threads.emplace_back([this, i] { move_about(i); });
  threads.emplace_back([this] { kill_and_replace(); });
  const auto join = [&] {
    over_ = true;
    for (std::thread& t : threads) t.join();
    threads.clear();
  };
  std::this_thread::sleep_for(std::chrono::duration<double>(options_.seconds));

  if (ending_ != ending::go_on) {
    join();
    await_downs();
  }
  if (ending_ == ending::let_go_first) shared_.clear();
  for (const interpreter_handle& h : living_)
    if (const auto figures = h.call<std::vector<std::uint64_t>>("figures").get_for(patience)) {
      moved_ += figures->at(0);
      if (figures->at(1) > 0)
        wrong(fmt::format("interpreter {} called an object it held that was gone", number(h.id())));
    }
  const finalization_report r = runtime_->finalize();
  if (ending_ == ending::go_on) join();
  {
    const std::scoped_lock lock(mutex_);
    kept_.push_back(std::move(shared_));
  }
  audit(r);
  if (options_.seed % 5 == 0) let_go_together();
  runtime_.reset();
  let_go_together();
  result_.moved = moved_;
  result_.end = ending_names[static_cast<std::size_t>(ending_)];
  return result_;
}

} // namespace

round_result run_round(const round_options& options) { return round(options).run(); }

} // namespace Atoll::stress
