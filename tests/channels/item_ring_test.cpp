// The ring of a channel's items, against a list.
#include "channels/item_ring.hpp"

#include <doctest/doctest.h>

#include <deque>
#include <random>
#include <string>

#include "tests/seeds.hpp"

using namespace Atoll;

namespace {

constexpr interpreter_id ann{1};
constexpr interpreter_id bob{2};

struct expected_item {
  std::string bytes;
  item_info info;
};

std::string text_of(channel_item& item) {
  return {reinterpret_cast<const char*>(item.bytes.data()), item.bytes.size()};
}
channel_item item_of(const expected_item& e) {
  channel_item item;
  item.bytes.put_bytes(e.bytes);
  item.info = e.info;
  return item;
}
channel_item room() {
  channel_item item;
  REQUIRE(item.bytes.reserve(item_ring::inline_max));
  return item;
}
void push(item_ring& ring, const std::string& bytes, interpreter_id sender = ann,
          orphan_policy orphans = orphan_policy::keep) {
  channel_item item = item_of({bytes, {sender, orphans, false}});
  REQUIRE(ring.push(item));
  CHECK(item.bytes.empty());
}
std::string pop(item_ring& ring) {
  channel_item item = room();
  REQUIRE(ring.pop(item));
  return text_of(item);
}

/// The ring and a list that ought to hold the same.
class pair_of_rings {
public:
  explicit pair_of_rings(std::uint64_t seed) : random_(seed), likes_large_(seed % 4 == 3) {}

  void step() {
    switch (below(12)) {
    case 0:
    case 1:
    case 2: pop(); break;
    case 3:
      if (below(40) == 0) drain();
      break;
    case 4:
      if (below(10) == 0) orphan(interpreter_id{below(4)});
      break;
    default: push(); break;
    }
    CHECK(ring_.size() == list_.size());
  }
  void drain() {
    while (!list_.empty()) pop();
    pop();
  }

private:
  std::uint64_t below(std::uint64_t n) { return std::uniform_int_distribution<std::uint64_t>(0, n - 1)(random_); }
  std::size_t size() {
    switch (below(likes_large_ ? 4 : 30)) {
    case 0: return item_ring::inline_max - 1 + below(3); // at the border
    case 1: return below(20000);
    case 2: return 0;
    default: return below(100);
    }
  }
  void push() {
    const expected_item e{std::string(size(), static_cast<char>('a' + below(26))),
                          {interpreter_id{below(4)}, static_cast<orphan_policy>(below(3)), below(50) == 0}};
    channel_item item = item_of(e);
    REQUIRE(ring_.push(item));
    REQUIRE(item.bytes.empty());
    list_.push_back(e);
  }
  void pop() {
    channel_item item = room();
    REQUIRE(ring_.pop(item) == !list_.empty());
    if (!list_.empty()) {
      expect(item, list_.front());
      list_.pop_front();
    }
  }
  static void expect(channel_item& item, const expected_item& e) {
    REQUIRE(text_of(item) == e.bytes);
    REQUIRE(item.info.sender == e.info.sender);
    REQUIRE(item.info.orphans == e.info.orphans);
    REQUIRE(item.info.orphaned == e.info.orphaned);
  }
  void orphan(interpreter_id who) {
    std::deque<expected_item> removed;
    std::size_t count = 0;
    for (auto at = list_.begin(); at != list_.end();) {
      const bool mine = at->info.sender == who && at->info.orphans != orphan_policy::keep;
      if (mine) ++count;
      if (mine && at->info.orphans == orphan_policy::remove) {
        removed.push_back(*at);
        at = list_.erase(at);
        continue;
      }
      if (mine) at->info.orphaned = true;
      ++at;
    }
    REQUIRE(ring_.orphan(who, [&](channel_item&& item) {
      REQUIRE_FALSE(removed.empty());
      expect(item, removed.front());
      removed.pop_front();
    }) == count);
    REQUIRE(removed.empty());
  }

  std::mt19937_64 random_;
  const bool likes_large_;
  item_ring ring_;
  std::deque<expected_item> list_;
};

} // namespace

TEST_CASE("item ring: at random it is as a list of items") {
  const auto seeds = testing::seeds::from_environment(1, 24);
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    INFO("replay: ATOLL_SEED=", seed);
    pair_of_rings both(seed);
    for (int i = 0; i < 3000; ++i) both.step();
    both.drain();
    both.step();
  }
}

TEST_CASE("item ring: nothing comes out of an empty one") {
  item_ring ring;
  channel_item item = room();
  item.bytes.put_u8(7);
  CHECK_FALSE(ring.pop(item));
  CHECK(item.bytes.size() == 1);
  CHECK(ring.size() == 0);
  CHECK(ring.bytes() == 0);
  CHECK(ring.orphan(ann, [](channel_item&&) { FAIL("nothing is there"); }) == 0);
}

TEST_CASE("item ring: small items that come and go need no more memory") {
  item_ring ring;
  push(ring, "one");
  for (int i = 0; i < 100000; ++i) {
    push(ring, std::string(static_cast<std::size_t>(i % 60), 'x'));
    pop(ring);
  }
  CHECK(ring.size() == 1);
  CHECK(ring.bytes() == 512);
}

TEST_CASE("item ring: it grows where items lie around its end, and keeps their order") {
  item_ring ring;
  for (std::size_t shift = 0; shift < 40; ++shift) {
    item_ring one;
    for (std::size_t i = 0; i < shift; ++i) {
      push(one, std::string(i % 37, 's'));
      pop(one);
    }
    for (int i = 0; i < 200; ++i) push(one, std::to_string(i) + std::string(shift, '.'));
    for (int i = 0; i < 200; ++i) CHECK(pop(one) == std::to_string(i) + std::string(shift, '.'));
  }
}

TEST_CASE("item ring: an item of inline_max bytes is copied, a larger one is taken over") {
  item_ring ring;
  for (const std::size_t size : {item_ring::inline_max, item_ring::inline_max + 1}) {
    channel_item item;
    item.bytes.put_bytes(std::string(size, 'x'));
    const std::uint8_t* const buffer = item.bytes.data();
    REQUIRE(ring.push(item));
    channel_item out = room();
    REQUIRE(ring.pop(out));
    CHECK(out.bytes.size() == size);
    CHECK((out.bytes.data() == buffer) == (size > item_ring::inline_max));
  }
}

TEST_CASE("item ring: the memory of a flood goes back when the last item is out") {
  item_ring ring;
  for (int i = 0; i < 1000; ++i) push(ring, std::string(4000, 'x'));
  CHECK(ring.bytes() > 1U << 20U);
  for (int i = 0; i < 1000; ++i) pop(ring);
  CHECK(ring.bytes() == 0);
  push(ring, "again");
  CHECK(pop(ring) == "again");
}

TEST_CASE("item ring: large items that are left are freed with it") {
  item_ring ring;
  push(ring, std::string(100000, 'x'));
  push(ring, "small");
  push(ring, std::string(5000, 'y'), bob, orphan_policy::remove);
  push(ring, std::string(5000, 'z'), bob, orphan_policy::error);
  std::size_t removed = 0;
  CHECK(ring.orphan(bob, [&](channel_item&& item) {
    CHECK(item.bytes.size() == 5000);
    ++removed;
  }) == 2);
  CHECK(removed == 1);
  CHECK(ring.size() == 3);
}

TEST_CASE("item ring: when all that is left was taken out it is empty, and goes on") {
  item_ring ring;
  for (int i = 0; i < 5; ++i) push(ring, "gone", bob, orphan_policy::remove);
  CHECK(ring.orphan(bob, [](channel_item&&) {}) == 5);
  CHECK(ring.size() == 0);
  channel_item item = room();
  CHECK_FALSE(ring.pop(item));
  push(ring, "next");
  CHECK(pop(ring) == "next");
}

TEST_CASE("item bytes: moved, swapped and released, a buffer has one owner") {
  item_bytes a;
  a.put_text("hello");
  const std::uint8_t* const buffer = a.data();
  item_bytes b(std::move(a));
  CHECK(b.data() == buffer);
  CHECK(a.empty()); // NOLINT(bugprone-use-after-move)
  a = std::move(b);
  CHECK(a.data() == buffer);
  const item_bytes::block block = a.release();
  CHECK(a.empty());
  CHECK(a.data() == nullptr);
  a.put_u8(1); // into a buffer of its own
  b.adopt(block);
  CHECK(b.size() == 9);
  b.adopt({});
  CHECK(b.empty());
  b.put_text("x");
  CHECK(b.size() == 5);
}

TEST_CASE("item bytes: a failure ends with the next item") {
  item_bytes a;
  a.put_u8(1);
  a.put_text(std::string_view("", std::size_t{1} << 33U));
  CHECK(a.failed());
  a.clear();
  CHECK_FALSE(a.failed());
  a.put_u8(2);
  CHECK(a.size() == 1);
}
