#include "actors/ticker.hpp"

#include <algorithm>
#include <csignal>
#include <utility>

#include "actors/shell/interpreter.hpp"

namespace Atoll {

namespace {
constexpr int quiet_looks = 20;
constexpr int tick_signal = SIGURG; // ignored by default, used by nobody else here, does not stop a debugger
constexpr std::chrono::milliseconds stuck_after{50};
} // namespace

thread_local ticker::slot* ticker::mine_ = nullptr;

ticker::ticker(std::chrono::milliseconds period, std::chrono::milliseconds sample_period, std::function<bool()> look,
               std::function<bool()> others_wait, std::function<void(std::size_t, bool)> stuck,
               std::function<void(const stuck_report&)> tell)
    : period_(period),
      sample_period_(sample_period),
      look_(std::move(look)),
      others_wait_(std::move(others_wait)),
      stuck_(std::move(stuck)),
      tell_(std::move(tell)) {
  stuck_turn::prepare();
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_handler = &ticker::on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(tick_signal, &action, nullptr);
  });
  if (period_.count() > 0) thread_ = std::thread([this] { run(); });
}

ticker::~ticker() { stop(); }

std::uint64_t ticker::next_number() noexcept {
  static std::atomic<std::uint64_t> last{0}; // relaxed: a number is all there is to it
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

void ticker::stop() {
  if (!thread_.joinable()) return;
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void ticker::enter(interpreter& who) {
  static thread_local std::pair<std::uint64_t, std::shared_ptr<slot>> known{0, nullptr};
  if (known.first != number_) {
    mine_ = nullptr;
    try {
      auto fresh = std::make_shared<slot>();
      fresh->thread = pthread_self();
      {
        const std::scoped_lock lock(mutex_);
        if (period_.count() == 0) fresh->lasted = ~std::uint32_t{0}; // nobody looks: a poke may end every turn
        slots_.push_back(fresh);
      }
      known = {number_, fresh};
      mine_ = fresh.get();
    } catch (const std::bad_alloc&) {
      return; // this turn cannot be ticked; the next one tries again
    }
  }
  slot* const s = mine_;
  s->turn.store(s->turn.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  s->who.store(&who, std::memory_order_relaxed);
  if (asleep_.load(std::memory_order_relaxed)) [[unlikely]]
    wake();
}

void ticker::wake() {
  {
    const std::scoped_lock lock(mutex_);
    asleep_.store(false, std::memory_order_relaxed);
  }
  wake_.notify_one();
}

void ticker::look_every(std::chrono::milliseconds at_most) {
  const std::scoped_lock lock(mutex_);
  if (period_.count() > 0) period_ = std::min(period_, std::max(at_most, std::chrono::milliseconds(1)));
}

void ticker::leave() noexcept {
  if (mine_ != nullptr) mine_->who.store(nullptr, std::memory_order_relaxed);
}

void ticker::poke(const interpreter* who) {
  const std::scoped_lock lock(mutex_);
  for (const auto& s : slots_)
    if (s->who.load(std::memory_order_relaxed) == who) pthread_kill(s->thread, tick_signal);
}

std::optional<std::uint64_t> ticker::turns_at_rest() {
  const std::scoped_lock lock(mutex_);
  std::uint64_t begun = 0;
  for (const auto& s : slots_) {
    if (s->who.load(std::memory_order_relaxed) != nullptr) return std::nullopt;
    begun += s->turn.load(std::memory_order_relaxed);
  }
  return begun;
}

void ticker::on_signal(int) {
  const int saved = errno;
  if (slot* s = mine_) {
    if (interpreter* who = s->who.load(std::memory_order_relaxed)) {
      const bool due = s->lasted.load(std::memory_order_relaxed) >= who->time_slice().count();
      const std::uint64_t turn = s->turn.load(std::memory_order_relaxed);
      if (due && (s->share.load(std::memory_order_relaxed) || who->has_news() || who->has_more())) {
        who->set_controls({.yield = true});
        s->asked.store(turn, std::memory_order_relaxed);
      }
      if (s->note.exchange(false, std::memory_order_relaxed)) {
        s->stuck.note(turn, *who);
        who->set_controls({.where = true});
      }
      if (who->wants_tick()) who->tick();
      if (s->sample.exchange(false, std::memory_order_relaxed)) who->sample();
    }
  }
  errno = saved;
}

/// Ticks the turns that last; whether any worker is in a turn.
bool ticker::tick_long_turns(bool share) {
  bool busy = false;
  const auto now = std::chrono::steady_clock::now();
  for (const auto& s : slots_) {
    const std::uint64_t turn = s->turn.load(std::memory_order_relaxed);
    const bool running = s->who.load(std::memory_order_relaxed) != nullptr;
    busy = busy || running;
    s->share.store(share, std::memory_order_relaxed);
    if (turn != s->seen) {
      s->since = now;
      s->asked_since = {};
    }
    const auto lasted = std::chrono::ceil<std::chrono::milliseconds>(now - s->since) + period_;
    s->lasted.store(static_cast<std::uint32_t>(lasted.count()), std::memory_order_relaxed);
    if (running && turn == s->seen) pthread_kill(s->thread, tick_signal);
    s->seen = turn;
  }
  if (looked_at_.size() != slots_.size()) looked_at_ = slots_; // they only become more
  return busy;
}

bool ticker::is_stuck(slot& s, std::chrono::steady_clock::time_point now) noexcept {
  const std::uint64_t turn = s.turn.load(std::memory_order_relaxed);
  if (turn != s.seen || s.who.load(std::memory_order_relaxed) == nullptr) return false;
  if (s.asked.load(std::memory_order_relaxed) != turn) return false;
  if (s.asked_since == std::chrono::steady_clock::time_point{}) s.asked_since = now;
  return now - s.asked_since >= stuck_after;
}

/// A turn that holds others up is told once, as soon as its thread has noted what it does.
void ticker::tell_stuck(slot& s, std::chrono::steady_clock::time_point now) {
  if (s.told == s.seen) return;
  if (s.stuck.noted.load(std::memory_order_acquire) == s.seen) {
    s.told = s.seen;
    s.open = {s.stuck.who, s.stuck.name, s.stuck.text(), s.since, now, false};
    tell_(*s.open);
  } else if (s.note_asked != s.seen) { // once: while it is read nothing is noted again
    s.note_asked = s.seen;
    s.note.store(true, std::memory_order_relaxed);
  }
}

// Without the lock: to put names to addresses takes long, and poke() must not wait for it.
void ticker::look_at_stuck(bool share) {
  const auto now = std::chrono::steady_clock::now();
  std::size_t count = 0;
  for (const auto& s : looked_at_) {
    if (s->open && s->turn.load(std::memory_order_relaxed) != s->told) {
      s->open->over = true;
      s->open->until = now;
      tell_(*std::exchange(s->open, std::nullopt));
    }
    if (is_stuck(*s, now)) ++count;
  }
  last_stuck_ = count;
  stuck_(count, share);
  if (count == 0) return;
  // Once somebody waited it is told, also when a spare has taken that over meanwhile.
  for (const auto& s : looked_at_)
    if ((share || s->note_asked == s->seen) && is_stuck(*s, now)) tell_stuck(*s, now);
}

void ticker::sample() {
  for (const auto& s : slots_) {
    if (s->who.load(std::memory_order_relaxed) == nullptr) continue;
    s->sample.store(true, std::memory_order_relaxed);
    pthread_kill(s->thread, tick_signal);
  }
}

void ticker::run() {
  using clock = std::chrono::steady_clock;
  std::unique_lock lock(mutex_);
  int quiet = 0; // looks in a row that found every worker idle: the ticker looks less often, then sleeps
  const bool sampling = sample_period_.count() > 0;
  auto next_look = clock::now() + period_;
  auto next_sample = sampling ? clock::now() + sample_period_ : clock::time_point::max();
  while (!stop_) {
    wake_.wait_until(lock, std::min(next_look, next_sample));
    const auto now = clock::now();
    if (now >= next_sample) {
      sample();
      next_sample = std::max(next_sample, now - sample_period_) + sample_period_; // late ones are not caught up
    }
    if (now >= next_look) {
      lock.unlock();
      const bool look_again = look_();
      const bool share = others_wait_();
      lock.lock();
      const bool busy = tick_long_turns(share);
      quiet = busy ? 0 : quiet + 1;
      const bool stuck = stuck_ && (busy || last_stuck_ > 0);
      if (stuck) {
        lock.unlock();
        look_at_stuck(share);
        lock.lock();
      }
      if (quiet <= quiet_looks || look_again || sampling || stuck) {
        asleep_.store(false, std::memory_order_relaxed);
      } else if (!asleep_.load(std::memory_order_relaxed)) {
        asleep_.store(true, std::memory_order_relaxed);
      } else {
        wake_.wait(lock, [this] { return stop_ || !asleep_.load(std::memory_order_relaxed); });
        quiet = 0;
      }
      next_look = clock::now() + (quiet > quiet_looks ? period_ * 4 : period_);
    }
  }
}

} // namespace Atoll
