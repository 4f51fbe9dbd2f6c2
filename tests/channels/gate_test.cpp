// Who is inside when something ends: alone, then with threads that come and go while it closes.
#include "channels/gate.hpp"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

using namespace Atoll;

TEST_CASE("gate: who is inside is counted, visits within visits too") {
  gate g;
  CHECK(g.empty());
  {
    const gate::visit one(g);
    CHECK(one.open());
    const gate::visit two(g);
    CHECK_FALSE(g.empty());
  }
  CHECK(g.empty());
}

TEST_CASE("gate: who comes after it was closed knows, and who was inside is waited for") {
  gate g;
  {
    const gate::visit before(g);
    g.close();
    CHECK(before.open());
    CHECK_FALSE(g.empty());
  }
  const gate::visit after(g);
  CHECK_FALSE(after.open());
}

TEST_CASE("gate: once it was closed and empty, nobody who found it open is inside") {
  for (int round = 0; round < 300; ++round) {
    gate g;
    std::vector<int> kept(64); // what ends behind the gate; a race on it is seen by ThreadSanitizer
    std::atomic<bool> gone{false};
    std::atomic<int> late{0};
    std::vector<std::thread> visitors;
    for (std::size_t t = 0; t < 3; ++t)
      visitors.emplace_back([&, t] {
        for (;;) {
          const gate::visit v(g);
          if (!v.open()) return;
          if (gone.load(std::memory_order_relaxed)) ++late;
          ++kept[t];
        }
      });
    std::this_thread::yield();
    g.close();
    while (!g.empty()) std::this_thread::yield();
    gone.store(true, std::memory_order_relaxed);
    kept.assign(64, 0);
    for (std::thread& v : visitors) v.join();
    CHECK(late == 0);
  }
}
