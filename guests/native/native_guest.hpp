// The guest whose language is C++: answers messages with the functions, classes and objects of a native_interface.
// Ownership: the shell owns it; it owns the objects (through its context) and shares the interface.
// Threads: owner only; tick() does nothing, as compiled code can't be stopped.
// Invariants: (1) an exported object has one count for all its credit, from the first export to drop().
//             (2) no exception leaves: user code that throws makes a guest_error with what() as its message.
#pragma once

#include "guests/native/native_context.hpp"
#include "guests/native/native_interface.hpp"
#include "runtime/guarded.hpp"

namespace Atoll {

class native_guest final : public guest {
public:
  native_guest(host& outside, std::shared_ptr<const native_interface> offered);
  ~native_guest() override { close(); }

  native_context& context() noexcept { return context_; }

  void start(request_id request, const source& from, wire_reader args) override;
  void deliver(const incoming& message) override;
  void resume(guest_word token, const outcome& what) override;
  bool run_ready() override { return false; }
  void drop(guest_word object) override;
  std::string describe(guest_word object) override;
  bool waiting() const override { return false; }
  std::size_t tasks() const override { return 0; }
  void run_exit_handlers() override;
  void interrupt(errc code) override { killed_ = killed_ || code == errc::killed; }
  void drop_imports() override { context_.foreign_.over = true; }
  void close() override;
  void tick() noexcept override {}

private:
  native_results handle_message(const incoming& message);
  native_results call_function(std::string_view name, native_args args);
  native_results invoke(const incoming& message, object& target, native_args args);
  native_results access(object& target, bool set, native_args args);
  /// "account 3 of interpreter 2 'bank'", for errors of calls through a reference.
  std::string text_of(const object& exported) const;
  /// Also in the middle of a turn, by another thread: no further handler or finalizer starts.
  bool killed() const noexcept;
  bool run_next_handler();
  void answer(request_id request, std::string_view what, native_results results);
  void report(request_id request, std::string_view what, error why);

  host& host_;
  std::shared_ptr<const native_interface> offered_;
  native_context context_;
  bool killed_ = false; // its finalizers do not run any more
};

} // namespace Atoll
