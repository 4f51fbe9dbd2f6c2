// Finalizers under eight host threads: made, run, cancelled, and their objects let go, by pending calls into several
// interpreters, by tasks of Lua programs and by the finalizers themselves, before and while the runtime exits.
// Why: CPython's list of finalizers broke when others changed it while it was run. Here each is accounted for.
// ATOLL_FINALIZER_SECONDS=60 runs rounds for that long; ATOLL_SEED=n repeats what round n tries.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <lua5.4/lua.hpp>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "guests/lua/state.hpp"

using namespace Atoll;
using namespace std::chrono_literals;

namespace {

constexpr int host_threads = 8;
constexpr int natives = 3;
constexpr int luas = 2;

struct thing {
  int number = 0;
};
using things = std::vector<handle<thing>>;

/// What one native interpreter does and remembers. Only its own turns touch it, until the runtime is gone.
struct workshop {
  struct entry {
    native_finalizer name;
    bool ranked = false;
    int ran = 0;
    int cancelled = 0;
  };

  native_context* context = nullptr;
  std::mt19937_64 random;
  std::deque<entry> entries;

  std::uint64_t below(std::uint64_t n) { return random() % n; }
  entry* any() { return entries.empty() ? nullptr : &entries[below(entries.size())]; }

  void act() {
    things& held = context->state<things>();
    switch (below(6)) {
    case 0:
    case 1:
    case 2: make(); break;
    case 3:
      if (!held.empty()) {
        std::swap(held[below(held.size())], held.back());
        const handle<thing> last = std::move(held.back()); // gone from the list before its finalizers look at it
        held.pop_back();
      }
      break;
    case 4:
      if (entry* e = any(); e != nullptr && e->name.cancel()) ++e->cancelled;
      break;
    default:
      if (entry* e = any()) (void)e->name.run();
    }
  }

  void make() {
    entry& e = entries.emplace_back();
    std::optional<int> priority;
    if (below(3) != 0) priority = static_cast<int>(below(7)) - 3;
    e.ranked = priority.has_value();
    result<native_finalizer> made = [&] {
      if (e.ranked && below(4) == 0)
        return context->finalizer([this, &e](native_context&) { ran(e, nullptr); }, *priority);
      things& held = context->state<things>();
      if (held.empty() || below(2) == 0) held.push_back(context->make<thing>());
      return context->finalizer(
          held[below(held.size())], [this, &e](native_context&, const handle<thing>& h) { ran(e, &h); }, priority);
    }();
    if (made) {
      e.name = *made;
    } else { // its object is dying
      entries.pop_back();
    }
  }

  void ran(entry& e, const handle<thing>* h) {
    ++e.ran;
    switch (below(8)) {
    case 0: make(); break;
    case 1: act(); break;
    case 2:
      if (h != nullptr) context->state<things>().push_back(*h); // brought back
      break;
    case 3: throw std::runtime_error("told to fail");
    default: break;
    }
  }

  /// Each ran or was cancelled, once; only those without a priority may have done neither.
  std::string wrong() const {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const entry& e = entries[i];
      const int ends = e.ran + e.cancelled;
      if (ends > 1 || (e.ranked && ends != 1))
        return fmt::format("finalizer {} of {} ({}): ran {}, cancelled {}", i, entries.size(),
                           e.ranked ? "ranked" : "unranked", e.ran, e.cancelled);
    }
    return {};
  }
};

const char* const program = R"lua(
local atoll = require "atoll"
local seed = ...
math.randomseed(seed)
local random = math.random
local all, names, objects = {}, {}, {}
local act
local peer = atoll.find("native 0")

local function ran(r)
  r.ran = r.ran + 1
  local what = random(12)
  if what <= 2 then act()
  elseif what == 3 then error("told to fail")
  elseif what == 4 then pcall(peer.call, peer, "touch")
  elseif what == 5 then collectgarbage("step", 0)
  elseif what == 6 then atoll.task(act)
  end
end

local function make()
  local r = {ran = 0, cancelled = 0}
  if random(3) > 1 then r.priority = random(-3, 3) end
  local o
  if not r.priority or random(4) > 1 then
    if #objects == 0 or random(2) == 1 then objects[#objects + 1] = {} end
    o = objects[random(#objects)]
  end
  local name = atoll.finalizer(o, function(x)
    if x and random(8) == 1 then objects[#objects + 1] = x end
    ran(r)
  end, {priority = r.priority})
  all[#all + 1] = r
  names[#names + 1] = {r, name}
end

function act()
  local what = random(7)
  if what <= 3 then make()
  elseif what == 4 and #objects > 0 then table.remove(objects, random(#objects))
  elseif what == 5 and #names > 0 then
    local n = names[random(#names)]
    if n[2]:cancel() then n[1].cancelled = n[1].cancelled + 1 end
  elseif what == 6 and #names > 0 then pcall(names[random(#names)][2].run, names[random(#names)][2])
  elseif what == 7 then collectgarbage(random(4) == 1 and "collect" or "step", 0)
  end
end

function churn() for i = 1, 4 do pcall(act) end end

if seed % 2 == 0 then collectgarbage("incremental", 100, 50, 4) end
for t = 1, 3 do
  atoll.task(function() for i = 1, 60 do pcall(act) atoll.sleep(0.0005) end end)
end
atoll.at_exit(function()
  pcall(peer.call, peer, "exiting")
  for i = 1, 20 do pcall(act) end
end)
-- Runs when the state is closed, behind all finalizers.
last = setmetatable({}, {__gc = function()
  local wrong = 0
  for _, r in ipairs(all) do
    local ends = r.ran + r.cancelled
    if ends > 1 or r.priority and ends ~= 1 then wrong = wrong + 1 end
  end
  atoll.log.error(("account: %d made, %d wrong"):format(#all, wrong))
end})
)lua";

/// What the Lua programs say at their end.
struct accounts {
  std::mutex mutex;
  int told = 0;
  int made = 0;
  int wrong = 0;

  void read(std::string_view line) {
    const auto at = line.find("account: ");
    if (at == std::string_view::npos) return;
    int m = 0;
    int w = 0;
    const std::string text(line.substr(at));
    const std::scoped_lock lock(mutex);
    if (std::sscanf(text.c_str(), "account: %d made, %d wrong", &m, &w) != 2) return;
    ++told;
    made += m;
    wrong += w;
  }
};

struct tally {
  std::size_t made = 0;
  std::uint64_t run = 0;
  std::uint64_t calls = 0;
  std::uint64_t calls_at_exit = 0;
};

void round(std::uint64_t seed, tally& sum) {
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  std::atomic<bool> exiting = false;
  static std::deque<std::vector<workshop>> all_shops; // who had to be abandoned may still work in them
  std::vector<workshop>& shops = all_shops.emplace_back(natives);
  std::mutex programs_mutex;
  std::map<interpreter_id, lua_guest*> programs;
  accounts told;

  system_config config;
  config.workers = 2;
  config.deadline = 20s;
  config.log_threshold = log_level::error;
  config.log = [&](std::string_view line) { told.read(line); };
  config.languages["lua"] = [&](host& outside) {
    auto g = make_lua_guest(outside);
    const std::scoped_lock lock(programs_mutex);
    programs[outside.id()] = static_cast<lua_guest*>(g.get());
    return g;
  };
  native_interface offered;
  offered.on_start([&](native_context& c, int which) {
    workshop& w = shops[static_cast<std::size_t>(which)];
    w.context = &c;
    (void)c.at_exit([&w](native_context&) {
      for (int i = 0; i < 20; ++i) w.act();
    });
  });
  offered.function("touch", [] {});
  offered.function("exiting", [&] { exiting = true; });
  config.languages["native"] = native(offered);

  finalization_report report;
  std::atomic<bool> over = false;
  std::atomic<std::uint64_t> calls = 0;
  std::atomic<std::uint64_t> calls_at_exit = 0;
  {
    Atoll::system s(config);
    std::vector<interpreter_id> whom;
    for (int i = 0; i < natives; ++i) {
      shops[static_cast<std::size_t>(i)].random.seed(random());
      const auto h = s.spawn<native>({.name = fmt::format("native {}", i)}, {}, i);
      REQUIRE(h);
      whom.push_back(h->id());
    }
    for (int i = 0; i < luas; ++i) {
      const auto h = s.spawn<lua>({.name = fmt::format("lua {}", i)}, code(program, "=churn"),
                                  static_cast<std::int64_t>(random() % 1000000));
      REQUIRE(h);
      whom.push_back(h->id());
    }
    const auto call = [&](std::size_t which) {
      if (which < natives)
        return s.add_pending_call(whom[which], [&w = shops[which], &exiting, &calls_at_exit] {
          if (exiting) ++calls_at_exit;
          for (int i = 0; i < 4; ++i) w.act();
        });
      return s.add_pending_call(whom[which], [g = programs.at(whom[which]), &exiting, &calls_at_exit] {
        if (exiting) ++calls_at_exit;
        lua_getglobal(g->main, "churn");
        if (lua_pcall(g->main, 0, 0, 0) != LUA_OK) lua_pop(g->main, 1);
      });
    };
    // Some calls before the end, more from when the exit handlers run until they are refused. In between most rounds
    // are quiet, as the drain waits for that.
    const bool quiet = random() % 4 != 0;
    std::atomic<int> ready = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < host_threads; ++t)
      threads.emplace_back([&, mine = std::mt19937_64(random())]() mutable {
        for (int i = 0; i < 40; ++i)
          if (call(mine() % whom.size())) ++calls;
        ++ready;
        while (quiet && !exiting && !over) std::this_thread::sleep_for(200us);
        for (int i = 0; i < 400 && !over; ++i) {
          if (call(mine() % whom.size())) ++calls;
          if (mine() % 4 == 0) std::this_thread::sleep_for(100us);
        }
      });
    while (ready < host_threads) std::this_thread::sleep_for(100us);
    report = s.finalize();
    over = true;
    for (std::thread& t : threads) t.join();
  }

  const auto accounted = std::count_if(report.interpreters.begin(), report.interpreters.end(),
                                       [](const auto& i) { return i.outcome == end_kind::stopped; });
  REQUIRE_MESSAGE(accounted == natives + luas, to_text(report));
  CHECK_MESSAGE(report.verdict == finalization_report::verdict_kind::clean, to_text(report));
  CHECK(told.told == luas);
  CHECK(told.wrong == 0);
  for (const workshop& w : shops) CHECK(w.wrong().empty());
  CHECK(report.pending_calls_failed == 0);
  CHECK(report.pending_calls_run + report.pending_calls_refused == calls);
  for (const workshop& w : shops) sum.made += w.entries.size();
  sum.made += static_cast<std::size_t>(told.made);
  sum.run += report.finalizers_run;
  sum.calls += calls;
  sum.calls_at_exit += calls_at_exit;
  all_shops.pop_back();
}

} // namespace

TEST_CASE("finalizers: what a pending call makes, cancels and lets die in the middle of the run counts at once") {
  std::atomic<lua_guest*> program_of_it = nullptr;
  std::atomic<bool> running = false;
  std::string said; // one line at a time
  system_config config;
  config.workers = 2;
  config.log = [&](std::string_view line) {
    const std::string_view text = line.substr(line.rfind(": ") + 2);
    said += text;
    if (text == "first\n") running = true;
  };
  config.languages["lua"] = [&](host& outside) {
    auto g = make_lua_guest(outside);
    program_of_it = static_cast<lua_guest*>(g.get());
    return g;
  };
  Atoll::system s(config);
  const auto who = s.spawn<lua>({.name = "one"}, code(R"lua(
    local atoll = require "atoll"
    local function says(x, o, p) return atoll.finalizer(o, function() atoll.log.warn(x) end, {priority = p}) end
    kept = {}
    says("died", kept, 1)
    doomed = says("cancelled", nil, 2)
    says("last", nil, 0)
    function change()
      doomed:cancel()
      kept = nil
      collectgarbage()
      says("made", nil, 3)
      changed = true
    end
    atoll.finalizer(nil, function()
      atoll.log.warn("first")
      repeat atoll.sleep(0.001) until changed
      atoll.log.warn("goes on")
    end, {priority = 9})
  )lua",
                                                      "=one"));
  REQUIRE(who);
  std::thread other([&] {
    const auto until = std::chrono::steady_clock::now() + 5s;
    while (!running && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(200us);
    CHECK(s.add_pending_call(who->id(), [&] {
      lua_State* const L = program_of_it.load()->main;
      lua_getglobal(L, "change");
      CHECK(lua_pcall(L, 0, 0, 0) == LUA_OK);
    }));
  });
  const finalization_report r = s.finalize();
  other.join();
  CHECK(said == "first\ndied\ngoes on\nmade\nlast\n");
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
  CHECK(r.finalizers_run == 4);
}

TEST_CASE(
    "finalizers made, run, cancelled and collected by eight threads and by tasks, while exit runs, end once each") {
  // NOLINTBEGIN(concurrency-mt-unsafe): read before any thread
  const char* const only = std::getenv("ATOLL_SEED");
  const char* const seconds = std::getenv("ATOLL_FINALIZER_SECONDS");
  // NOLINTEND(concurrency-mt-unsafe)
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds ? std::atof(seconds) : 0.5);
  std::uint64_t seed = only != nullptr ? std::strtoull(only, nullptr, 10) : std::random_device{}();
  tally sum;
  std::size_t rounds = 0;
  do {
    round(seed++, sum);
    ++rounds;
  } while (only == nullptr && std::chrono::steady_clock::now() < until);
  MESSAGE(rounds << " rounds, " << sum.made << " finalizers made, " << sum.run << " run by the runtime, " << sum.calls
                 << " pending calls, " << sum.calls_at_exit << " of them while exit ran");
  CHECK(sum.calls_at_exit > 0);
}
