// The code objects of a Lua guest, for tools written in C++: profilers, coverage, whatever keeps data per function.
// Why: a code object is a function's prototype, which all closures of it share, and not the chunk alone: a tool that
// counts wants to know which function it counts, and a chunk is a prototype as well, the one its functions are in.
// Ownership: the guest owns registry and code objects. A code object lives until the collector takes its prototype: no
// closure of it is left, here or exported, and no enclosing code either; at the latest until the guest is closed.
// Threads: owner only, in its turn: from a job (with_code, include/atoll/lua.hpp), or from a C function of Lua's.
// Invariants: (1) free functions run in the owner's turn, most often inside the collector: they may not use lua_code
//                 or the Lua state. They may free, count, and let go of code_objects and references of their own.
//             (2) a guest none of whose code was asked for pays nothing.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "runtime/code.hpp"
#include "runtime/host.hpp"
#include "runtime/value.hpp"

struct lua_State;

namespace Atoll {

class lua_code {
public:
  virtual code_extra_registry& registry() noexcept = 0;
  // invalid_argument: there is no such function, or it is written in C.
  /// A function of the interpreter's interface.
  virtual result<code_object*> of_interface(std::string_view function) = 0;
  /// An exported function, as a reference names it.
  virtual result<code_object*> of_object(guest_word exported) = 0;
  /// The function that runs at a level of a Lua state of this guest; 0 is the innermost.
  virtual result<code_object*> of_running(lua_State* L, int level) = 0;

protected:
  ~lua_code() = default;
};

/// Null for a guest that is not Lua, and for none.
lua_code* code_of(guest* program);

/// What a job does with the code: its second argument is that of the function it is for, null when it is for none.
using lua_code_work = std::function<result<std::vector<value>>(lua_code&, code_object*)>;

/// Runs `work` in the turn of `owner` and answers `call` of `caller` with the values, which may hold no reference. The
/// target's credit, or loan, comes home first.
void run_lua_code_work(host& owner, interpreter_id caller, call_id call, const std::optional<wire_ref>& target,
                       const lua_code_work& work);

} // namespace Atoll
