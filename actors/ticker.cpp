#include "actors/ticker.hpp"

#include <algorithm>
#include <csignal>

#include "actors/shell/interpreter.hpp"

namespace Atoll {

namespace {
constexpr int tick_signal = SIGURG; // ignored by default, used by nobody else here, does not stop a debugger
}

thread_local ticker::slot* ticker::mine_ = nullptr;

ticker::ticker(std::chrono::milliseconds period, std::chrono::milliseconds sample_period, std::function<void()> look,
               std::function<bool()> others_wait)
    : period_(period), sample_period_(sample_period), look_(std::move(look)), others_wait_(std::move(others_wait)) {
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
  static thread_local std::vector<std::pair<const ticker*, std::shared_ptr<slot>>> known;
  slot* s = mine_;
  if (known.empty() || known.front().first != this) {
    auto fresh = std::make_shared<slot>();
    fresh->thread = pthread_self();
    {
      const std::scoped_lock lock(mutex_);
      slots_.push_back(fresh);
    }
    known.assign(1, {this, fresh});
    mine_ = s = fresh.get();
  }
  s->turn.store(s->turn.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  s->who.store(&who, std::memory_order_relaxed);
}

void ticker::leave() noexcept { mine_->who.store(nullptr, std::memory_order_relaxed); }

void ticker::poke(const interpreter* who) {
  const std::scoped_lock lock(mutex_);
  for (const auto& s : slots_)
    if (s->who.load(std::memory_order_relaxed) == who) pthread_kill(s->thread, tick_signal);
}

void ticker::on_signal(int) {
  const int saved = errno;
  if (slot* s = mine_) {
    if (interpreter* who = s->who.load(std::memory_order_relaxed)) {
      if (s->share.load(std::memory_order_relaxed) || who->has_news() || who->has_more())
        who->set_controls({.yield = true});
      if (who->wants_tick()) who->tick();
      if (s->sample.exchange(false, std::memory_order_relaxed)) who->sample();
    }
  }
  errno = saved;
}

/// Ticks the turns that last; whether any worker is in a turn.
bool ticker::tick_long_turns(bool share) {
  bool busy = false;
  for (const auto& s : slots_) {
    const std::uint64_t turn = s->turn.load(std::memory_order_relaxed);
    const bool running = s->who.load(std::memory_order_relaxed) != nullptr;
    busy = busy || running;
    s->share.store(share, std::memory_order_relaxed);
    if (running && turn == s->seen) pthread_kill(s->thread, tick_signal);
    s->seen = turn;
  }
  return busy;
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
  int quiet = 0; // looks in a row that found every worker idle: the ticker sleeps longer
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
      look_();
      const bool share = others_wait_();
      lock.lock();
      quiet = tick_long_turns(share) ? 0 : quiet + 1;
      next_look = clock::now() + (quiet > 20 ? period_ * 4 : period_);
    }
  }
}

} // namespace Atoll
