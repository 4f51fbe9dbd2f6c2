#include "runtime/wire.hpp"

#include <fmt/format.h>

namespace Atoll {

namespace {

constexpr std::size_t target_bytes = 30;
constexpr std::size_t decref_bytes = 16;
constexpr std::size_t slice_bytes = 25;
constexpr unsigned slice_writable = 1;
constexpr unsigned slice_moved = 2;

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

error wire_writer::failure() const {
  error e;
  e.code = too_large_ ? errc::not_shareable : errc::out_of_memory;
  if (!too_large_) {
    e.message = "no memory for the message";
  } else if (record_limit_ == record_bytes_max) {
    e.message = "not shareable: the message is larger than 1 GiB, the most that crosses at once; send it in parts";
  } else {
    e.message = fmt::format(
        "not shareable: the message is larger than {} bytes, the most that crosses at once; send it in parts",
        record_limit_);
  }
  return e;
}

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

bool wire_writer::put_slice(const wire_slice& s) noexcept {
  std::uint8_t* p = room(1 + slice_bytes);
  if (p == nullptr) return false;
  p = append(p, static_cast<std::uint8_t>(wire_tag::buffer));
  p = append(p, s.block);
  p = append(p, s.offset);
  p = append(p, s.length);
  append(p, static_cast<std::uint8_t>((s.writable ? slice_writable : 0U) | (s.moved ? slice_moved : 0U)));
  return true;
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
  const auto cut = [](std::string_view text) { return text.substr(0, error_text_max); };
  put_u8(static_cast<std::uint8_t>(e.code));
  put_text(cut(e.message));
  put_text(cut(e.traceback));
  put_u64(number(e.interpreter));
  put_text(cut(e.interpreter_name));
  put_text(e.payload.size() <= error_payload_max ? std::string_view(e.payload) : std::string_view());
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

wire_slice wire_reader::get_slice() noexcept {
  wire_slice s;
  s.block = get_u64();
  s.offset = get_u64();
  s.length = get_u64();
  const unsigned flags = get_u8();
  s.writable = (flags & slice_writable) != 0;
  s.moved = (flags & slice_moved) != 0;
  return s;
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
    case wire_tag::packed:
      in.get_text();
      in.get_u32(); // its values follow, as a table's items
      break;
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
    case wire_tag::channel: {
      const channel_number c = in.get_u64();
      if (!in.failed()) visitor.on_channel(c);
      break;
    }
    case wire_tag::buffer: {
      const wire_slice s = in.get_slice();
      if (!in.failed()) visitor.on_buffer(s);
      break;
    }
    default: in.fail(); break;
    }
  }
  return !in.failed();
}

} // namespace Atoll
