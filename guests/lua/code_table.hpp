// Which code object belongs to which prototype of this guest, and when it dies.
// Why: Lua tells nobody that a prototype was collected. But every byte of it comes from the interpreter's heap: once a
// code object is asked for, an allocator that looks at blocks of a prototype's size takes the place of the plain one.
// Where closures keep their prototype, and how large it is, is found out by experiment (learn), not from Lua's headers.
// Ownership: lua_guest. Threads: owner only.
// Invariants: (1) an entry's prototype is alive. (2) no guest code and no Lua API call happens while `dying_`.
#pragma once

#include <lua5.4/lua.hpp>
#include <memory>
#include <unordered_map>

#include "guests/lua/lua_code.hpp"

namespace Atoll {

class lua_guest;

class code_table final : public lua_code {
public:
  explicit code_table(lua_guest& g);

  code_extra_registry& registry() noexcept override { return registry_; }
  result<code_object*> of_interface(std::string_view function) override;
  result<code_object*> of_object(guest_word exported) override;
  result<code_object*> of_running(lua_State* L, int level) override;

  /// Finds out how this Lua lays out its functions, and watches them die. False: it has no memory, or is strange.
  bool watch();
  /// Somebody asked for code objects, which may be told of their end.
  bool watches() const noexcept { return prototype_bytes_ != 0; }
  /// The function at `index`, which must be one of Lua; watch() was true. Null: no memory. Raises nothing.
  code_object* find(lua_State* L, int index) noexcept;
  /// The guest is closed without its collector: everything dies.
  void clear() noexcept;

private:
  result<code_object*> at_top(lua_State* L);
  result<void> ready();
  static void* allocate(void* table, void* p, std::size_t old_bytes, std::size_t new_bytes);
  [[gnu::noinline]] static void* free_watched(code_table& t, void* p);
  void died(const void* prototype) noexcept;

  lua_guest& guest_;
  code_extra_registry registry_;
  std::unordered_map<const void*, std::unique_ptr<code_object>> objects_;
  heap* memory_ = nullptr;          // the interpreter's, at hand: allocate() is called for every block there is
  std::size_t offset_ = 0;          // of the prototype in a closure
  std::size_t prototype_bytes_ = 0; // 0: nothing is watched
  bool dying_ = false;
};

} // namespace Atoll
