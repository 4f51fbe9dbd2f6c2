#include "runtime/imports.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace Atoll;

namespace {

using message = protocol_message::kind;

constexpr interpreter_id owner{1};
constexpr interpreter_id holder{2};
constexpr interpreter_id lender{3};
constexpr interpreter_id other_lender{4};
constexpr credit_policy small{.grant = 4, .low = 1, .cap = 16};
constexpr object_id object{owner, 7, 1};

wire_ref with_credit(std::uint32_t credit) { return {object, credit, {}}; }
wire_ref lent_by(interpreter_id l) { return {object, 0, l}; }

// Takes the queue and sums up what is in it.
struct outgoing {
  std::uint64_t decref = 0;
  int requests = 0;
  std::uint64_t loans_to_lender = 0;
  std::uint64_t loans_to_other = 0;

  explicit outgoing(import_table& t) {
    for (const protocol_message& m : t.take_words()) {
      CHECK(m.id == object);
      switch (m.what) {
      case message::decref:
        CHECK(m.to == owner);
        CHECK(m.count > 0);
        decref += m.count;
        break;
      case message::credit_request:
        CHECK(m.to == owner);
        ++requests;
        break;
      case message::loan_return: (m.to == lender ? loans_to_lender : loans_to_other) += m.count; break;
      }
    }
  }
  bool nothing() const { return decref == 0 && requests == 0 && loans_to_lender == 0 && loans_to_other == 0; }
};

} // namespace

TEST_CASE("imports: the last use dropped sends all credit home, once") {
  import_table t(holder, small);
  const auto i = t.receive(with_credit(4));
  t.add_use(i);
  t.drop_use(i);
  CHECK(outgoing(t).nothing());
  t.drop_use(i);
  CHECK(outgoing(t).decref == 4);
  CHECK(t.find(object) == import_table::none);
  CHECK(t.size() == 0);
  CHECK(t.releases() == 1);
}

TEST_CASE("imports: a reference received twice is one entry with the credit of both") {
  import_table t(holder, small);
  const auto i = t.receive(with_credit(4));
  CHECK(t.receive(with_credit(3)) == i);
  CHECK(t.credit_of(i) == 7);
  t.drop_use(i);
  CHECK(outgoing(t).nothing());
  t.drop_use(i);
  CHECK(outgoing(t).decref == 7);
}

TEST_CASE("imports: giving halves the credit and never gives the last") {
  import_table t(holder, small);
  const auto i = t.receive(with_credit(5));
  CHECK(t.give(i).credit == 2);
  CHECK(t.give(i).credit == 1);
  CHECK(outgoing(t).nothing());
  CHECK(t.give(i).credit == 1);
  CHECK(t.credit_of(i) == 1);
  CHECK(outgoing(t).requests == 1);

  const wire_ref loan = t.give(i);
  CHECK(loan.credit == 0);
  CHECK(loan.lender == holder);
  CHECK(t.loans_of(i) == 1);
  // Asked once, not again until the answer.
  CHECK(outgoing(t).requests == 0);
}

TEST_CASE("imports: a call's target takes one credit, or a loan when only one is left") {
  import_table t(holder, small);
  const auto i = t.receive(with_credit(2));
  CHECK(t.give_target(i).credit == 1);
  CHECK(t.credit_of(i) == 1);
  const wire_ref loan = t.give_target(i);
  CHECK(loan.credit == 0);
  CHECK(loan.lender == holder);
}

TEST_CASE("imports: an entry that lent stays, unused, until the loan is back") {
  import_table t(holder, small);
  const auto i = t.receive(with_credit(1));
  t.give(i);
  t.give(i);
  t.drop_use(i);
  CHECK(outgoing(t).decref == 0);
  t.on_loan_return(object, 1);
  CHECK(outgoing(t).decref == 0);
  t.on_loan_return(object, 1);
  CHECK(outgoing(t).decref == 1);
  CHECK(t.size() == 0);
}

TEST_CASE("imports: a borrower is pending, asks its owner, and pays back when credit came") {
  import_table t(holder, small);
  const auto i = t.receive(lent_by(lender));
  CHECK(t.pending(i));
  CHECK(outgoing(t).requests == 1);
  t.on_grant(object, 4);
  CHECK(outgoing(t).loans_to_lender == 1);
  CHECK_FALSE(t.pending(i));
  CHECK(t.credit_of(i) == 4);
}

TEST_CASE("imports: credit from a third party pays loans back as well as a grant") {
  import_table t(holder, small);
  const auto i = t.receive(lent_by(lender));
  CHECK(outgoing(t).requests == 1);
  t.receive(with_credit(2));
  CHECK(outgoing(t).loans_to_lender == 1);
  CHECK_FALSE(t.pending(i));
  t.on_grant(object, 4);
  CHECK(t.credit_of(i) == 6);
  CHECK(outgoing(t).nothing());
}

TEST_CASE("imports: a loan that is not needed goes straight back") {
  import_table t(holder, small);
  const auto i = t.receive(with_credit(1));
  t.receive(lent_by(lender));
  CHECK(outgoing(t).loans_to_lender == 1);
  CHECK(t.loans_of(i) == 0);
}

TEST_CASE("imports: a borrower leans on its first lender alone, so that nobody leans on itself") {
  import_table t(holder, small);
  const auto i = t.receive(lent_by(lender));
  CHECK(outgoing(t).requests == 1);
  CHECK(t.receive(lent_by(other_lender)) == i);
  CHECK(outgoing(t).loans_to_other == 1);
  // A message to itself, or one that went round in a circle.
  const wire_ref own = t.give(i);
  CHECK(own.lender == holder);
  t.receive(own);
  CHECK(t.loans_of(i) == 1);
  CHECK(outgoing(t).loans_to_other == 1);
  t.on_loan_return(object, 1);

  t.give(i);
  t.drop_all_uses();
  const auto stones = t.take_pinned();
  REQUIRE(stones.size() == 1);
  CHECK(stones[0].owed == std::vector<interpreter_id>{lender});
}

TEST_CASE("imports: a borrower that lost interest waits for its grant, then returns everything") {
  import_table t(holder, small);
  const auto i = t.receive(lent_by(lender));
  CHECK(outgoing(t).requests == 1);
  t.drop_use(i);
  CHECK(outgoing(t).nothing());
  CHECK(t.size() == 1);
  t.on_grant(object, 4);
  const outgoing out(t);
  CHECK(out.decref == 4);
  CHECK(out.loans_to_lender == 1);
  CHECK(t.size() == 0);
}

TEST_CASE("imports: a borrower may lend on, it stays until its own borrower is done") {
  import_table t(holder, small);
  const auto i = t.receive(lent_by(lender));
  const wire_ref loan = t.give(i);
  CHECK(loan.credit == 0);
  CHECK(loan.lender == holder);
  t.drop_use(i);
  t.on_grant(object, 4);
  CHECK(outgoing(t).decref == 0);
  t.on_loan_return(object, 1);
  CHECK(outgoing(t).decref == 4);
}

TEST_CASE("imports: a grant for what was let go before the answer goes home") {
  import_table t(holder, small);
  const auto i = t.receive(with_credit(2));
  t.give(i);
  CHECK(outgoing(t).requests == 1);
  t.drop_use(i);
  CHECK(outgoing(t).decref == 1);
  t.on_grant(object, 4);
  CHECK(outgoing(t).decref == 4);
  t.on_grant(object, 0);
  CHECK(outgoing(t).nothing());
}

TEST_CASE("imports: a grant of nothing, the owner is gone, ends the waiting") {
  import_table t(holder, small);
  const auto i = t.receive(lent_by(lender));
  outgoing(t).nothing();
  t.on_grant(object, 0);
  CHECK(outgoing(t).loans_to_lender == 1);
  t.drop_use(i);
  CHECK(outgoing(t).decref == 0);
  CHECK(t.size() == 0);
}

TEST_CASE("imports: of a lost object nothing is borrowed any more, and nobody is asked") {
  import_table t(holder, small);
  const auto i = t.receive(lent_by(lender));
  t.on_grant(object, 0);
  t.take_words();
  t.receive(lent_by(other_lender));
  CHECK_FALSE(t.pending(i));
  CHECK(outgoing(t).loans_to_other == 1);
  CHECK(t.give(i).lender == holder);
  CHECK(outgoing(t).nothing());
}

TEST_CASE("imports: surplus credit goes home, whether received or granted") {
  import_table t(holder, small);
  auto i = t.receive(with_credit(16));
  CHECK(outgoing(t).decref == 0);
  t.receive(with_credit(1));
  std::uint64_t home = outgoing(t).decref;
  CHECK(t.credit_of(i) + home == 17);
  CHECK(t.credit_of(i) <= small.cap);
  CHECK(t.credit_of(i) >= 1);

  // Grants asked for by earlier entries of the same object may all arrive at once.
  std::uint64_t given = 17;
  for (int k = 0; k < 100; ++k, given += 4) {
    t.on_grant(object, 4);
    CHECK(t.credit_of(i) <= small.cap);
  }
  home += outgoing(t).decref;
  CHECK(t.credit_of(i) + home == given);
}

TEST_CASE("imports: credits that do not fit a counter together are still all accounted for") {
  constexpr std::uint32_t huge = 0xFFFFFFFF;
  import_table t(holder);
  const auto i = t.receive(with_credit(huge));
  t.receive(with_credit(huge));
  std::uint64_t home = outgoing(t).decref;
  CHECK(t.credit_of(i) + home == 2 * std::uint64_t{huge});
  t.on_grant(object, huge);
  home += outgoing(t).decref;
  CHECK(t.credit_of(i) + home == 3 * std::uint64_t{huge});
}

TEST_CASE("imports: loans returned by nobody's borrower change nothing") {
  import_table t(holder, small);
  t.on_loan_return(object, 3);
  const auto i = t.receive(with_credit(2));
  t.on_loan_return(object, 3);
  CHECK(t.loans_of(i) == 0);
  CHECK(t.credit_of(i) == 2);
}

TEST_CASE("imports: a message taken back restores credit and loans") {
  import_table t(holder, small);
  const auto i = t.receive(with_credit(4));
  const wire_ref half = t.give(i);
  t.put_back(half);
  CHECK(t.credit_of(i) == 4);
  t.put_back(t.give_target(i));
  CHECK(t.credit_of(i) == 4);
  t.give(i);
  t.give(i);
  t.put_back(t.give(i));
  CHECK(t.loans_of(i) == 0);
  t.drop_use(i);
  CHECK(outgoing(t).decref == 1);
}

TEST_CASE("imports: credit taken back after the entry went is not lost") {
  import_table t(holder, small);
  const auto i = t.receive(with_credit(4));
  const wire_ref half = t.give(i);
  t.drop_use(i);
  CHECK(outgoing(t).decref == 2);
  t.put_back(half);
  CHECK(outgoing(t).decref == 2);
}

TEST_CASE("imports: at the guest's end all uses are over at once, borrowed entries do not wait") {
  import_table t(holder, small);
  const auto i = t.receive(with_credit(4));
  t.add_use(i);
  t.drop_all_uses();
  CHECK(outgoing(t).decref == 4);
  CHECK(t.size() == 0);

  t.receive(lent_by(lender));
  t.drop_all_uses();
  const outgoing out(t);
  CHECK(out.loans_to_lender == 1);
  CHECK(t.size() == 0);
  t.on_grant(object, 4);
  CHECK(outgoing(t).decref == 4);
}

TEST_CASE("imports: what is lent out at the end leaves as a tombstone with its credit and debts") {
  import_table t(holder, small);
  const auto i = t.receive(with_credit(1));
  t.give(i);
  t.drop_all_uses();
  CHECK(outgoing(t).decref == 0);
  auto stones = t.take_pinned();
  REQUIRE(stones.size() == 1);
  CHECK(stones[0].id == object);
  CHECK(stones[0].credit == 1);
  CHECK(stones[0].loans_out == 1);
  CHECK(t.size() == 0);
  CHECK(t.take_pinned().empty());

  const auto j = t.receive(lent_by(lender));
  t.give(j);
  t.drop_all_uses();
  stones = t.take_pinned();
  REQUIRE(stones.size() == 1);
  CHECK(stones[0].credit == 0);
  CHECK(stones[0].owed == std::vector<interpreter_id>{lender});
}

TEST_CASE("imports: thousands of entries that come and go are found, each under its id") {
  import_table t(holder);
  const auto id_of = [](std::uint32_t n) { return object_id{interpreter_id{n % 7}, n, 1 + n % 3}; };
  for (std::uint32_t n = 0; n < 5000; ++n) t.receive({id_of(n), n + 1, {}});
  for (std::uint32_t n = 0; n < 5000; ++n)
    if (n % 3 != 0) t.drop_use(t.find(id_of(n)));
  for (std::uint32_t n = 5000; n < 6000; ++n) t.receive({id_of(n), n + 1, {}});
  bool right = true;
  for (std::uint32_t n = 0; n < 6000; ++n) {
    const auto i = t.find(id_of(n));
    const bool there = n >= 5000 || n % 3 == 0;
    right = right && (i != import_table::none) == there && (!there || t.credit_of(i) == n + 1);
  }
  CHECK(right);
  CHECK(t.size() == 1667 + 1000);
}

TEST_CASE("imports: a reference costs 48 bytes at most, when there are many, and of every fourth object 64") {
  constexpr std::uint32_t many = 200000;
  for (const std::uint32_t every : {1U, 4U}) {
    import_table t(holder);
    for (std::uint32_t n = 0; n < many; ++n) t.receive({{owner, n * every, 1}, 100, {}});
    CAPTURE(every);
    CHECK(t.bytes() >= many * std::size_t{32});
    CHECK(t.bytes() <= many * std::size_t{every == 1 ? 48U : 64U});
    // Used again, not grown.
    const std::size_t full = t.bytes();
    for (std::uint32_t n = 0; n < many; ++n) t.drop_use(t.find({owner, n * every, 1}));
    for (std::uint32_t n = 0; n < many; ++n) t.receive({{owner, n * every, 2}, 100, {}});
    CHECK(t.bytes() <= full + full / 64);
  }
}
