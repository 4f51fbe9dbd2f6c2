#include "guests/native/native_job.hpp"

#include <fmt/format.h>

#include "guests/native/native_guest.hpp"
#include "runtime/job.hpp"

namespace Atoll {

namespace {

native_results results_of(host& owner, const std::optional<wire_ref>& target, const native_work& work,
                          native_guest* guest) {
  std::optional<own_holder> held;
  if (target) {
    const auto object = owner.receive_reference(*target);
    if (!object || !object->own || guest == nullptr)
      return fail(errc::reference_released, fmt::format("interpreter {} has no such object", number(owner.id())));
    held.emplace(object_of(object->object));
  }
  if (guest == nullptr)
    return fail(errc::invalid_argument, fmt::format("interpreter {} runs no native guest", number(owner.id())));
  return guarded([&] { return work(guest->context(), held ? &held->held() : nullptr); });
}

} // namespace

void run_native_work(host& owner, interpreter_id caller, call_id call, const std::optional<wire_ref>& target,
                     const native_work& work) {
  auto* const guest = dynamic_cast<native_guest*>(owner.program());
  const native_results results = results_of(owner, target, work, guest);
  no_references none; // nor values, when there is no guest
  answer_job(owner, caller, call, results,
             guest != nullptr ? static_cast<reference_codec&>(guest->context().references()) : none);
}

} // namespace Atoll
