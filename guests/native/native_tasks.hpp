// The tasks of one native interpreter: those that nobody awaits, the waits of all, and who is to go on next.
//
// A wait, in order (native_wait.hpp is the awaiter's side):
//   1. enter() notes the wait and gives it a token; its operation hands the token to the host;
//   2. the coroutine suspends, or goes on: what comes meanwhile is kept in the wait;
//   3. resume(), wake() or interrupt() finds the wait by its token and gives it the outcome; from here on the token is void;
//   4. the coroutine that suspended there runs until it waits for something else, or the root above it has ended;
//   5. a root that has ended is taken out, told so, and destroyed, and its frames with it.
// A wait that is destroyed in between (its frame is, or nobody awaits it any more) leaves, and takes its request back.
//
// Why: one place where tokens are made, so that whatever a coroutine may wait for has the same ends.
// Ownership: the native_context; it owns the roots. Waits lie in coroutine frames.
// Threads: owner only.
// Invariants: (1) a token names one wait, once: a late or second outcome finds nothing. (2) after close() nothing of a
//             coroutine runs but destructors, and nothing can be waited for.
#pragma once

#include <coroutine>
#include <memory>
#include <vector>

#include "guests/native/native_task.hpp"
#include "runtime/host.hpp"
#include "runtime/value_codec.hpp"

namespace Atoll {

class native_wait;

/// A task that nobody awaits: a message's, or one that was spawned.
class native_root {
public:
  native_root() = default;
  native_root(const native_root&) = delete;
  native_root& operator=(const native_root&) = delete;
  virtual ~native_root() = default;

private:
  friend class native_tasks;
  /// The task's first step; at its end `ended` is to name this.
  virtual std::coroutine_handle<> begin(native_root*& ended) noexcept = 0;
  /// The task ran to its end. Not called for one that is destroyed before.
  virtual void ended() = 0;

  native_root* older_ = nullptr;
  native_root* newer_ = nullptr;
};

class native_tasks {
public:
  native_tasks(host& outside, reference_codec& references) noexcept : outside_(outside), references_(references) {}
  native_tasks(const native_tasks&) = delete;
  native_tasks& operator=(const native_tasks&) = delete;
  ~native_tasks() { close(); }

  host& outside() const noexcept { return outside_; }
  reference_codec& references() const noexcept { return references_; }
  bool closed() const noexcept { return closed_; }
  /// Tasks that have not ended.
  std::size_t size() const noexcept { return size_; }

  /// Runs a task until it waits for the first time. Not from within a coroutine: there, put_off().
  void start(std::unique_ptr<native_root> root);
  /// run_ready() starts it.
  void put_off(std::unique_ptr<native_root> root);

  /// What a wait asked the host for has come. False: nobody waits for it, or none may run any more.
  bool resume(guest_word token, const outcome& what);
  /// The same from within a coroutine or a function: who waits goes on in run_ready().
  void wake(guest_word token, const outcome& what);
  /// Runs what was put off, until it is asked to yield; true when some is left.
  bool run_ready();
  bool has_ready() const noexcept { return ready_at_ < ready_.size(); }
  /// Every wait fails with `code`, and its coroutine goes on with that.
  void interrupt(errc code);
  /// What they wait for, each wait with one entry.
  std::vector<task_wait> waits() const;
  /// Destroys all frames, those of the newest task first.
  void close() noexcept;

  /// What chooses among several that are ready; repeats with the runtime's seed.
  std::uint64_t next_random() noexcept { return random_ += 0x9E3779B97F4A7C15ULL; }

  // For native_wait.
  guest_word enter(native_wait& w);
  void leave(guest_word token) noexcept;

private:
  struct place {
    native_wait* wait = nullptr; // null: free
    std::uint32_t serial = 1;
    std::uint32_t next_free = none;
  };
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  native_wait* find(guest_word token) const noexcept;
  std::coroutine_handle<> take_first_step(std::unique_ptr<native_root> root);
  void run(std::coroutine_handle<> next);
  void run_next_ready();
  void remove(native_root& root) noexcept;

  host& outside_;
  reference_codec& references_;
  native_root* newest_ = nullptr;
  native_root* ended_ = nullptr; // by the coroutine that run() runs
  std::size_t size_ = 0;
  std::vector<place> places_;
  std::uint32_t free_ = none;
  std::vector<std::coroutine_handle<>> ready_; // from ready_at_ on
  std::size_t ready_at_ = 0;
  std::uint64_t random_ = outside_.seed().value_or(reinterpret_cast<std::uintptr_t>(this));
  bool closed_ = false;
};

} // namespace Atoll
