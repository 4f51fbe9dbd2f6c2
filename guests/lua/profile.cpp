#include "guests/lua/profile.hpp"

#include <fmt/format.h>

#include <unordered_map>

#include "guests/lua/state.hpp"

namespace Atoll {

/// A function's extra: what its frames are called, and the stacks in which it was the innermost.
struct profiler::function_profile {
  std::shared_ptr<stack_counts> sums;
  std::string name;
  std::unordered_map<std::string, std::uint64_t> stacks;
};

profiler::profiler(lua_guest& g, std::shared_ptr<stack_counts> sums) : guest_(g), sums_(std::move(sums)) {
  index_ = g.codes().registry().request_code_extra_index(free_profile).value(); // the first of 255
}

void profiler::free_profile(void* extra) {
  const std::unique_ptr<function_profile> f(static_cast<function_profile*>(extra));
  for (const auto& [stack, samples] : f->stacks) f->sums->add(stack, samples);
}

namespace {

/// Semicolons part frames, line breaks part stacks.
std::string harmless(std::string_view text) {
  std::string s(text);
  for (char& c : s)
    if (c == ';' || static_cast<unsigned char>(c) < ' ') c = c == ';' ? ',' : ' ';
  return s;
}

} // namespace

std::string profiler::frame_name(lua_State* L, lua_Debug* ar) const {
  lua_getinfo(L, "nS", ar);
  const std::string_view what = ar->what;
  if (what == "main") return harmless(ar->short_src);
  const char* const name = ar->name != nullptr ? ar->name : "function";
  if (what == "C") return harmless(fmt::format("{} [C]", name));
  return harmless(fmt::format("{} ({}:{})", name, ar->short_src, ar->linedefined));
}

/// The function on top of the stack, which runs at `ar`.
profiler::function_profile* profiler::of_top(lua_State* L, lua_Debug* ar) {
  code_object* const code = guest_.codes().find(L, -1);
  if (code == nullptr) return nullptr;
  void* extra = nullptr;
  (void)code->get_extra(index_, extra);
  if (extra != nullptr) return static_cast<function_profile*>(extra);
  auto fresh = std::make_unique<function_profile>(function_profile{sums_, frame_name(L, ar), {}});
  if (!code->set_extra(guest_.codes().registry(), index_, fresh.get())) return nullptr;
  return fresh.release();
}

void profiler::count(lua_State* L) {
  if (lua_checkstack(L, 1) == 0) return;
  function_profile* innermost = nullptr;
  frames_.clear();
  lua_Debug ar;
  int level = 0;
  for (; level < deepest && lua_getstack(L, level, &ar) != 0; ++level) {
    lua_getinfo(L, "f", &ar);
    function_profile* f = nullptr;
    const bool in_c = lua_iscfunction(L, -1) != 0;
    if (!in_c) f = of_top(L, &ar);
    lua_pop(L, 1);
    if (level == 0) innermost = f;
    // A task begins with C functions of the guest's own.
    if (in_c)
      frames_.push_back(frame_name(L, &ar));
    else
      frames_.push_back(f != nullptr ? f->name : "?");
  }
  if (innermost == nullptr) return;
  const bool whole = level < deepest;
  while (whole && frames_.back() == "function [C]") frames_.pop_back();
  stack_ =
      guest_.out.name().empty() ? fmt::format("interpreter {}", number(guest_.out.id())) : harmless(guest_.out.name());
  if (!whole) stack_ += ";...";
  if (guest_.current != nullptr && guest_.current->thread != L) stack_ += ";[coroutine]";
  for (auto f = frames_.rbegin(); f != frames_.rend(); ++f) (stack_ += ';') += *f;
  ++innermost->stacks[stack_];
}

void profiler::take(lua_State* L) noexcept {
  try {
    count(L);
  } catch (const std::bad_alloc&) {
  }
}

} // namespace Atoll
