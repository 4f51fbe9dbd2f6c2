#include "guests/native/native_context.hpp"

#include <fmt/format.h>

#include "runtime/references.hpp"

namespace Atoll {

namespace {

result<void> committed(send_status status, interpreter_id to) {
  switch (status) {
  case send_status::sent:
  case send_status::crowded: return {};
  case send_status::no_memory: return fail(errc::out_of_memory, "no memory for the message");
  case send_status::gone: break;
  }
  return fail(errc::interpreter_gone, fmt::format("interpreter {} is gone", number(to)));
}

} // namespace

std::string foreign_ref::describe() const {
  if (!*this) return "released reference";
  const host& outside = space_->outside;
  const auto owner = outside.look_up(id().owner);
  return fmt::format("reference to {} {} of interpreter {}", outside.type_name(space_->table.type_of(import_)),
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

result<void> native_context::at_exit(exit_handler f) {
  if (!f) return fail(errc::invalid_argument, "at_exit: a function expected");
  if (exit_handlers_over_)
    return fail(errc::runtime_finalizing, "at_exit: the exit handlers of this interpreter have run");
  exit_handlers_.push_back(std::move(f));
  return {};
}

result<native_finalizer> native_context::finalizer(exit_handler f, int priority) {
  native_finalizers::function run;
  if (f) run = [f = std::move(f)](native_context& c, object*) { f(c); };
  return named(finalizers_.add(nullptr, std::move(run), priority));
}

result<native_finalizer> native_context::named(result<native_finalizers::id> made) {
  if (!made) return tl::unexpected<error>(std::move(made.error()));
  return native_finalizer(finalizers_, *made);
}

result<void> native_context::send_values(interpreter_id to, std::string_view function, std::span<const value> args) {
  wire_writer& w = host_.open_message(to, record_kind::send);
  w.put_text(function);
  return finish(w, args, to);
}

result<void> native_context::send_values(const foreign_ref& to, std::string_view method, std::span<const value> args) {
  if (!to) return fail(errc::reference_released, fmt::format("{}: the reference was released", method));
  const interpreter_id owner = to.id().owner;
  wire_writer& w = host_.open_message(owner, record_kind::invoke);
  w.put_u64(0);
  w.put_u8(static_cast<std::uint8_t>(invoke_op::method));
  put_imported_target(w, host_.imports(), to.import());
  w.put_text(method);
  return finish(w, args, owner);
}

result<void> native_context::finish(wire_writer& w, std::span<const value> args, interpreter_id to) {
  result<void> done = encode_values(w, codec_, args);
  if (done) done = committed(host_.commit(), to);
  if (!done) host_.rollback();
  return done;
}

} // namespace Atoll
