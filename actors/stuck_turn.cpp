#include "actors/stuck_turn.hpp"

#include <fmt/format.h>
#include <unwind.h>

#include <cstring>

#include "actors/function_symbols.hpp"

namespace Atoll {

namespace {

struct walk {
  void** next;
  void** end;
};

_Unwind_Reason_Code note_frame(_Unwind_Context* frame, void* where) {
  auto& w = *static_cast<walk*>(where);
  if (w.next == w.end) return _URC_END_OF_STACK;
  int before_call = 0; // an address where a signal came is the instruction's own, others are behind a call
  const _Unwind_Ptr at = _Unwind_GetIPInfo(frame, &before_call);
  if (at == 0) return _URC_END_OF_STACK;
  *w.next++ = reinterpret_cast<void*>(before_call != 0 ? at : at - 1);
  return _URC_NO_REASON;
}

/// libgcc and glibc look this up without a lock (_dl_find_object), so that a signal handler may.
int note_stack(void** first, std::size_t n) noexcept {
  walk w{first, first + n};
  _Unwind_Backtrace(note_frame, &w);
  return static_cast<int>(w.next - first);
}

void copy(char* to, std::size_t room, const char* from, std::size_t n) noexcept {
  n = std::min(n, room - 1);
  std::memcpy(to, from, n);
  to[n] = 0;
}

} // namespace

void stuck_turn::prepare() noexcept {
  void* stack[4];
  (void)note_stack(stack, 4);
}

void stuck_turn::note(std::uint64_t turn, const interpreter& of) noexcept {
  who = of.id();
  copy(name, sizeof name, of.name().data(), of.name().size());
  doing = of.doing();
  depth = note_stack(stack.data(), stack.size());
  noted.store(turn, std::memory_order_release);
}

std::string stuck_turn::text() const {
  static const function_symbols symbols; // read when somebody is stuck for the first time
  const std::string caller = doing.what[0] != 0 ? fmt::format("'{}'", doing.what) : std::string();
  for (int i = 0; i < depth && doing.name_of != nullptr; ++i) {
    void* const at = stack[static_cast<std::size_t>(i)];
    // It looks at the byte before: at the first instruction of a function that would be another function's.
    const void* const start = _Unwind_FindEnclosingFunction(static_cast<char*>(at) + 1);
    const std::string symbol = symbols.name_at(at);
    if (const char* known = doing.name_of(start, symbol.c_str()))
      return caller.empty() ? std::string(known) : fmt::format("{}, called by {}", known, caller);
  }
  return caller;
}

} // namespace Atoll
