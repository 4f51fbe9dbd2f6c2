// A runtime on plain threads and without CAF: interpreters whose turns a few workers run, as real as it gets under
// ThreadSanitizer, which must not see CAF.
// Why: tests/actors/shell_world.hpp replays what one thread does; here the shell's state machine meets real threads.
// Ownership: the world owns its interpreters and destroys each when its last turn is over.
// Threads: environment and control() any thread; a thread outside speaks through a messenger of its own.
// Invariants: (1) no two workers run the same interpreter. (2) whoever is scheduled runs once for it.
//
// Before each turn, and wherever a turn asks for the directory or flushes, a worker now and then yields or sleeps: the
// interleavings a quiet machine never shows. No lock is held there, and none orders one turn before the next.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "actors/shell/interpreter.hpp"

namespace Atoll::test {

using namespace std::chrono_literals;

class thread_world final : public environment {
public:
  thread_world(std::uint64_t seed, unsigned workers, const interpreter_config& config, guest_factory make_guest)
      : seed_(seed),
        config_(std::make_shared<interpreter_config>(config)),
        make_guest_(std::move(make_guest)),
        host_box_(new inbox(host_interpreter, 1U << 20U)) {
    host_box_->set_waker(quiet_);
    where_.enter(host_interpreter, {}, host_interpreter, host_box_);
    for (unsigned i = 0; i < workers; ++i) workers_.emplace_back([this, i] { work(i + 1); });
  }
  ~thread_world() {
    for (const interpreter_id who : living()) control(who, {.kill = true});
    await_rest();
    {
      const std::scoped_lock lock(queue_mutex_);
      over_ = true;
    }
    changed_.notify_all();
    for (std::thread& t : workers_) t.join();
  }

  // -- any thread ----------------------------------------------------------------------------------------------------
  /// The first thing that went wrong counts.
  void violated(const std::string& what) {
    const std::scoped_lock lock(book_mutex_);
    if (why_.empty()) why_ = what;
  }
  std::string why() const {
    const std::scoped_lock lock(book_mutex_);
    return why_;
  }
  std::vector<interpreter_report> reports() const {
    const std::scoped_lock lock(book_mutex_);
    return reports_;
  }
  std::vector<interpreter_id> living() const {
    const std::scoped_lock lock(cells_mutex_);
    std::vector<interpreter_id> all;
    for (const auto& [id, c] : cells_) all.push_back(id);
    return all;
  }
  std::uint64_t born() const noexcept { return born_.load(std::memory_order_relaxed); }
  /// One of those born last: mostly the living, sometimes the dead.
  interpreter_id anybody(std::uint64_t dice) const noexcept {
    const std::uint64_t known = std::clamp<std::uint64_t>(born(), 1, known_.size());
    return interpreter_id{known_[dice % known].load(std::memory_order_relaxed)};
  }
  /// The interpreter's tables, for an audit while everybody rests; null when it is gone.
  interpreter* at_rest(interpreter_id id) const {
    const std::scoped_lock lock(cells_mutex_);
    const auto it = cells_.find(id);
    return it != cells_.end() ? &it->second->shell : nullptr;
  }
  inbox& host_box() noexcept { return *host_box_; }

  /// Waits until nobody runs, nothing waits for a turn and no wake-up is due to come. False: they never come to rest.
  bool await_rest() {
    std::unique_lock lock(queue_mutex_);
    return rested_.wait_for(lock, 100s, [this] { return active_ == 0 && wakes_.empty(); });
  }

  // -- environment ---------------------------------------------------------------------------------------------------
  directory& where() noexcept override {
    jitter();
    return where_;
  }
  time_point now() const noexcept override { return clock_type::now(); }
  void wake_at(interpreter& who, time_point when) override {
    {
      const std::scoped_lock lock(queue_mutex_);
      wakes_.emplace(when, who.id());
    }
    changed_.notify_one();
  }
  result<interpreter_id> create(const spawn_options& options, interpreter_id parent) override {
    const interpreter_id id = where_.next_id();
    auto c = std::make_shared<cell>(*this, id, parent, options);
    {
      // Found in both or in neither: else a kill could find nobody, or its last turn be over before it is entered.
      const std::scoped_lock lock(cells_mutex_);
      if (!where_.enter(id, options.name, parent, c->shell.shared_box())) return fail(errc::name_taken, options.name);
      cells_.emplace(id, std::move(c));
    }
    known_[born_.fetch_add(1, std::memory_order_relaxed) % known_.size()].store(number(id), std::memory_order_relaxed);
    return id;
  }
  void control(interpreter_id target, controls what) override {
    std::shared_ptr<cell> c;
    {
      const std::scoped_lock lock(cells_mutex_);
      const auto it = cells_.find(target);
      if (it == cells_.end()) return;
      c = it->second;
    }
    c->shell.set_controls(what);
    c->shell.box().wake();
  }
  std::uint64_t next_socket_number() noexcept override { return 1; }
  void need_net() override {}
  void connect(const std::string&, interpreter_id, guest_word) override {}
  void turn_begins(interpreter&) noexcept override {
    if (cell_->runs.exchange(true, std::memory_order_relaxed)) violated("two workers run one interpreter");
  }
  void turn_flushes() noexcept override { jitter(); }
  void turn_ends() noexcept override { cell_->runs.store(false, std::memory_order_relaxed); }
  bool finalizing() const noexcept override { return false; }
  void request_exit(int) override {}
  void main_done(const error*) override {}
  void log(log_level, const interpreter_info&, std::string_view text) override { violated(std::string(text)); }
  host::figures stats() const override { return {}; }
  void survey_references(interpreter_id, call_id) override {}
  void ended(const interpreter&, interpreter_report r) override {
    const std::scoped_lock lock(book_mutex_);
    reports_.push_back(std::move(r));
  }

private:
  struct cell final : waker {
    cell(thread_world& w, interpreter_id id, interpreter_id parent, const spawn_options& options)
        : world(w), shell(w, w.config_, id, parent, options.name, w.make_guest_) {
      shell.box().set_waker(*this);
    }
    void schedule() noexcept override { world.enqueue(*this); }
    thread_world& world;
    std::atomic<bool> runs{false}; // relaxed: it must order nothing, or it would hide what turn_state forgets
    interpreter shell;
  };
  struct quiet_waker final : waker {
    void schedule() noexcept override {}
  };

  void enqueue(cell& c) {
    {
      const std::scoped_lock lock(queue_mutex_);
      queue_.push_back(&c);
      ++active_;
    }
    changed_.notify_one();
  }
  void jitter() noexcept {
    if (dice_ == nullptr) return;
    const std::uint64_t n = (*dice_)();
    if (n % 64 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(n / 64 % 100));
    } else if (n % 8 == 0) {
      std::this_thread::yield();
    }
  }
  void work(std::uint64_t number) {
    std::mt19937_64 dice(seed_ * 1000 + number);
    dice_ = &dice;
    std::unique_lock lock(queue_mutex_);
    while (!over_) {
      if (!wakes_.empty() && wakes_.begin()->first <= clock_type::now()) {
        const interpreter_id who = wakes_.begin()->second;
        wakes_.erase(wakes_.begin());
        ++active_;
        lock.unlock();
        control(who, {});
        lock.lock();
        rest_one();
      } else if (!queue_.empty()) {
        // Anybody of those who wait: CAF's workers steal from each other.
        const auto chosen =
            queue_.begin() + static_cast<std::ptrdiff_t>(dice() % std::min<std::size_t>(queue_.size(), 4));
        cell& c = **chosen;
        queue_.erase(chosen);
        lock.unlock();
        jitter();
        run(c);
        jitter();
        lock.lock();
        rest_one();
      } else if (!wakes_.empty()) {
        const time_point next = wakes_.begin()->first; // a copy: another worker may take the entry meanwhile
        changed_.wait_until(lock, next);
      } else {
        changed_.wait(lock);
      }
    }
    dice_ = nullptr;
  }
  void rest_one() {
    if (--active_ == 0 && wakes_.empty()) rested_.notify_all();
  }
  void run(cell& c) {
    cell_ = &c;
    switch (c.shell.turn()) {
    case interpreter::turn_result::idle: break; // another worker may run it by now, or have destroyed it
    case interpreter::turn_result::again: enqueue(c); break;
    case interpreter::turn_result::done: {
      const std::scoped_lock lock(cells_mutex_);
      cells_.erase(c.shell.id());
      break;
    }
    }
  }

  const std::uint64_t seed_;
  const std::shared_ptr<const interpreter_config> config_;
  const guest_factory make_guest_;
  directory where_;
  quiet_waker quiet_;
  inbox_ptr host_box_;
  std::array<std::atomic<std::uint64_t>, 8> known_{}; // a ring: the last born
  std::atomic<std::uint64_t> born_{0};

  mutable std::mutex book_mutex_;
  std::string why_;                         // under book_mutex_
  std::vector<interpreter_report> reports_; // under book_mutex_

  mutable std::mutex cells_mutex_;
  std::map<interpreter_id, std::shared_ptr<cell>> cells_; // under cells_mutex_

  std::mutex queue_mutex_;
  std::condition_variable changed_, rested_;
  std::deque<cell*> queue_; // under queue_mutex_, as are the next three
  std::multimap<time_point, interpreter_id> wakes_;
  std::size_t active_ = 0; // in the queue or with a worker
  bool over_ = false;
  std::vector<std::thread> workers_;

  // Of a worker.
  static inline thread_local cell* cell_ = nullptr;
  static inline thread_local std::mt19937_64* dice_ = nullptr;
};

} // namespace Atoll::test
