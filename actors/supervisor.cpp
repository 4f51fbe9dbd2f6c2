#include "actors/supervisor.hpp"

#include <chrono>
#include <new>
#include <thread>

#include "actors/core.hpp"
#include "actors/finalization.hpp"
#include "actors/watch.hpp"

namespace Atoll {

namespace {

using wake_atom = caf::atom_constant<caf::atom("atollwake")>;
using finalize_atom = caf::atom_constant<caf::atom("atollfin")>;

/// Waits in the supervisor's own thread, woken by what happens.
class mailbox_waiter final : public waiter {
public:
  explicit mailbox_waiter(caf::blocking_actor* self) : self_(self) {}

  /// Calls `look` meanwhile, once in each period.
  void wait_for_finalize(std::optional<std::chrono::milliseconds> period, const std::function<void()>& look) {
    if (!period) {
      self_->receive_while([&] { return !asked_; })([&](finalize_atom) { asked_ = true; }, [](wake_atom) {});
      return;
    }
    while (!asked_) {
      const time_point next = clock_type::now() + *period;
      while (!asked_ && clock_type::now() < next) wait(next);
      if (!asked_) look();
    }
  }

  void wait(time_point until) override {
    const auto left = std::chrono::duration_cast<std::chrono::microseconds>(until - clock_type::now());
    if (left.count() <= 0) return;
    self_->receive([](wake_atom) {}, [this](finalize_atom) { asked_ = true; }, caf::after(left) >> [] {});
  }

private:
  caf::blocking_actor* self_;
  bool asked_ = false; // to finalize
};

} // namespace

supervisor::supervisor(caf::actor_system& sys, core& runtime)
    : actor_(sys.spawn<caf::detached>([&runtime](caf::blocking_actor* self) {
        mailbox_waiter mailbox(self);
        watch over(runtime, mailbox);
        mailbox.wait_for_finalize(watch::period(runtime), [&over] { over.look(); });
        runtime.set_report(finalization(runtime, mailbox).run());
      })) {}

void supervisor::finalize() {
  for (;;) {
    try {
      return caf::anon_send(actor_, finalize_atom::value);
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1)); // it must hear of it
    }
  }
}

void supervisor::wake() { caf::anon_send(actor_, wake_atom::value); }

} // namespace Atoll
