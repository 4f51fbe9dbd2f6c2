// C++ work that another thread sends into a native interpreter: how it runs there and how its results go back.
// Why: a typed call needs no method's name and no encoded arguments; its results still cross as every message does.
// Threads: owner only, in its turn.
#pragma once

#include "guests/native/native_call.hpp"
#include "guests/native/native_context.hpp"

namespace Atoll {

/// What runs: with the object it is for, null when it is for none.
using native_work = std::function<native_reply(native_context&, object*)>;

/// Runs `work` in the turn of `owner` and answers `call` of `caller`, when its task has ended if it makes one
/// (interpreter_gone when the owner ends first). The target's credit, or loan, comes home first.
/// Refused with invalid_argument when the owner's guest is not native, reference_released when the target is stale.
void run_native_work(host& owner, interpreter_id caller, call_id call, const std::optional<wire_ref>& target,
                     const native_work& work);

} // namespace Atoll
