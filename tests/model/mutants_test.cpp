// Each rule broken once: the model must notice. A mutant that survives is a failed test.
// ATOLL_TRACE=1 prints the way to each violation, step by step.

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "tests/model/configurations.hpp"
#include "tests/model/explorer.hpp"

using namespace Atoll::model;

namespace {

/// `invariant` is the one that must be seen broken first: "I1" to "I5".
void caught(mutant broken, const std::string& name, const char* invariant, configuration c) {
  c.broken = broken;
  const findings f = explorer(c).explore();
  CHECK_MESSAGE(f.violation.substr(0, 2) == invariant, name);
  MESSAGE(name << ": after " << f.depth << " steps, " << f.states << " states seen: " << f.violation);
  // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
  if (std::getenv("ATOLL_TRACE") != nullptr) MESSAGE(f.trace);
}

#define CAUGHT(broken, invariant, in) caught(mutant::broken, #broken, invariant, in)

} // namespace

// The configurations themselves hold: model_test.cpp.

TEST_CASE("mutants: pins, uses, generations, what is unread, what is due") {
  CAUGHT(gives_all_credit, "I2", refills());
  CAUGHT(no_lender_pin, "I2", refills());
  CAUGHT(unread_keeps_credit, "I1", refills());
  CAUGHT(generation_ignored, "I1", everything());
  CAUGHT(released_before_last_use, "I2", everything());
  CAUGHT(receipt_overwrites, "I1", refills());
  CAUGHT(finalizer_touches_reimport, "I2", everything());
  CAUGHT(freed_on_temporary_zero, "I2", refills());
}

TEST_CASE("mutants: loans and credit") {
  CAUGHT(loan_returned_early, "I2", refills());
  CAUGHT(late_grant_lost, "I1", refills());
  CAUGHT(decref_sent_twice, "I1", refills());
  CAUGHT(surplus_lost, "I1", refills());
  CAUGHT(put_back_lost, "I1", everything());
  CAUGHT(target_keeps_credit, "I1", everything());
  CAUGHT(refill_forgotten, "I3", refills());
  CAUGHT(listed_due_twice, "I4", refills());
}

TEST_CASE("mutants: ends") {
  CAUGHT(tombstone_forgotten, "I1", everything());
  CAUGHT(request_to_dead_unanswered, "I3", everything());
  CAUGHT(borrows_what_is_lost, "I3", everything());
  CAUGHT(dead_borrower_keeps_loan, "I3", everything());
  CAUGHT(tombstone_forgets_lender, "I3", everything());
  CAUGHT(closed_before_tombstones, "I3", everything());
}

TEST_CASE("mutants: calls") {
  CAUGHT(unread_call_unanswered, "I5", everything());
  CAUGHT(taken_call_unanswered, "I5", everything());
  CAUGHT(answered_again_at_end, "I5", everything());
}

TEST_CASE("mutants: holders that lean on several lenders wait for each other for ever") {
  CAUGHT(loans_collected, "I3", four());
}
