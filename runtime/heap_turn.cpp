#include "runtime/heap_turn.hpp"

#if defined(ATOLL_CHECKED)

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace Atoll {

namespace {
thread_local interpreter_id in_turn_of = host_interpreter; // the host program has no turns: none
}

heap_turn::heap_turn(interpreter_id who) noexcept : before_(std::exchange(in_turn_of, who)) {}
heap_turn::~heap_turn() { in_turn_of = before_; }

void heap_turn::check(interpreter_id owner) noexcept {
  if (owner == host_interpreter || owner == in_turn_of) return;
  const auto number_of = [](interpreter_id i) { return static_cast<unsigned long long>(number(i)); };
  if (in_turn_of == host_interpreter) {
    std::fprintf(stderr, "atoll: the heap of interpreter %llu is touched by a thread that is in no turn\n",
                 number_of(owner));
  } else {
    std::fprintf(stderr, "atoll: the heap of interpreter %llu is touched in a turn of interpreter %llu\n",
                 number_of(owner), number_of(in_turn_of));
  }
  std::abort();
}

} // namespace Atoll

#endif
