// A runtime with something of everything, and what a thread may be doing when it ends.
// Threads: one, and those a deed is done on.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

namespace Atoll::hold_ups {

/// What outlives the runtime: whether finalize() has returned, and what was called all the same.
struct aftertime {
  std::atomic<bool> over{false};
  std::atomic<bool> abandoned{false}; // an interpreter was: a thread in its turn may be about to enter its guest
  std::atomic<int> called{0};
  void note() {
    if (over) ++called;
  }
  void note_guest() {
    if (over && !abandoned) ++called;
  }
};

class stage {
public:
  /// `at_phase` is told of each phase of the end.
  stage(std::chrono::milliseconds deadline, std::function<void(std::string_view)> at_phase);

  Atoll::system& runtime() noexcept { return *runtime_; }
  /// Empty: all is well.
  std::string end();
  /// The runtime is gone.
  void destroy() { runtime_.reset(); }

  const std::shared_ptr<aftertime> after = std::make_shared<aftertime>();
  interpreter_handle script;   // in Lua: one task waits to receive from `asked`, one to send to `offered`
  interpreter_handle compiled; // native
  channel<int> asked;
  channel<int> offered;
  ref<> of_script;
  ref<> of_compiled;
  buffer of_host;
  buffer lent; // the script's

private:
  const std::chrono::milliseconds deadline_;
  std::unique_ptr<Atoll::system> runtime_;
};

/// What a thread does with handles alone, while another ends the runtime. It is made with all it needs, and lets go of that
/// when it is over.
struct deed {
  const char* name;
  std::function<std::function<void()>(stage&)> prepare;
  bool uses_runtime = false; // the runtime may be finalized meanwhile, but not destroyed
};
const std::vector<deed>& deeds();

} // namespace Atoll::hold_ups
