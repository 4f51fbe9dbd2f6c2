#include "guests/native/native_operations.hpp"

#include <fmt/format.h>

#include "runtime/references.hpp"

namespace Atoll {

namespace {

std::string name_of_interpreter(const host& outside, interpreter_id who) {
  const auto known = outside.look_up(who);
  return fmt::format("interpreter {}", number_and_name(who, known ? known->name : ""));
}

void write_head(wire_writer& w, host& outside, const native_target& to, std::string_view name, call_id call) {
  if (to.object() != nullptr) {
    w.put_u64(call);
    w.put_u8(static_cast<std::uint8_t>(invoke_op::method));
    put_imported_target(w, outside.imports(), to.object()->import());
  } else if (call != 0) {
    w.put_u64(call);
  }
  w.put_text(name);
}

record_kind kind_of(const native_target& to, call_id call) noexcept {
  if (to.object() != nullptr) return record_kind::invoke;
  return call != 0 ? record_kind::call : record_kind::send;
}

} // namespace

result<send_status> send_message(native_tasks& from, const native_target& to, std::string_view name,
                                 std::span<const value> args, call_id call) {
  if (to.object() != nullptr && !*to.object())
    return fail(errc::reference_released, fmt::format("{}: the reference was released", name));
  host& outside = from.outside();
  wire_writer& w = outside.open_message(to.interpreter(), kind_of(to, call));
  write_head(w, outside, to, name, call);
  const result<void> written = encode_values(w, from.references(), args);
  const send_status sent = written ? outside.commit() : send_status::no_memory;
  if (sent <= send_status::crowded) return sent;
  outside.rollback();
  if (!written) return tl::unexpected<error>(written.error());
  if (sent == send_status::no_memory) return fail(errc::out_of_memory, "no memory for the message");
  return fail(errc::interpreter_gone, fmt::format("interpreter {} is gone", number(to.interpreter())));
}

result<void> answer_wait::ask(native_tasks& all, guest_word token, const native_target& to, std::string_view name,
                              std::span<const value> args) {
  to_ = to.interpreter();
  call_ = all.outside().open_call(token);
  const result<send_status> sent = send_message(all, to, name, args, call_);
  if (sent) return {};
  all.outside().forget_call(call_);
  return tl::unexpected<error>(sent.error());
}

std::string answer_wait::text(native_tasks& all) const {
  return fmt::format("the answer of {}", name_of_interpreter(all.outside(), to_));
}

std::optional<result<void>> room_operation::begin(native_tasks& all, guest_word token, const native_target& to,
                                                  std::string_view name, std::span<const value> args) {
  to_ = to.interpreter();
  const result<send_status> sent = send_message(all, to, name, args);
  if (!sent) return tl::unexpected<error>(sent.error());
  if (*sent == send_status::sent) return result<void>();
  all.outside().await_room(to_, token);
  return std::nullopt;
}

std::optional<result<interpreter_id>> birth_operation::begin(native_tasks& all, guest_word token,
                                                             const spawn_options& options, const source& from,
                                                             std::span<const value> args) {
  result<void> written;
  result<interpreter_id> born = all.outside().spawn(
      options, from,
      [&](wire_writer& w) {
        written = encode_values(w, all.references(), args);
        return written.has_value();
      },
      token);
  if (!written) return tl::unexpected<error>(std::move(written.error()));
  if (!born) return tl::unexpected<error>(std::move(born.error()));
  child_ = *born;
  return std::nullopt;
}

std::string birth_operation::text(native_tasks& all) const {
  return fmt::format("the start of {}", name_of_interpreter(all.outside(), child_));
}

std::string room_operation::text(native_tasks& all) const {
  return fmt::format("room at {}", name_of_interpreter(all.outside(), to_));
}

} // namespace Atoll
