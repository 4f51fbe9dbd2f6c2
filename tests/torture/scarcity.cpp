#include "tests/torture/scarcity.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

#include "actors/interpreter_actor.hpp"

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

void* allocate(std::size_t bytes) noexcept { return fails() ? nullptr : std::malloc(bytes > 0 ? bytes : 1); }

} // namespace

void let_every_nth_fail(std::uint32_t n) noexcept { every.store(spared ? 0 : n, std::memory_order_relaxed); }
void let_none_fail() noexcept { spared = true; }
std::uint64_t failed_allocations() noexcept { return failed.load(std::memory_order_relaxed); }

poor_thread::poor_thread() noexcept { poor = true; }
poor_thread::~poor_thread() { poor = false; }

} // namespace Atoll::torture

void* operator new(std::size_t bytes) {
  void* const p = Atoll::torture::allocate(bytes);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* operator new[](std::size_t bytes) { return operator new(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return Atoll::torture::allocate(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return Atoll::torture::allocate(bytes); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
