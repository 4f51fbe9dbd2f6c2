#include "actors/supervisor.hpp"

#include "actors/core.hpp"
#include "actors/finalization.hpp"

namespace Atoll {

namespace {

using wake_atom = caf::atom_constant<caf::atom("atollwake")>;
using finalize_atom = caf::atom_constant<caf::atom("atollfin")>;

/// Waits in the supervisor's own thread, woken by what happens.
class mailbox_waiter final : public waiter {
public:
  explicit mailbox_waiter(caf::blocking_actor* self) : self_(self) {}

  void wait_for_finalize() {
    bool asked = false;
    self_->receive_while([&] { return !asked; })([&](finalize_atom) { asked = true; }, [](wake_atom) {});
  }

  void wait(time_point until) override {
    const auto left = std::chrono::duration_cast<std::chrono::microseconds>(until - clock_type::now());
    if (left.count() <= 0) return;
    self_->receive([](wake_atom) {}, [](finalize_atom) {}, caf::after(left) >> [] {});
  }

private:
  caf::blocking_actor* self_;
};

} // namespace

supervisor::supervisor(caf::actor_system& sys, core& runtime)
    : actor_(sys.spawn<caf::detached>([&runtime](caf::blocking_actor* self) {
        mailbox_waiter mailbox(self);
        mailbox.wait_for_finalize();
        runtime.set_report(finalization(runtime, mailbox).run());
      })) {}

void supervisor::finalize() { caf::anon_send(actor_, finalize_atom::value); }

void supervisor::wake() noexcept { caf::anon_send(actor_, wake_atom::value); }

} // namespace Atoll
