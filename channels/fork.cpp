#include "channels/fork.hpp"

#include <pthread.h>

#include <mutex>

namespace Atoll {

std::atomic<std::uint32_t> birthplace::seen_{0};

birthplace::birthplace() noexcept {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { note_fork(); }); });
  forks_ = seen_.load(std::memory_order_relaxed);
}

error forked_error() {
  return {errc::forked, "this process is a fork: the runtime is its parent's, but a new one can be made here",
          {},           {},
          {},           {}};
}

} // namespace Atoll
