// When an interpreter runs: each transition, then every interleaving of two senders and two workers on a model of the
// steps, then threads.
#include "channels/turn_state.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

using namespace Atoll;
using signalled = turn_state::signalled;

TEST_CASE("turn_state: the first signal to a sleeper schedules, the others do not") {
  turn_state s;
  CHECK(s.idle());
  CHECK(s.signal() == signalled::schedule);
  CHECK(s.signal() == signalled::noted);
  CHECK_FALSE(s.idle());
}

TEST_CASE("turn_state: a turn without news ends, and the next signal schedules again") {
  turn_state s;
  s.signal();
  s.begin();
  CHECK_FALSE(s.has_news());
  CHECK(s.end());
  CHECK(s.idle());
  CHECK(s.signal() == signalled::schedule);
}

TEST_CASE("turn_state: news during a turn keeps the owner running, once") {
  turn_state s;
  s.signal();
  s.begin();
  CHECK(s.signal() == signalled::noted);
  CHECK(s.has_news());
  CHECK_FALSE(s.end());
  CHECK_FALSE(s.has_news());
  CHECK(s.end());
}

TEST_CASE("turn_state: signals between scheduling and the turn are covered by that turn") {
  turn_state s;
  s.signal();
  s.signal();
  s.begin();
  CHECK(s.end());
}

TEST_CASE("turn_state: a turn that goes on without ending needs no signal, and forgets no news") {
  turn_state s;
  s.signal();
  s.begin();
  s.signal();
  s.begin(); // the owner was scheduled again on purpose
  CHECK(s.end());
}

TEST_CASE("turn_state: after the end of all turns every signal answers closed") {
  turn_state s;
  s.signal();
  s.begin();
  s.close();
  CHECK(s.is_closed());
  CHECK_FALSE(s.idle());
  CHECK(s.signal() == signalled::closed);
  CHECK(s.signal() == signalled::closed);
}

TEST_CASE("turn_state: closed also when news came before, and when it never ran") {
  turn_state running;
  running.signal();
  running.begin();
  running.signal();
  running.close();
  CHECK(running.signal() == signalled::closed);
  turn_state unborn;
  unborn.close();
  CHECK(unborn.signal() == signalled::closed);
}

namespace {

// -- every interleaving --------------------------------------------------------------------------------------------
//
// The model: each atomic operation is one step. A sender puts an item (step 1) and signals (step 2). A token is a
// scheduled run; either of two workers may take it. A worker begins, takes what there is, ends: a compare-and-swap, and
// where that fails a begin. It may also close, and then throws away what is left, as every sender that hears `closed` does.

enum class mutant {
  none,
  begin_after_take,    // the news is cleared after the look into the queue
  end_without_look,    // the turn ends although there is news
  signal_without_news, // a signal to a running owner leaves no trace
  signal_always_schedules,
  closed_not_told, // a sender hears `noted` from the closed
};

constexpr int active = 1, news = 2, closed = 4;

struct world {
  int word = 0;
  int queue = 0;
  int tokens = 0;
  int sender[2] = {0, 0}; // steps done; 2 for each item; -1 - steps: must throw away first
  int worker[2] = {0, 0}; // 0 out, 1 begin, 2 take, 3 end, 4 begin again, 5 take then begin (mutant), 6 throw away
  auto key() const { return std::tie(word, queue, tokens, sender[0], sender[1], worker[0], worker[1]); }
  bool operator<(const world& o) const { return key() < o.key(); }
};

class explorer {
public:
  explorer(mutant broken, bool closes, int items) : broken_(broken), closes_(closes), steps_(2 * items) {}

  std::string run() {
    visit({});
    return why_;
  }
  std::size_t states() const { return seen_.size(); }

private:
  void visit(const world& w) {
    if (!why_.empty() || !seen_.insert(w).second) return;
    const int running = (w.worker[0] != 0 ? 1 : 0) + (w.worker[1] != 0 ? 1 : 0);
    if (running > 1) return wrong("two turns at once");
    if (w.tokens + running > 1) return wrong("scheduled twice");
    bool moved = false;
    for (int i = 0; i < 2; ++i) {
      if (w.sender[i] < steps_) {
        moved = true;
        send(w, i);
      }
      if (w.worker[i] != 0 || w.tokens > 0) {
        moved = true;
        work(w, i);
      }
    }
    if (moved) return;
    if (w.queue > 0) wrong("an item is lost");
  }

  void send(world w, int i) {
    int& at = w.sender[i];
    if (at < 0) { // heard `closed`
      w.queue = 0;
      at = -1 - at;
      return visit(w);
    }
    if (at % 2 == 0) {
      ++w.queue;
      ++at;
      return visit(w);
    }
    ++at;
    const int before = w.word;
    w.word |= active | (broken_ == mutant::signal_without_news ? 0 : news);
    if ((before & closed) != 0) {
      if (broken_ != mutant::closed_not_told) at = -1 - at;
    } else if ((before & active) == 0 || broken_ == mutant::signal_always_schedules) {
      ++w.tokens;
    }
    visit(w);
  }

  void work(world w, int i) {
    int& at = w.worker[i];
    switch (at) {
    case 0:
      --w.tokens;
      at = broken_ == mutant::begin_after_take ? 5 : 1;
      break;
    case 1:
    case 4:
      w.word &= ~news;
      at = 2;
      break;
    case 2:
      w.queue = 0;
      at = 3;
      break;
    case 3:
      if (closes_) {
        world other = w;
        other.word |= closed | active;
        other.worker[i] = 6;
        visit(other);
      }
      if (w.word == active || broken_ == mutant::end_without_look) {
        w.word = 0;
        at = 0;
      } else {
        at = 4;
      }
      break;
    case 5:
      w.queue = 0;
      at = 7;
      break;
    case 7:
      w.word &= ~news;
      at = 3;
      break;
    case 6:
      w.queue = 0;
      at = 0;
      break;
    default: break;
    }
    visit(w);
  }

  void wrong(const char* what) {
    if (why_.empty()) why_ = what;
  }

  mutant broken_;
  bool closes_;
  int steps_;
  std::set<world> seen_;
  std::string why_;
};

} // namespace

TEST_CASE("turn_state: in every interleaving no item is lost and no two turns overlap") {
  explorer open(mutant::none, false, 3);
  CHECK(open.run() == "");
  explorer closing(mutant::none, true, 3);
  CHECK(closing.run() == "");
  CHECK(open.states() > 300);
  CHECK(closing.states() > open.states());
}

TEST_CASE("turn_state: the explorer catches each broken variant") {
  for (const mutant broken : {mutant::begin_after_take, mutant::end_without_look, mutant::signal_without_news,
                              mutant::signal_always_schedules, mutant::closed_not_told}) {
    CAPTURE(static_cast<int>(broken));
    CHECK(explorer(broken, true, 2).run() != "");
  }
}

TEST_CASE("turn_state: it does in one step what the model says, from every reachable word") {
  // idle, scheduled with news, running, running with news
  for (int before = 0; before < 4; ++before) {
    CAPTURE(before);
    const auto make = [before](turn_state& s) {
      if (before == 0) return;
      s.signal();
      if (before >= 2) s.begin();
      if (before == 3) s.signal();
    };
    const bool is_active = before != 0;
    const bool has_news = before == 1 || before == 3;
    turn_state a;
    make(a);
    CHECK(a.idle() != is_active);
    CHECK(a.has_news() == has_news);
    CHECK(a.signal() == (is_active ? signalled::noted : signalled::schedule));
    CHECK(a.has_news());
    turn_state b;
    make(b);
    if (is_active) {
      CHECK(b.end() != has_news);
      CHECK_FALSE(b.has_news());
      CHECK(b.idle() != has_news);
    }
  }
}

namespace {

/// Workers that run one owner's turns; schedule() from any thread.
class pool {
public:
  template <class F>
  pool(int workers, F turn) {
    for (int i = 0; i < workers; ++i)
      threads_.emplace_back([this, turn] {
        while (next()) turn();
      });
  }
  void schedule() {
    {
      const std::scoped_lock lock(mutex_);
      ++tokens_;
    }
    changed_.notify_one();
  }
  void stop() {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (auto& t : threads_) t.join();
  }

private:
  bool next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return tokens_ > 0 || stopping_; });
    if (tokens_ == 0) return false;
    --tokens_;
    return true;
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  int tokens_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

} // namespace

TEST_CASE("turn_state: threads lose no item, and turns do not overlap") {
  constexpr int producers = 4;
  constexpr int each = 20000;
  turn_state state;
  std::atomic<int> waiting{0};
  std::atomic<int> inside{0};
  std::atomic<int> overlaps{0};
  long taken = 0; // plain: turns follow each other, and ThreadSanitizer sees it if they do not
  long turns = 0;
  pool workers(3, [&] {
    state.begin();
    for (;;) {
      if (inside.fetch_add(1) != 0) ++overlaps;
      taken += waiting.exchange(0, std::memory_order_relaxed);
      ++turns;
      inside.fetch_sub(1);
      if (state.end()) return;
    }
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < producers; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < each; ++k) {
        waiting.fetch_add(1, std::memory_order_relaxed);
        if (state.signal() == signalled::schedule) workers.schedule();
      }
    });
  for (auto& t : threads) t.join();
  workers.stop();
  CHECK(taken == producers * each);
  CHECK(overlaps == 0);
  CHECK(turns > 0);
  CHECK(state.idle());
}

TEST_CASE("turn_state: what a thread wrote before its signal is seen in the turn that follows") {
  // One producer hands over plain memory and waits for the answer, so each signal means one begin() or failed end().
  // Fewer than 5000 when other processes keep the threads apart.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  int item = 0; // plain
  std::atomic<int> taken{0};
  turn_state state;
  long sum = 0;
  pool workers(2, [&] {
    state.begin();
    do {
      sum += item;
      taken.fetch_add(1, std::memory_order_release);
    } while (!state.end());
  });
  int rounds = 0;
  do {
    item = ++rounds;
    if (state.signal() == signalled::schedule) workers.schedule();
    while (taken.load(std::memory_order_acquire) < rounds) std::this_thread::yield();
  } while (rounds < 5000 && std::chrono::steady_clock::now() < until);
  workers.stop();
  CHECK(sum == long{rounds} * (rounds + 1) / 2);
}
