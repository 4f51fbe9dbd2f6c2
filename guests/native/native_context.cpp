#include "guests/native/native_context.hpp"

#include <fmt/format.h>

#include "channels/channel_desk.hpp"
#include "channels/channel_value.hpp"
#include "runtime/references.hpp"

namespace Atoll {

heap& detail::memory_of(native_context& c) noexcept { return c.outside().memory(); }

std::string foreign_ref::describe() const {
  if (!*this) return "released reference";
  const host& outside = space_->outside;
  const auto owner = outside.look_up(id().owner);
  return fmt::format("reference to {} {} of interpreter {}", outside.type_name(space_->table->type_of(import_)),
                     id().slot, number_and_name(id().owner, owner ? owner->name : ""));
}

type_id native_codec::type_of(const object_class& cls) {
  if (&cls == last_class_) return last_type_;
  last_class_ = &cls;
  return last_type_ = host_.type_named(cls.name);
}

bool native_codec::put(wire_writer& out, const reference& r) {
  if (out.failed()) return true;
  if (const auto* own = r.as<own_holder>()) {
    object& o = own->held();
    if (o.export_slot == object::not_exported) {
      o.export_slot = host_.exports().add(word_of(o), type_of(*o.cls));
      retain(o); // until native_guest::drop
    }
    put_exported(out, host_.exports(), o.export_slot);
    return true;
  }
  const auto* foreign = r.as<foreign_holder>();
  if (foreign == nullptr || !foreign->held()) return false;
  put_imported(out, host_.imports(), foreign->held().import());
  return true;
}

reference native_codec::get(const wire_ref& r) {
  const auto got = host_.receive_reference(r);
  if (!got) return {};
  if (got->own) return reference_to(object_of(got->object));
  return reference(std::make_shared<foreign_holder>(foreign_ref(foreign_, got->import)));
}

bool native_codec::put_channel(wire_writer& out, const any_channel& c) {
  return out.failed() || Atoll::put_channel(out, host_.channels().space(), c);
}

any_channel native_codec::get_channel(channel_number number) {
  return Atoll::get_channel(host_.channels().space(), number);
}

result<void> native_context::at_exit(std::function<void(native_context&)> f) {
  if (!f) return fail(errc::invalid_argument, "at_exit: a function expected");
  return add_exit_handler([f = std::move(f)](native_context& c) {
    f(c);
    return native_task<>();
  });
}

result<void> native_context::add_exit_handler(exit_handler f) {
  if (exit_handlers_over_)
    return fail(errc::runtime_finalizing, "at_exit: the exit handlers of this interpreter have run");
  exit_handlers_.push_back(std::move(f));
  return {};
}

result<native_finalizer> native_context::finalizer(std::function<void(native_context&)> f, int priority) {
  native_finalizers::function run;
  if (f) run = [f = std::move(f)](native_context& c, object*) { f(c); };
  return named(finalizers_.add(nullptr, std::move(run), priority));
}

result<native_finalizer> native_context::named(result<native_finalizers::id> made) {
  if (!made) return tl::unexpected<error>(std::move(made.error()));
  return native_finalizer(finalizers_, *made);
}

} // namespace Atoll
