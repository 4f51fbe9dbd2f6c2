// What an import table has for others, as it goes out: merged, and right when the receiver is gone.
#include "channels/protocol.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <new>
#include <random>
#include <thread>

#include "tests/channels/residents.hpp"

using namespace Atoll;
using test::letter;
using test::resident;

namespace {

constexpr interpreter_id holder{70};

object_id object(interpreter_id owner, std::uint32_t slot) { return {owner, slot, 1}; }

/// What a decref gives back, for each slot.
std::map<std::uint32_t, std::uint32_t> credit_by_slot(const letter& l) {
  std::map<std::uint32_t, std::uint32_t> all;
  wire_reader in = l.in();
  for (std::uint32_t n = in.get_u32(); n > 0; --n) {
    const decref_run run = in.get_decrefs({});
    for (std::uint32_t k = 0; k < run.count; ++k) all[run.slot + k] += run.credit;
  }
  CHECK(in.at_end());
  return all;
}

} // namespace

TEST_CASE("protocol words: releases to one owner go as one decref, whatever was asked between") {
  directory d;
  resident a(d);
  resident b(d);
  outbox out(holder, d);
  import_table imports(holder, {.grant = 4, .low = 1, .cap = 16});
  for (std::uint32_t slot = 0; slot < 5; ++slot) {
    imports.drop_use(imports.receive({object(a.id, slot), 4, {}}));
    imports.drop_use(imports.receive({object(b.id, slot), 4, {}}));
  }
  imports.receive({object(a.id, 9), 0, b.id});
  send_protocol(imports, out, d);
  out.flush();
  CHECK(imports.queued() == 0);
  const auto to_a = a.read();
  REQUIRE(to_a.size() == 2);
  CHECK(to_a[0].kind == record_kind::decref);
  CHECK(credit_by_slot(to_a[0]) == std::map<std::uint32_t, std::uint32_t>{{0, 4}, {1, 4}, {2, 4}, {3, 4}, {4, 4}});
  CHECK(to_a[1].kind == record_kind::credit_request);
  CHECK(b.read().size() == 1);
}

TEST_CASE("protocol words: releases in any order, of slots used again and with surplus, all arrive") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    directory d;
    resident a(d);
    resident b(d);
    outbox out(holder, d);
    import_table imports(holder, {.grant = 4, .low = 1, .cap = 16});
    std::map<std::uint32_t, std::uint32_t> given;
    std::vector<import_table::index> held;
    for (std::uint32_t slot = 0; slot < 40; ++slot) {
      const std::uint32_t credit = 1 + static_cast<std::uint32_t>(random() % 2);
      for (std::uint32_t k = 0; k <= random() % 4; ++k) {
        held.push_back(imports.receive({{a.id, slot, 1 + slot / 20}, credit * 6, {}}));
        given[slot] += credit * 6;
      }
      if (slot % 3 == 0) held.push_back(imports.receive({object(b.id, slot), 4, {}}));
    }
    if (round % 2 == 0) std::shuffle(held.begin(), held.end(), random);
    if (round % 4 == 1) std::reverse(held.begin(), held.end());
    for (const auto i : held) imports.drop_use(i);
    std::size_t words = 0;
    for (const protocol_message& m : imports.words()) words += m.what == protocol_message::kind::decref ? 1 : 0;
    CHECK(words == imports.queued());
    send_protocol(imports, out, d);
    out.flush();
    const auto to_a = a.read();
    REQUIRE(to_a.size() == 1);
    CHECK(credit_by_slot(to_a[0]) == given);
    CHECK(b.read().size() == 1);
  }
}

TEST_CASE("protocol words: neighbours dropped one after the other go as one run, whoever was dropped between") {
  directory d;
  resident a(d);
  resident b(d);
  outbox out(holder, d);
  import_table imports(holder);
  for (const std::uint32_t first : {0U, 100U}) {
    for (std::uint32_t k = 0; k < 50; ++k) {
      imports.drop_use(imports.receive({object(a.id, first == 0 ? k : first + 49 - k), 4, {}}));
      imports.drop_use(imports.receive({object(b.id, first + k), 4, {}}));
    }
  }
  send_protocol(imports, out, d);
  out.flush();
  CHECK(a.read().at(0).in().get_u32() == 2);
  CHECK(b.read().at(0).in().get_u32() == 2);
}

TEST_CASE("protocol words: very many releases in no order go in several records") {
  directory d;
  resident a(d);
  outbox out(holder, d);
  import_table imports(holder);
  for (std::uint32_t slot = 0; slot < 10000; ++slot) imports.drop_use(imports.receive({object(a.id, slot * 2), 4, {}}));
  send_protocol(imports, out, d);
  out.flush();
  std::size_t objects = 0;
  const auto to_a = a.read();
  for (const letter& l : to_a) objects += credit_by_slot(l).size();
  CHECK(to_a.size() == 3);
  CHECK(objects == 10000);
}

TEST_CASE("protocol words: a request to a dead owner is answered on the spot, and the loan goes back") {
  directory d;
  resident lender(d);
  outbox out(holder, d);
  import_table imports(holder);
  const auto i = imports.receive({object(interpreter_id{999}, 1), 0, lender.id});
  CHECK(imports.pending(i));
  send_protocol(imports, out, d);
  out.flush();
  CHECK_FALSE(imports.pending(i));
  const auto got = lender.read();
  REQUIRE(got.size() == 1);
  CHECK(got[0].kind == record_kind::loan_return);
}

TEST_CASE("protocol words: a word nobody hears is the caller's again") {
  directory d;
  outbox out(holder, d);
  out.open(interpreter_id{999}, record_kind::room);
  CHECK_FALSE(commit_word(out));
  CHECK(out.empty());
}

TEST_CASE("protocol words: without memory a word leaves no half record behind") {
  directory d;
  resident a(d);
  outbox out(holder, d);
  out.open(a.id, record_kind::room);
  CHECK(commit_word(out));
  wire_writer& w = out.open(a.id, record_kind::down);
  w.put_u64(1);
  w.put_string(test::too_long());
  CHECK_THROWS_AS(commit_word(out), std::bad_alloc);
  out.open(a.id, record_kind::room);
  CHECK(commit_word(out));
  out.flush();
  const auto got = a.read();
  REQUIRE(got.size() == 2);
  CHECK(got[1].kind == record_kind::room);
}

TEST_CASE("protocol words: loans returned while the lender dies all reach it or its tombstone") {
  for (int round = 0; round < 200; ++round) {
    directory d;
    resident owner(d);
    constexpr std::uint32_t threads = 3;
    {
      resident lender(d);
      const object_id id = object(owner.id, 1);
      std::atomic<std::uint32_t> ready{0};
      std::vector<std::thread> borrowers;
      for (std::uint32_t t = 0; t < threads; ++t)
        borrowers.emplace_back([&, t] {
          outbox out(interpreter_id{100 + t}, d);
          ready.fetch_add(1);
          while (ready.load() < threads + 1) std::this_thread::yield();
          return_loan(lender.id, id, 1, out, d);
          out.flush();
        });
      while (ready.load() < threads) std::this_thread::yield();
      ready.fetch_add(1);
      lender.die({{id, 7, threads, {}}});
      for (auto& b : borrowers) b.join();
      dispose_leftovers(*lender.box, d);
    }
    CHECK(d.tombstones() == 0);
    CHECK(owner.read().size() == 1);
  }
}
