#include "runtime/finalizers.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

using Atoll::finalizer_registry;

namespace {

std::vector<Atoll::guest_word> run_all(finalizer_registry& r, int min_priority = std::numeric_limits<int>::min()) {
  std::vector<Atoll::guest_word> order;
  while (const auto e = r.take_next(min_priority)) order.push_back(e->what);
  return order;
}

} // namespace

TEST_CASE("finalizers: the highest priority runs first, the newest first among equals") {
  finalizer_registry r;
  r.add(1, 0);
  r.add(2, 10);
  r.add(3, 0);
  r.add(4, -5);
  r.add(5, 10);
  CHECK(run_all(r) == std::vector<Atoll::guest_word>{5, 2, 3, 1, 4});
  CHECK(r.size() == 0);
}

TEST_CASE("finalizers: without a priority they never run at exit, but can be taken") {
  finalizer_registry r;
  const auto never = r.add(1, std::nullopt);
  r.add(2, std::numeric_limits<int>::min());
  CHECK(run_all(r) == std::vector<Atoll::guest_word>{2});
  CHECK(r.size() == 1);
  CHECK(r.take(never) == 1);
  CHECK(r.size() == 0);
}

TEST_CASE("finalizers: a first pass takes those from a priority on, a second the rest") {
  finalizer_registry r;
  r.add(1, -1);
  r.add(2, 0);
  r.add(3, 7);
  CHECK(run_all(r, 0) == std::vector<Atoll::guest_word>{3, 2});
  CHECK(run_all(r) == std::vector<Atoll::guest_word>{1});
}

TEST_CASE("finalizers: one that ran, was taken or cancelled is disarmed") {
  finalizer_registry r;
  const auto a = r.add(1, 1);
  const auto b = r.add(2, 2);
  const auto c = r.add(3, 3);
  CHECK(r.take_next(0)->number == c);
  CHECK_FALSE(r.cancel(c));
  CHECK(r.take(b) == 2);
  CHECK_FALSE(r.take(b));
  CHECK(r.cancel(a));
  CHECK_FALSE(r.cancel(a));
  CHECK_FALSE(r.take_next(0));
}

TEST_CASE("finalizers: the registry may change between any two steps") {
  finalizer_registry r;
  r.add(1, 1);
  const auto second = r.add(2, 2);
  r.add(3, 3);
  CHECK(r.take_next(0)->what == 3);
  r.add(9, 9); // made during the run: still runs, and in its place
  r.add(10, 1);
  CHECK(r.cancel(second));
  CHECK(run_all(r, 0) == std::vector<Atoll::guest_word>{9, 10, 1});
  r.add(4, 0);
  CHECK(run_all(r, 0) == std::vector<Atoll::guest_word>{4});
}

TEST_CASE("finalizers: each run adds one and all of them run") {
  finalizer_registry r;
  r.add(1000, 0);
  Atoll::guest_word ran = 0;
  while (const auto e = r.take_next(0)) {
    ++ran;
    if (e->what > 1) r.add(e->what - 1, static_cast<int>(e->what % 3));
  }
  CHECK(ran == 1000);
}

TEST_CASE("finalizers: one that is left to its object runs at exit no more, and can be taken") {
  finalizer_registry r;
  const auto left = r.add(1, 5);
  r.add(2, 4);
  REQUIRE(r.next(0));
  CHECK(r.next(0)->number == left);
  CHECK(r.next(0)->what == 1); // looking takes nothing
  r.leave_to_object(left);
  r.leave_to_object(left);
  r.leave_to_object(99);
  CHECK(run_all(r) == std::vector<Atoll::guest_word>{2});
  CHECK_FALSE(r.next(0));
  CHECK(r.take(left) == 1);
  CHECK(r.size() == 0);
}

TEST_CASE("finalizers: numbers are not used again, and nobody's number is refused") {
  finalizer_registry r;
  const auto a = r.add(1, 0);
  r.cancel(a);
  CHECK(r.add(2, 0) != a);
  CHECK_FALSE(r.cancel(0));
  CHECK_FALSE(r.take(12345));
}
