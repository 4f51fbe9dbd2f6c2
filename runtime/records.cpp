#include "runtime/records.hpp"

namespace Atoll {

void put_figures(wire_writer& w, const std::vector<std::pair<std::string, double>>& figures) {
  w.put_tag(wire_tag::table);
  w.put_u32(0);
  w.put_u32(static_cast<std::uint32_t>(figures.size()));
  for (const auto& [name, value] : figures) {
    w.put_string(name);
    const auto whole = static_cast<std::int64_t>(value);
    if (static_cast<double>(whole) == value) {
      w.put_int(whole);
    } else {
      w.put_float(value);
    }
  }
}

bool walk_record(record& r, record_visitor& visitor) {
  wire_reader& in = r.body;
  switch (r.kind) {
  case record_kind::send: in.get_text(); return walk_values(in, visitor);
  case record_kind::call:
  case record_kind::eval:
    visitor.on_call(in.get_u64());
    in.get_text();
    return walk_values(in, visitor);
  case record_kind::start:
    visitor.on_call(in.get_u64());
    in.get_u8();
    in.get_text();
    in.get_text();
    return walk_values(in, visitor);
  case record_kind::invoke: {
    const call_id call = in.get_u64();
    if (call != 0) visitor.on_call(call);
    in.get_u8();
    const wire_ref target = in.get_reference();
    if (!in.failed()) visitor.on_reference(target);
    in.get_text();
    return walk_values(in, visitor);
  }
  case record_kind::reply: in.get_u64(); return walk_values(in, visitor);
  case record_kind::stop:
  case record_kind::stats:
    if (const call_id call = in.get_u64(); call != 0) visitor.on_call(call);
    return !in.failed();
  case record_kind::net_accepted:
    in.get_u64();
    visitor.on_connection(in.get_u64());
    return !in.failed();
  default: return true;
  }
}

} // namespace Atoll
