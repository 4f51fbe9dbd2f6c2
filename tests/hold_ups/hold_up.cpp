#include "tests/hold_ups/hold_up.hpp"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iterator>
#include <new>

#include "actors/interpreter_actor.hpp"
#include "tests/replaced_new.hpp"

namespace Atoll::hold_ups {

namespace {

// All relaxed: nothing else is read on the strength of one of them.
std::atomic<bool> armed{false};
std::atomic<party> who{party::workers};
std::atomic<unsigned> left{0};
std::atomic<long> longest{0}; // ms
std::atomic<bool> is_reached{false};
thread_local bool is_caller = false;

void come_by() noexcept {
  if (!armed.load(std::memory_order_relaxed)) return;
  if (who.load(std::memory_order_relaxed) == party::workers ? !on_worker_thread() : !is_caller) return;
  if (left.fetch_sub(1, std::memory_order_relaxed) != 0) return;
  const int saved = errno;
  is_reached.store(true, std::memory_order_relaxed);
  constexpr timespec nap{0, 200'000};
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(longest.load(std::memory_order_relaxed));
  while (armed.load(std::memory_order_relaxed) && std::chrono::steady_clock::now() < until) nanosleep(&nap, nullptr);
  errno = saved;
}

} // namespace

as_caller::as_caller() noexcept { is_caller = true; }
as_caller::~as_caller() { is_caller = false; }

void arm(party whom, unsigned moment, std::chrono::milliseconds at_most) noexcept {
  is_reached.store(false, std::memory_order_relaxed);
  who.store(whom, std::memory_order_relaxed);
  left.store(moment, std::memory_order_relaxed);
  longest.store(static_cast<long>(at_most.count()), std::memory_order_relaxed);
  armed.store(true, std::memory_order_relaxed);
}

bool reached() noexcept { return is_reached.load(std::memory_order_relaxed); }

void let_go() noexcept { armed.store(false, std::memory_order_relaxed); }

namespace {

using on_mutex = int (*)(pthread_mutex_t*);

int call(std::atomic<on_mutex>& real, const char* name, pthread_mutex_t* m) noexcept {
  on_mutex f = real.load(std::memory_order_relaxed); // whoever looks it up finds the same
  if (f == nullptr) {
    f = reinterpret_cast<on_mutex>(dlsym(RTLD_NEXT, name));
    real.store(f, std::memory_order_relaxed);
  }
  return f(m);
}

// What was freed last, so that nobody gets it for something else too soon.
std::atomic<void*> freed[1U << 15U];
std::atomic<unsigned> freed_so_far{0};

} // namespace

} // namespace Atoll::hold_ups

extern "C" {
int pthread_mutex_lock(pthread_mutex_t* m) {
  static std::atomic<Atoll::hold_ups::on_mutex> real{nullptr};
  Atoll::hold_ups::come_by();
  return Atoll::hold_ups::call(real, "pthread_mutex_lock", m);
}
int pthread_mutex_unlock(pthread_mutex_t* m) {
  static std::atomic<Atoll::hold_ups::on_mutex> real{nullptr};
  const int result = Atoll::hold_ups::call(real, "pthread_mutex_unlock", m);
  Atoll::hold_ups::come_by();
  return result;
}
}

namespace Atoll::testing {

void* allocate(std::size_t bytes) noexcept {
  hold_ups::come_by();
  return std::malloc(bytes > 0 ? bytes : 1);
}

void give_back(void* p) noexcept {
  if (p == nullptr) return;
#if defined(__SANITIZE_ADDRESS__)
  return std::free(p); // AddressSanitizer does all this itself
#endif
  std::memset(p, 0xdd, malloc_usable_size(p));
  const unsigned slot = hold_ups::freed_so_far.fetch_add(1, std::memory_order_relaxed) % std::size(hold_ups::freed);
  std::free(hold_ups::freed[slot].exchange(p, std::memory_order_acq_rel)); // who frees it sees it overwritten
}

} // namespace Atoll::testing

// Aligned ones, too: CAF's workers are.
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  Atoll::hold_ups::come_by();
  const std::size_t a = static_cast<std::size_t>(alignment);
  void* const p = std::aligned_alloc(a, (bytes + a - 1) / a * a);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void operator delete(void* p, std::align_val_t) noexcept { Atoll::testing::give_back(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { Atoll::testing::give_back(p); }
