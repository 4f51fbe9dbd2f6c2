#include "runtime/heap.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <vector>

#include "tests/seeds.hpp"

using Atoll::heap;

namespace {

struct block {
  unsigned char* p;
  std::size_t bytes;
  unsigned char mark;
};

bool aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % heap::alignment == 0; }

unsigned char* bytes_from(heap& h, std::size_t n) { return static_cast<unsigned char*>(h.allocate(n)); }

void paint(const block& b) { std::memset(b.p, b.mark, b.bytes); }

bool intact(const block& b, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i)
    if (b.p[i] != b.mark) return false;
  return true;
}

bool intact(const block& b) { return intact(b, b.bytes); }

// Sizes of every kind: within a class, around its edges, around the largest small size, large.
std::size_t random_size(std::mt19937_64& random) {
  switch (random() % 8) {
  case 0: return random() % 20000 + 1;
  case 1: return heap::max_small - 20 + random() % 40;
  case 2: return random() % heap::max_small + 1;
  default: return random() % 120 + 1;
  }
}

#if !defined(ATOLL_HEAP_ASAN) || defined(ATOLL_CHECKED)

// Runs in a child, so that the limit or the abort is not ours; true when it exits with 0.
template <class F>
bool holds_in_child(F&& body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL); // doctest would report it as a failure of ours
    if (std::freopen("/dev/null", "w", stderr) == nullptr) ::_exit(2);
    ::_exit(body() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#endif

#if !defined(ATOLL_HEAP_ASAN) && !defined(__SANITIZE_THREAD__)

// Resident pages would say the same later; this counts what is mapped at once.
std::size_t address_space() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * 4096;
}

#endif

} // namespace

TEST_CASE("a new heap has taken nothing from the system") {
  heap h;
  CHECK(h.bytes_in_use() == 0);
  CHECK(h.bytes_reserved() == 0);
  CHECK(h.peak_bytes() == 0);
  CHECK(h.limit() == 0);
}

TEST_CASE("one small block costs a few KiB at most") {
  heap h;
  CHECK(h.allocate(40) != nullptr);
  CHECK(h.bytes_in_use() == 40);
  CHECK(h.bytes_reserved() <= 4096);
}

TEST_CASE("blocks of every size are aligned and do not overlap") {
  heap h;
  std::vector<block> blocks;
  for (std::size_t n = 1; n < 2 * heap::max_small; ++n) {
    blocks.push_back({bytes_from(h, n), n, static_cast<unsigned char>(n)});
    REQUIRE(aligned(blocks.back().p));
    paint(blocks.back());
  }
  for (const block& b : blocks) CHECK(intact(b));
}

TEST_CASE("the block given back last is the next one handed out") {
  heap h;
  void* first = h.allocate(48);
  void* second = h.allocate(48);
  h.deallocate(first, 48);
  h.deallocate(second, 48);
  CHECK(h.allocate(48) == second);
  CHECK(h.allocate(48) == first);
}

TEST_CASE("reused blocks take nothing more from the system") {
  heap h;
  for (int round = 0; round < 100; ++round) {
    std::vector<void*> blocks;
    for (int i = 0; i < 50; ++i) blocks.push_back(h.allocate(100));
    for (void* p : blocks) h.deallocate(p, 100);
  }
  CHECK(h.bytes_in_use() == 0);
  CHECK(h.bytes_reserved() <= 16 * 1024);
}

TEST_CASE("at most about a third of a large heap of small blocks waits unused") {
  heap h;
  while (h.bytes_in_use() < 4 << 20) REQUIRE(h.allocate(64) != nullptr);
  const std::size_t blocks = h.bytes_in_use() / 64;
  CHECK(h.bytes_reserved() < h.bytes_in_use() + blocks * 16 + (h.bytes_in_use() / 2));
}

TEST_CASE("an allocation over the limit fails and changes nothing") {
  heap h(1000);
  void* p = h.allocate(600);
  REQUIRE(p != nullptr);
  CHECK(h.allocate(401) == nullptr);
  CHECK(h.reallocate(p, 600, 1001) == nullptr);
  CHECK(h.bytes_in_use() == 600);
  CHECK(h.peak_bytes() == 600);
  CHECK(h.allocate(400) != nullptr);
  CHECK(h.bytes_in_use() == h.limit());
}

TEST_CASE("a limit set below what is in use refuses growth and allows shrinking") {
  heap h;
  void* p = h.allocate(5000);
  h.set_limit(100);
  CHECK(h.allocate(1) == nullptr);
  CHECK(h.reallocate(p, 5000, 5001) == nullptr);
  p = h.reallocate(p, 5000, 4000);
  REQUIRE(p != nullptr);
  p = h.reallocate(p, 4000, 60);
  REQUIRE(p != nullptr);
  CHECK(h.allocate(40) != nullptr);
  CHECK(h.allocate(1) == nullptr);
  h.set_limit(0);
  CHECK(h.limit() == 0);
  CHECK(h.allocate(100000) != nullptr);
}

TEST_CASE("a size no system has is refused, also when sums of it would wrap around") {
  heap h;
  void* p = h.allocate(50);
  for (std::size_t n : {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX / 2 + 1}) {
    CHECK(h.allocate(n) == nullptr);
    CHECK(h.reallocate(p, 50, n) == nullptr);
  }
  CHECK(h.bytes_in_use() == 50);
}

TEST_CASE("reallocating null allocates, whatever old size comes with it") {
  heap h;
  CHECK(h.reallocate(nullptr, 8, 24) != nullptr);
  CHECK(h.bytes_in_use() == 24);
}

TEST_CASE("reallocating to nothing gives back, and null to nothing is nothing") {
  heap h;
  CHECK(h.reallocate(h.allocate(24), 24, 0) == nullptr);
  CHECK(h.reallocate(nullptr, 0, 0) == nullptr);
  h.deallocate(nullptr, 12);
  CHECK(h.bytes_in_use() == 0);
}

TEST_CASE("a block of no bytes is a block") {
  heap h;
  void* a = h.allocate(0);
  void* b = h.allocate(0);
  CHECK(a != nullptr);
  CHECK(a != b);
  h.deallocate(a, 0);
  h.deallocate(b, 0);
  CHECK(h.bytes_in_use() == 0);
}

TEST_CASE("growing and shrinking keep the contents across small and large") {
  heap h;
  block b{bytes_from(h, 1), 1, 0xa7};
  paint(b);
  for (std::size_t n :
       {15U, 16U, 17U, 500U, 1008U, 1009U, 1024U, 1025U, 5000U, 400000U, 2000000U, 3000U, 1025U, 1024U, 9U}) {
    b.p = static_cast<unsigned char*>(h.reallocate(b.p, b.bytes, n));
    REQUIRE(b.p != nullptr);
    CHECK(aligned(b.p));
    CHECK(intact(b, std::min(b.bytes, n)));
    b.bytes = n;
    paint(b);
    CHECK(h.bytes_in_use() == n);
  }
  CHECK(h.peak_bytes() == 2000000);
}

TEST_CASE("large blocks leave the reserve when they are given back") {
  heap h;
  void* a = h.allocate(100000);
  void* b = h.allocate(200000);
  void* c = h.allocate(300000);
  CHECK(h.bytes_reserved() >= 600000);
  h.deallocate(b, 200000);
  h.deallocate(a, 100000);
  h.deallocate(c, 300000);
  CHECK(h.bytes_reserved() == 0);
}

TEST_CASE("random operations keep contents and the exact sum, and leave nothing in use") {
  const std::uint64_t seed = Atoll::testing::from_environment("ATOLL_SEED", std::random_device{}());
  CAPTURE(seed);
  INFO("replay with ATOLL_SEED=", seed);
  std::mt19937_64 random(seed);
  heap h;
  std::vector<block> blocks;
  std::size_t sum = 0, peak = 0;
  for (int step = 0; step < 40000; ++step) {
    const std::size_t n = random_size(random);
    const auto mark = static_cast<unsigned char>(random());
    if (blocks.empty() || (random() % 5 < 2 && blocks.size() < 2000)) {
      blocks.push_back({bytes_from(h, n), n, mark});
      sum += n;
    } else {
      block& b = blocks[random() % blocks.size()];
      REQUIRE(intact(b));
      sum -= b.bytes;
      if (random() % 2 == 0) {
        h.deallocate(b.p, b.bytes);
        b = blocks.back();
        blocks.pop_back();
        REQUIRE(h.bytes_in_use() == sum);
        continue;
      }
      auto* p = static_cast<unsigned char*>(h.reallocate(b.p, b.bytes, n));
      REQUIRE(p != nullptr);
      REQUIRE(intact({p, n, b.mark}, std::min(n, b.bytes)));
      b = {p, n, mark};
      sum += n;
      paint(b);
      peak = std::max(peak, sum);
      REQUIRE(h.bytes_in_use() == sum);
      continue;
    }
    paint(blocks.back());
    peak = std::max(peak, sum);
    REQUIRE(h.bytes_in_use() == sum);
    REQUIRE(aligned(blocks.back().p));
  }
  CHECK(h.peak_bytes() == peak);
  CHECK(h.bytes_reserved() >= sum);
  for (const block& b : blocks) h.deallocate(b.p, b.bytes);
  CHECK(h.bytes_in_use() == 0);
}

#if !defined(ATOLL_HEAP_ASAN) && !defined(__SANITIZE_THREAD__)

TEST_CASE("a heap that ends gives back whatever is still allocated") {
  auto use_one = [] {
    heap h;
    for (std::size_t i = 0; i < 20000; ++i)
      if (h.allocate(i % 100 == 0 ? 20000 : 200) == nullptr) return false;
    return true;
  };
  CHECK(holds_in_child([&] {
    if (!use_one()) return false;
    const std::size_t before = address_space();
    for (int i = 0; i < 20; ++i)
      if (!use_one()) return false;
    return address_space() <= before + (1 << 20);
  }));
}

TEST_CASE("shrinking succeeds when the system has no memory left") {
  CHECK(holds_in_child([] {
    const rlimit limit{address_space() + (8U << 20), RLIM_INFINITY};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return false;
    heap h;
    std::vector<block> blocks;
    blocks.reserve(20000);
    for (std::size_t n : {70000U, 5000U, 1500U, 1100U})
      while (void* p = h.allocate(n))
        blocks.push_back({static_cast<unsigned char*>(p), n, static_cast<unsigned char>(blocks.size())});
    const std::size_t full = h.bytes_in_use();
    std::size_t sum = 0;
    for (block& b : blocks) paint(b);
    for (block& b : blocks) {
      b.p = static_cast<unsigned char*>(h.reallocate(b.p, b.bytes, 1000));
      if (b.p == nullptr) return false;
      b.bytes = 1000;
      sum += 1000;
    }
    for (const block& b : blocks) {
      if (!intact(b)) return false;
      h.deallocate(b.p, b.bytes);
    }
    return sum < full && h.bytes_in_use() == 0;
  }));
}

#endif

#if defined(ATOLL_CHECKED)

TEST_CASE("a checked heap aborts when it is touched outside its owner's turn, and names both (5)") {
  heap h(0, Atoll::interpreter_id{3});
  void* p = nullptr;
  {
    const Atoll::heap_turn mine(Atoll::interpreter_id{3});
    p = h.allocate(40);
    const Atoll::heap_turn another(Atoll::interpreter_id{5});
    CHECK_FALSE(holds_in_child([&] {
      h.deallocate(p, 40);
      return true;
    }));
  }
  CHECK_FALSE(holds_in_child([&] { return h.allocate(8) != nullptr; }));
  CHECK_FALSE(holds_in_child([&] { return h.reallocate(p, 40, 80) != nullptr; }));
  const Atoll::heap_turn again(Atoll::interpreter_id{3});
  h.deallocate(p, 40);
}

TEST_CASE("a checked heap aborts on a size that is not the block's (3)") {
  CHECK_FALSE(holds_in_child([] {
    heap h;
    h.deallocate(h.allocate(40), 41);
    return true;
  }));
}

TEST_CASE("a checked heap aborts on a block given back twice (3)") {
  CHECK_FALSE(holds_in_child([] {
    heap h;
    void* p = h.allocate(40);
    h.deallocate(p, 40);
    h.deallocate(p, 40);
    return true;
  }));
}

TEST_CASE("a checked heap aborts on a write after a block was given back (4)") {
  CHECK_FALSE(holds_in_child([] {
    heap h;
    unsigned char* volatile p = bytes_from(h, 40);
    h.deallocate(p, 40);
    p[20] = 1;
    return h.allocate(40) != nullptr;
  }));
}

#endif
