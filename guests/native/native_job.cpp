#include "guests/native/native_job.hpp"

#include <fmt/format.h>

#include "guests/native/native_guest.hpp"
#include "runtime/job.hpp"

namespace Atoll {

namespace {

/// The task of such work; the one who asked is answered, whatever becomes of it.
class job_root final : public native_root {
public:
  job_root(native_context& context, interpreter_id caller, call_id call, object* target,
           native_task<native_results> task)
      : context_(context), caller_(caller), call_(call), task_(std::move(task)) {
    if (target != nullptr) target_.emplace(*target);
  }
  ~job_root() override {
    if (answered_) return;
    try {
      answer(fail(errc::interpreter_gone, fmt::format("interpreter {} ended before it could answer",
                                                      number_and_name(context_.id(), context_.name()))));
    } catch (const std::bad_alloc&) {
      // The host threads' port fails what is still open when the runtime ends.
    }
  }

private:
  std::coroutine_handle<> begin(native_root*& ended) noexcept override { return task_.begin(*this, ended); }
  void ended() override {
    answer(guarded([&] { return task_.take(); }));
  }
  void answer(const native_results& results) {
    answered_ = true;
    answer_job(context_.outside(), caller_, call_, results, context_.references());
  }

  native_context& context_;
  interpreter_id caller_;
  call_id call_;
  bool answered_ = false;
  std::optional<own_holder> target_; // destroyed after the task that uses it
  native_task<native_results> task_;
};

native_reply reply_of(host& owner, const std::optional<own_holder>& target, const native_work& work,
                      native_guest* guest) {
  if (guest == nullptr)
    return fail(errc::invalid_argument, fmt::format("interpreter {} runs no native guest", number(owner.id())));
  return guarded_reply([&] { return work(guest->context(), target ? &target->held() : nullptr); });
}

} // namespace

void run_native_work(host& owner, interpreter_id caller, call_id call, const std::optional<wire_ref>& target,
                     const native_work& work) {
  auto* const guest = dynamic_cast<native_guest*>(owner.program());
  std::optional<own_holder> held;
  bool stale = false;
  if (target) {
    const auto object = owner.receive_reference(*target);
    stale = !object || !object->own || guest == nullptr;
    if (!stale) held.emplace(object_of(object->object));
  }
  native_reply reply =
      stale ? fail(errc::reference_released, fmt::format("interpreter {} has no such object", number(owner.id())))
            : reply_of(owner, held, work, guest);
  if (auto* const task = std::get_if<native_task<native_results>>(&reply)) {
    native_context& c = guest->context();
    return c.tasks().start(
        std::make_unique<job_root>(c, caller, call, held ? &held->held() : nullptr, std::move(*task)));
  }
  no_references none; // nor values, when there is no guest
  answer_job(owner, caller, call, std::get<native_results>(reply),
             guest != nullptr ? static_cast<reference_codec&>(guest->context().references()) : none);
}

} // namespace Atoll
