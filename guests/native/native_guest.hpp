// The guest whose language is C++: answers messages with the functions, classes and objects of a native_interface.
// Ownership: the shell owns it; it owns the objects (through its context) and shares the interface.
// A function that returns a native_task is answered when that has ended; the guest holds the object of a method until then.
// Threads: owner only; tick() does nothing, as compiled code can't be stopped.
// Invariants: (1) an exported object has one count for all its credit, from the first export to drop().
//             (2) no exception leaves: user code that throws makes a guest_error with what() as its message.
#pragma once

#include <atomic>

#include "guests/native/native_context.hpp"
#include "guests/native/native_interface.hpp"

namespace Atoll {

class native_guest final : public guest {
public:
  native_guest(host& outside, std::shared_ptr<const native_interface> offered);
  ~native_guest() override { close(); }

  native_context& context() noexcept { return context_; }

  void start(request_id request, const source& from, wire_reader args) override;
  void deliver(const incoming& message) override;
  void resume(guest_word token, const outcome& what) override;
  bool run_ready() override { return context_.tasks_.run_ready(); }
  bool has_ready() const noexcept override { return context_.tasks_.has_ready(); }
  void drop(guest_word object) override;
  std::string describe(guest_word object) override;
  bool waiting() const override { return tasks() > 0; }
  std::size_t tasks() const override { return context_.tasks_.size(); }
  std::vector<task_wait> waits() override { return context_.tasks_.waits(); }
  void run_exit_handlers() override;
  bool acts_at_exit() const override {
    return !context_.exit_handlers_.empty() || context_.finalizers_.acts_at_exit(); // the rest is acts_at_close()
  }
  bool acts_at_close() const override {
    return context_.finalizers_.size() > 0 || context_.tasks_.size() > 0 || context_.objects_.live() > 0
           || !context_.states_.empty();
  }
  /// Waits fail, running code is not stopped. Killed: nothing of it runs any more but destructors, in close().
  void interrupt(errc code) override;
  void drop_imports() override { context_.foreign_.over = true; }
  void close() override;
  void tick() noexcept override {}
  activity doing() const noexcept override;

private:
  class message_root;
  class exit_root;

  native_reply handle_message(const incoming& message);
  native_reply call_function(std::string_view name, native_args args);
  native_reply invoke(const incoming& message, object& target, native_args args);
  native_reply access(object& target, bool set, native_args args);
  /// Answers now, or when the task has ended.
  void answer(request_id request, std::string_view what, native_reply reply, object* target);
  /// "account 3 of interpreter 2 'bank'", for errors of calls through a reference.
  std::string text_of(const object& exported) const;
  /// Also in the middle of a turn, by another thread: no further handler or finalizer starts.
  bool killed() const noexcept;
  /// False: it waits, and goes on with run_exit_handlers() when it has ended.
  bool begin_next_handler();
  void answer(request_id request, std::string_view what, native_results results);
  void report(request_id request, std::string_view what, error why);

  host& host_;
  std::shared_ptr<const native_interface> offered_;
  native_context context_;
  bool killed_ = false; // its finalizers do not run any more
  // The message whose function runs, as long as it was not suspended. Relaxed: for doing(), on the same thread.
  std::atomic<const incoming*> handled_{nullptr};
};

} // namespace Atoll
