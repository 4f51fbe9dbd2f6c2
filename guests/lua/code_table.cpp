#include "guests/lua/code_table.hpp"

#include <fmt/format.h>

#include <cstring>
#include <map>

#include "guests/lua/state.hpp"
#include "runtime/guarded.hpp"
#include "runtime/job.hpp"
#include "runtime/value_codec.hpp"

namespace Atoll {

namespace {

/// Blocks that live, while a chunk is loaded.
struct recorder {
  heap& memory;
  std::map<const void*, std::size_t> blocks;
};

void* recording(void* to, void* p, std::size_t old_bytes, std::size_t new_bytes) {
  auto& r = *static_cast<recorder*>(to);
  void* const fresh = r.memory.reallocate(p, old_bytes, new_bytes);
  if (new_bytes == 0 || fresh != nullptr) r.blocks.erase(p);
  if (fresh != nullptr) r.blocks[fresh] = new_bytes;
  return fresh;
}

/// Leaves two closures of one prototype and one of another.
int load_examples(lua_State* L) {
  static const char text[] = "local function make() return function() end end return make(), make(), function() end";
  if (luaL_loadbufferx(L, text, sizeof text - 1, "=examples", "t") != LUA_OK) return lua_error(L);
  lua_call(L, 0, 3);
  return 3;
}

struct layout {
  std::size_t offset = 0;
  std::size_t bytes = 0;
};

/// Where the first two closures have the same block and the third another of the same size.
layout compare(lua_State* L, const recorder& r) {
  const auto word = [&](int index, std::size_t offset) {
    const void* p = nullptr;
    std::memcpy(&p, static_cast<const char*>(lua_topointer(L, index)) + offset, sizeof p);
    return p;
  };
  const auto closure = r.blocks.find(lua_topointer(L, -3));
  if (closure == r.blocks.end()) return {};
  for (std::size_t at = 0; at + sizeof(void*) <= closure->second; at += sizeof(void*)) {
    const auto first = r.blocks.find(word(-3, at));
    const auto third = r.blocks.find(word(-1, at));
    if (first == r.blocks.end() || third == r.blocks.end() || first == third) continue;
    if (word(-2, at) == first->first && first->second == third->second) return {at, first->second};
  }
  return {};
}

int get_interface_function(lua_State* L) {
  const lua_guest& g = lua_guest::of(L);
  const auto& name = *static_cast<std::string_view*>(lua_touserdata(L, 1));
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.interface_ref);
  lua_pushlstring(L, name.data(), name.size());
  lua_rawget(L, -2);
  return 1;
}

} // namespace

code_table::code_table(lua_guest& g) : guest_(g) {
  registry_.on_failure = [this](std::string_view what) {
    guest_.out.log(log_level::error, fmt::format("a code extra's free function failed: {}", what));
  };
}

bool code_table::watch() {
  if (prototype_bytes_ != 0) return true;
  lua_State* const L = guest_.main;
  recorder r{guest_.out.memory(), {}};
  void* plain = nullptr;
  const lua_Alloc allocator = lua_getallocf(L, &plain);
  const bool collecting = lua_gc(L, LUA_GCISRUNNING) != 0;
  const int top = lua_gettop(L);
  lua_gc(L, LUA_GCSTOP);
  lua_setallocf(L, recording, &r);
  lua_pushcfunction(L, load_examples);
  const int status = lua_pcall(L, 0, 3, 0);
  lua_setallocf(L, allocator, plain);
  if (status == LUA_OK) {
    const layout found = compare(L, r);
    offset_ = found.offset;
    prototype_bytes_ = found.bytes;
  }
  lua_settop(L, top);
  if (collecting) lua_gc(L, LUA_GCRESTART);
  if (prototype_bytes_ == 0) return false;
  memory_ = &r.memory;
  lua_setallocf(L, allocate, this);
  return true;
}

void* code_table::allocate(void* table, void* p, std::size_t old_bytes, std::size_t new_bytes) {
  auto& t = *static_cast<code_table*>(table);
  if (new_bytes == 0 && old_bytes == t.prototype_bytes_) [[unlikely]]
    return free_watched(t, p); // a tail call: the others save no registers for it
  return t.memory_->reallocate(p, old_bytes, new_bytes);
}

void* code_table::free_watched(code_table& t, void* p) {
  t.died(p);
  return t.memory_->reallocate(p, t.prototype_bytes_, 0);
}

void code_table::died(const void* prototype) noexcept {
  const auto found = objects_.find(prototype);
  if (found == objects_.end()) return;
  std::unique_ptr<code_object> last = std::move(found->second);
  objects_.erase(found); // first: a free function may look
  const bool before = std::exchange(dying_, true);
  last.reset();
  dying_ = before;
}

void code_table::clear() noexcept {
  dying_ = true;
  while (!objects_.empty()) {
    const auto one = objects_.extract(objects_.begin());
  }
  dying_ = false;
}

code_object* code_table::find(lua_State* L, int index) noexcept {
  const void* prototype = nullptr;
  std::memcpy(&prototype, static_cast<const char*>(lua_topointer(L, index)) + offset_, sizeof prototype);
  try {
    auto& known = objects_[prototype];
    if (known == nullptr) known = std::make_unique<code_object>(registry_);
    return known.get();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

result<void> code_table::ready() {
  if (dying_) return fail(errc::invalid_argument, "a free function of a code extra cannot use the guest's code");
  if (guest_.main == nullptr || guest_.closing || guest_.dead)
    return fail(errc::runtime_finalizing, "the interpreter is closing: its code is not to be had any more");
  if (!watch()) return fail(errc::out_of_memory, "no memory for code objects");
  return {};
}

result<code_object*> code_table::at_top(lua_State* L) {
  if (!lua_isfunction(L, -1) || lua_iscfunction(L, -1) != 0) {
    const char* const what = lua_isfunction(L, -1) ? "function of C" : luaL_typename(L, -1);
    lua_pop(L, 1);
    return fail(errc::invalid_argument, fmt::format("a Lua function was expected, not a {}", what));
  }
  code_object* const code = find(L, -1);
  lua_pop(L, 1);
  if (code == nullptr) return fail(errc::out_of_memory, "no memory for a code object");
  return code;
}

result<code_object*> code_table::of_interface(std::string_view function) {
  if (auto ok = ready(); !ok) return tl::unexpected<error>(std::move(ok.error()));
  lua_State* const L = guest_.main;
  lua_pushcfunction(L, get_interface_function);
  lua_pushlightuserdata(L, &function);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) return at_top(L);
  lua_pop(L, 1);
  return fail(errc::out_of_memory, "not enough memory");
}

result<code_object*> code_table::of_object(guest_word exported) {
  if (auto ok = ready(); !ok) return tl::unexpected<error>(std::move(ok.error()));
  guest_.push_exported(guest_.main, exported);
  return at_top(guest_.main);
}

result<code_object*> code_table::of_running(lua_State* L, int level) {
  if (auto ok = ready(); !ok) return tl::unexpected<error>(std::move(ok.error()));
  lua_Debug ar;
  if (lua_checkstack(L, 1) == 0 || lua_getstack(L, level, &ar) == 0)
    return fail(errc::invalid_argument, fmt::format("nothing runs at level {}", level));
  lua_getinfo(L, "f", &ar);
  return at_top(L);
}

lua_code* code_of(guest* program) {
  auto* const g = dynamic_cast<lua_guest*>(program);
  return g == nullptr ? nullptr : &g->codes();
}

// -- jobs -----------------------------------------------------------------------------------------------------------

namespace {

result<std::vector<value>> results_of(host& owner, const std::optional<wire_ref>& target, const lua_code_work& work) {
  lua_code* const code = code_of(owner.program());
  code_object* function = nullptr;
  if (target) {
    const auto object = owner.receive_reference(*target);
    if (!object || !object->own || code == nullptr)
      return fail(errc::reference_released, fmt::format("interpreter {} has no such object", number(owner.id())));
    const auto found = code->of_object(object->object);
    if (!found) return tl::unexpected<error>(found.error());
    function = *found;
  }
  if (code == nullptr)
    return fail(errc::invalid_argument, fmt::format("interpreter {} runs no Lua guest", number(owner.id())));
  return guarded([&] { return work(*code, function); });
}

} // namespace

void run_lua_code_work(host& owner, interpreter_id caller, call_id call, const std::optional<wire_ref>& target,
                       const lua_code_work& work) {
  no_references none; // a job's values are its own: no reference of the guest's gets among them
  answer_job(owner, caller, call, results_of(owner, target, work), none);
}

} // namespace Atoll
