// How much credit the reference protocol gives, keeps and asks for.
// Why: in production the numbers are large, so that owners hear little; tests make them small, so that loans and
// refills happen all the time.
// Threads: immutable after construction.
#pragma once

#include <cstdint>

namespace Atoll {

struct credit_policy {
  /// What an owner adds to `out` with each reference it sends, and what it grants on request.
  std::uint32_t grant = 1U << 20U;
  /// A holder whose credit falls to this asks its owner for more, and goes on without waiting.
  std::uint32_t low = 1U << 4U;
  /// A holder above this returns half, so that no counter overflows however often a popular object arrives.
  std::uint32_t cap = 1U << 30U;
};

} // namespace Atoll
