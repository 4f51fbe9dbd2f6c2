#include "runtime/wire.hpp"

namespace Atoll {

namespace {

constexpr std::size_t target_bytes = 30;
constexpr std::size_t decref_bytes = 16;

template <class T>
std::uint8_t* append(std::uint8_t* at, T v) noexcept {
  std::memcpy(at, &v, sizeof v);
  return at + sizeof v;
}

void write_target(std::uint8_t* at, const wire_ref& r) noexcept {
  at = append(at, number(r.id.owner));
  at = append(at, r.id.slot);
  at = append(at, r.id.generation);
  at = append(at, r.credit);
  at = append(at, number(r.lender));
  append(at, r.type);
}

} // namespace

bool wire_writer::put_reference(const wire_ref& r) noexcept {
  std::uint8_t* p = room(1 + target_bytes);
  if (p == nullptr) return false;
  *p = static_cast<std::uint8_t>(wire_tag::reference);
  write_target(p + 1, r);
  return true;
}

bool wire_writer::put_target(const wire_ref& r) noexcept {
  std::uint8_t* p = room(target_bytes);
  if (p != nullptr) write_target(p, r);
  return p != nullptr;
}

void wire_writer::put_decrefs(const decref_run* runs, std::size_t n) noexcept {
  std::uint8_t* p = room(n * decref_bytes);
  if (p == nullptr) return;
  for (std::size_t i = 0; i < n; ++i) {
    p = append(p, runs[i].slot);
    p = append(p, runs[i].generation);
    p = append(p, runs[i].credit);
    p = append(p, runs[i].count);
  }
}

void wire_writer::put_error(const error& e) noexcept {
  put_u8(static_cast<std::uint8_t>(e.code));
  put_text(e.message);
  put_text(e.traceback);
  put_u64(number(e.interpreter));
  put_text(e.interpreter_name);
  put_text(e.payload);
}

object_id wire_reader::get_object_id() noexcept {
  object_id id;
  id.owner = interpreter_id{get_u64()};
  id.slot = get_u32();
  id.generation = get_u32();
  return id;
}

wire_ref wire_reader::get_reference() noexcept {
  wire_ref r;
  r.id = get_object_id();
  r.credit = get_u32();
  r.lender = interpreter_id{get_u64()};
  r.type = type_id{get_u16()};
  return r;
}

decref_run wire_reader::get_decrefs(interpreter_id owner) noexcept {
  decref_run run;
  run.owner = owner;
  run.slot = get_u32();
  run.generation = get_u32();
  run.credit = get_u32();
  run.count = get_u32();
  return run;
}

error wire_reader::get_error() {
  error e;
  e.code = static_cast<errc>(get_u8());
  e.message = get_text();
  e.traceback = get_text();
  e.interpreter = interpreter_id{get_u64()};
  e.interpreter_name = get_text();
  e.payload = get_text();
  return e;
}

bool walk_values(wire_reader& in, wire_visitor& visitor) {
  while (!in.at_end()) {
    const std::uint8_t byte = in.get_u8();
    if (byte >= static_cast<std::uint8_t>(wire_tag::small_int)) continue;
    if (byte >= static_cast<std::uint8_t>(wire_tag::short_string)) {
      in.get_bytes(byte - static_cast<std::size_t>(wire_tag::short_string));
      continue;
    }
    switch (static_cast<wire_tag>(byte)) {
    case wire_tag::nil:
    case wire_tag::false_value:
    case wire_tag::true_value: break;
    case wire_tag::int32:
    case wire_tag::table_again: in.get_u32(); break;
    case wire_tag::int64:
    case wire_tag::float64:
    case wire_tag::interpreter:
    case wire_tag::table: in.get_u64(); break; // a table's items follow as values of their own
    case wire_tag::string: in.get_text(); break;
    case wire_tag::error_value: {
      // An error's payload is an encoding of its own, without references (see error::payload).
      in.get_error();
      break;
    }
    case wire_tag::reference: {
      const wire_ref r = in.get_reference();
      if (!in.failed()) visitor.on_reference(r);
      break;
    }
    case wire_tag::connection: {
      const std::uint64_t c = in.get_u64();
      if (!in.failed()) visitor.on_connection(c);
      break;
    }
    default: in.fail(); break;
    }
  }
  return !in.failed();
}

} // namespace Atoll
