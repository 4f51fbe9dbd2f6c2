// Memory that runs out on demand: every n-th `new` fails.
// Why: out of memory is a path like any other, and nobody walks it by chance. Only a program of its own can replace
// operator new, so this is linked into the torture alone.
// Threads: any thread; relaxed: which allocation is the n-th is for the machine to say.
#pragma once

#include <cstdint>

namespace Atoll::torture {

/// From now on every n-th allocation fails (0: none) on the runtime's workers, while they are in a turn, and on threads
/// that say so. CAF's own threads are spared: what it needs outside of turns cannot be mended here.
void let_every_nth_fail(std::uint32_t n) noexcept;
/// None fails, whatever is asked for.
void let_none_fail() noexcept;
/// How many failed so far.
std::uint64_t failed_allocations() noexcept;

/// While it lives the calling thread's allocations fail as those of turns do.
class poor_thread {
public:
  poor_thread() noexcept;
  ~poor_thread();
  poor_thread(const poor_thread&) = delete;
  poor_thread& operator=(const poor_thread&) = delete;
};

} // namespace Atoll::torture
