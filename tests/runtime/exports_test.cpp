#include "runtime/exports.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "tests/runtime/wire_buffer.hpp"

using namespace Atoll;
using Atoll::testing::wire_buffer;

namespace {

constexpr interpreter_id owner{5};
constexpr credit_policy small{.grant = 4, .low = 1, .cap = 16};

std::vector<guest_word> all_due(export_table& t) {
  std::vector<guest_word> due;
  while (const auto word = t.take_due()) due.push_back(*word);
  return due;
}

} // namespace

TEST_CASE("exports: a stale id resolves to nothing, not to the slot's next object") {
  export_table t(owner, small);
  const wire_ref first = t.mint(t.add(100));
  CHECK(t.take_back(first.id, 4));
  CHECK(t.take_due() == 100);
  const auto slot = t.add(200);
  const wire_ref second = t.mint(slot);
  REQUIRE(second.id.slot == first.id.slot);
  CHECK(second.id.generation != first.id.generation);

  CHECK(t.find(first.id) == std::nullopt);
  CHECK_FALSE(t.take_back(first.id, 4));
  CHECK(t.grant(first.id) == 0);
  CHECK(t.out(slot) == 4);
  CHECK(t.find(second.id) == 200);
}

TEST_CASE("exports: an id of another owner, slot or generation means nothing here") {
  export_table t(owner, small);
  const wire_ref r = t.mint(t.add(1));
  object_id other = r.id;
  other.owner = interpreter_id{6};
  CHECK(t.find(other) == std::nullopt);
  CHECK_FALSE(t.take_back(other, 1));
  CHECK(t.grant(other) == 0);
  other = r.id;
  other.slot = 1000;
  CHECK(t.find(other) == std::nullopt);
  other = r.id;
  ++other.generation;
  CHECK(t.find(other) == std::nullopt);
  CHECK(t.find(object_id{}) == std::nullopt);
}

TEST_CASE("exports: an object is due once, when all its credit is home") {
  export_table t(owner, small);
  const auto slot = t.add(7);
  const wire_ref r = t.mint(slot);
  t.mint(slot);
  CHECK(t.out(slot) == 8);
  CHECK(t.take_back(r.id, 5));
  CHECK(all_due(t).empty());
  CHECK(t.take_back(r.id, 3));
  CHECK(all_due(t) == std::vector<guest_word>{7});
  CHECK(all_due(t).empty());
  CHECK(t.live() == 0);
  CHECK(t.minted() == 8);
  CHECK(t.returned() == 8);
  CHECK(t.released() == 1);
}

TEST_CASE("exports: an object sent again before its turn came is not due any more") {
  export_table t(owner, small);
  const auto slot = t.add(7);
  const wire_ref r = t.mint(slot);
  CHECK(t.take_back(r.id, 4));
  CHECK(t.live() == 0);
  CHECK(t.mint(slot).id == r.id);
  CHECK(t.live() == 1);
  CHECK(all_due(t).empty());
  CHECK(t.find(r.id) == 7);
  // And it is due once when that comes home, though it stood in the line before.
  CHECK(t.take_back(r.id, 4));
  CHECK(t.grant(r.id) == 4);
  CHECK(t.take_back(r.id, 4));
  CHECK(all_due(t) == std::vector<guest_word>{7});
}

TEST_CASE("exports: a request that overtakes the last decref keeps the object") {
  export_table t(owner, small);
  const wire_ref r = t.mint(t.add(7));
  CHECK(t.grant(r.id) == 4);
  CHECK(t.take_back(r.id, 4));
  CHECK(all_due(t).empty());
  CHECK(t.take_back(r.id, 4));
  CHECK(all_due(t) == std::vector<guest_word>{7});
  CHECK(t.grant(r.id) == 0);
}

TEST_CASE("exports: more credit than is out is refused and changes nothing") {
  export_table t(owner, small);
  const auto slot = t.add(7);
  const wire_ref r = t.mint(slot);
  CHECK_FALSE(t.take_back(r.id, 5));
  CHECK(t.out(slot) == 4);
  CHECK(t.take_back(r.id, 0));
  CHECK(t.out(slot) == 4);
  CHECK(all_due(t).empty());
}

TEST_CASE("exports: many objects come and go in any order, slots are reused, words come back once") {
  export_table t(owner, small);
  std::vector<wire_ref> out;
  std::multiset<guest_word> dropped;
  guest_word next = 1;
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 20; ++i) out.push_back(t.mint(t.add(next++)));
    for (std::size_t i = 0; i < out.size(); i += 2) {
      CHECK(t.take_back(out[i].id, 4));
      out[i] = out.back();
      out.pop_back();
    }
    while (const auto word = t.take_due()) dropped.insert(*word);
    CHECK(t.live() == out.size());
  }
  std::size_t seen = 0;
  t.for_each([&](const object_id& id, guest_word word, std::uint64_t credit) {
    ++seen;
    CHECK(t.find(id) == word);
    CHECK(credit == 4);
  });
  CHECK(seen == out.size());
  for (const wire_ref& r : out) CHECK(t.take_back(r.id, 4));
  while (const auto word = t.take_due()) dropped.insert(*word);
  CHECK(dropped.size() == next - 1);
  CHECK(std::set<guest_word>(dropped.begin(), dropped.end()).size() == next - 1);
  CHECK(t.added() == t.released());
}

TEST_CASE("exports: an object that others hold costs 40 bytes at most, when there are many") {
  constexpr std::uint32_t many = 200000;
  export_table t(owner);
  std::vector<wire_ref> out;
  for (std::uint32_t n = 0; n < many; ++n) out.push_back(t.mint(t.add(n)));
  CHECK(t.bytes() >= many * std::size_t{32});
  CHECK(t.bytes() <= many * std::size_t{40});
  const std::size_t full = t.bytes();
  for (const wire_ref& r : out) t.take_back(r.id, r.credit);
  CHECK(all_due(t).size() == many);
  for (std::uint32_t n = 0; n < many; ++n) t.mint(t.add(n));
  CHECK(t.bytes() == full);
}

TEST_CASE("exports: a decref of runs takes back what it names, and what is due goes at once") {
  export_table t(owner, small);
  std::vector<wire_ref> refs;
  for (guest_word n = 0; n < 1000; ++n) refs.push_back(t.mint(t.add(n)));
  t.mint(5); // is out twice
  t.mint(6); // is out twice, and named twice
  wire_buffer w;
  const decref_run runs[] = {
      {{}, 0, 1, 4, 600}, {{}, 900, 1, 4, 150}, {{}, 6, 1, 4, 1}, {{}, 700, 2, 4, 3}, {{}, 800, 1, 5, 1}};
  w.put_u32(5);
  w.put_decrefs(runs, 5);
  wire_reader in = w.reader();
  std::size_t most = 0;
  std::multiset<guest_word> dropped;
  const std::uint64_t named = t.take_back(in, [&] {
    const auto some = all_due(t);
    most = std::max(most, some.size());
    dropped.insert(some.begin(), some.end());
  });
  CHECK(named == 755);
  CHECK(in.at_end());
  std::multiset<guest_word> expected;
  for (guest_word n = 0; n < 600; ++n)
    if (n != 5) expected.insert(n);
  for (guest_word n = 900; n < 1000; ++n) expected.insert(n);
  CHECK(dropped == expected);
  CHECK(most == 1);
  CHECK(t.live() == 301);
}
