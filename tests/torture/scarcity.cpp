#include "tests/torture/scarcity.hpp"

#include <atomic>
#include <cstdlib>

#include "actors/interpreter_actor.hpp"
#include "tests/replaced_new.hpp"

namespace Atoll::torture {

namespace {

std::atomic<std::uint32_t> every{0};
std::atomic<bool> spared{false};
std::atomic<std::uint64_t> seen{0};
std::atomic<std::uint64_t> failed{0};
thread_local bool poor = false;

bool fails() noexcept {
  const std::uint32_t n = every.load(std::memory_order_relaxed);
  if (n == 0 || (!poor && !on_worker_thread())) return false;
  if (seen.fetch_add(1, std::memory_order_relaxed) % n != n - 1) return false;
  failed.fetch_add(1, std::memory_order_relaxed);
  return true;
}

} // namespace

void let_every_nth_fail(std::uint32_t n) noexcept { every.store(spared ? 0 : n, std::memory_order_relaxed); }
void let_none_fail() noexcept { spared = true; }
std::uint64_t failed_allocations() noexcept { return failed.load(std::memory_order_relaxed); }

poor_thread::poor_thread() noexcept { poor = true; }
poor_thread::~poor_thread() { poor = false; }

} // namespace Atoll::torture

namespace Atoll::testing {

void* allocate(std::size_t bytes) noexcept { return torture::fails() ? nullptr : std::malloc(bytes > 0 ? bytes : 1); }
void give_back(void* p) noexcept { std::free(p); }

} // namespace Atoll::testing
