// The bounded worlds that are searched, and how much of each there is to see.
// Why floors: a model that explores nothing breaks no invariant either.
#pragma once

#include <vector>

#include "tests/model/protocol.hpp"

namespace Atoll::model {

/// Builds that check every step are slow: they search with one send fewer.
#ifdef NDEBUG
inline constexpr bool whole = true;
#else
inline constexpr bool whole = false;
#endif

struct search {
  configuration what;
  std::uint64_t states;     // at least, in a release build
  std::uint32_t events = 0; // what must have happened
};

inline constexpr std::uint32_t loans = bit(event::loan) | bit(event::borrowed) | bit(event::loan_straight_back)
                                       | bit(event::lender_was_pending) | bit(event::refill) | bit(event::late_grant);
inline constexpr std::uint32_t deaths =
    bit(event::tombstone) | bit(event::tombstone_in_debt) | bit(event::loan_to_tombstone);

/// A owns, B and C hold; nobody ends.
inline configuration refills() { return {.name = "refills, loans and surplus", .sends = 6}; }

inline configuration anybody_ends() { return {.name = "anybody ends", .sends = 5, .mortal = 7}; }

inline configuration holders_end() { return {.name = "holders end", .sends = 6, .mortal = 6}; }

/// x, y and z follow each other in A's slot 0.
inline configuration generations() {
  return {.name = "three generations of a slot", .lives = {{0, 0}, {0, 0}, {0, 0}}, .sends = 5, .mortal = 7};
}

inline configuration side_by_side() {
  return {.name = "two objects of one owner", .lives = {{0, 0}, {0, 1}}, .sends = 5, .mortal = 4};
}

/// A and B hold each other's object, and both may go.
inline configuration two_owners() {
  return {.name = "two owners that hold each other's object",
          .lives = {{0, 0}, {1, 0}},
          .sends = 4,
          .mortal = 7,
          .take_back = true,
          .to_itself = true};
}

inline configuration calls() {
  return {.name = "two calls and their owner's end", .sends = 3, .calls = 2, .mortal = 1};
}

inline configuration calls_both_ways() {
  return {
      .name = "calls between two owners, anybody ends", .lives = {{0, 0}, {1, 0}}, .sends = 2, .calls = 2, .mortal = 7};
}

inline configuration proxies() {
  return {.name = "late finalizers and messages taken back",
          .sends = 5,
          .mortal = 6,
          .take_back = true,
          .late_finalizers = true,
          .to_itself = true};
}

/// Grants of 1: everybody but the owner lends.
inline configuration four() {
  return {.name = "four interpreters, all credit lent", .nodes = 4, .grant = 1, .sends = 5, .mortal = 14};
}

inline configuration large_grants() {
  return {.name = "grants of four", .grant = 4, .low = 2, .cap = 6, .sends = 5, .mortal = 7};
}

inline configuration end_of_runtime() {
  return {.name = "imports dropped by a living interpreter", .sends = 5, .mortal = 7, .finalizing = 6};
}

/// Every kind of step there is.
inline configuration everything() {
  return {.name = "everything at once",
          .lives = {{0, 0}, {0, 0}},
          .sends = 3,
          .calls = 1,
          .mortal = 7,
          .finalizing = 7,
          .take_back = true,
          .late_finalizers = true,
          .to_itself = true};
}

} // namespace Atoll::model
