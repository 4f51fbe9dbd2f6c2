#include "guests/native/native_job.hpp"

#include <fmt/format.h>

#include "guests/native/native_guest.hpp"

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
  native_results results = results_of(owner, target, work, guest);
  if (results) {
    wire_writer& w = owner.open_message(caller, record_kind::reply);
    w.put_u64(call);
    result<void> sent = guest != nullptr ? encode_values(w, guest->context().references(), *results) : result<void>();
    if (sent && owner.commit() <= send_status::crowded) return;
    owner.rollback();
    results = sent ? fail(errc::out_of_memory, "no memory for the answer") : tl::unexpected<error>(sent.error());
  }
  error why = std::move(results.error());
  why.interpreter = owner.id();
  why.interpreter_name = owner.name();
  wire_writer& w = owner.open_message(caller, record_kind::reply_error);
  w.put_u64(call);
  w.put_error(why);
  if (owner.commit() > send_status::crowded) owner.rollback();
}

} // namespace Atoll
