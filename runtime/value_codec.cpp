#include "runtime/value_codec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace Atoll {

// -- encoding ----------------------------------------------------------------------------------------------------------

namespace {

constexpr std::size_t u32_max = std::numeric_limits<std::uint32_t>::max();

std::string path_step(const value& key) {
  if (const std::string* s = key.if_string()) return "." + *s;
  return fmt::format("[{}]", to_string(key));
}

} // namespace

result<void> value_encoder::put(const value& v) {
  const bool whole = encode(v, 0);
  if (out_.failed()) return tl::unexpected<error>(out_.failure());
  if (whole) return {};
  std::string_view path = path_;
  if (path.starts_with(' ')) path.remove_prefix(1);
  const char* subject = code_ == errc::not_shareable ? "not shareable: " : "";
  return fail(code_, fmt::format("{}{}{}{}", subject, path, path.empty() ? "" : ": ", refusal_));
}

bool value_encoder::refuse(std::string why, errc code) {
  refusal_ = std::move(why);
  code_ = code;
  path_.clear();
  return false;
}

bool value_encoder::encode(const value& v, int depth) {
  switch (v.type()) {
  case value::kind::nil: out_.put_nil(); break;
  case value::kind::boolean: out_.put_bool(*v.if_bool()); break;
  case value::kind::integer: out_.put_int(*v.if_integer()); break;
  case value::kind::number: out_.put_float(*v.if_number()); break;
  case value::kind::string: out_.put_string(*v.if_string()); break;
  case value::kind::table: return encode_table(*v.if_table(), depth);
  case value::kind::reference:
    if (references_.put(out_, *v.if_reference())) break;
    return refuse("a reference that was released or belongs to another interpreter's code");
  case value::kind::interpreter: out_.put_interpreter(*v.if_interpreter()); break;
  case value::kind::channel:
    if (references_.put_channel(out_, *v.if_channel())) break;
    return refuse("a channel of another runtime, or none");
  case value::kind::error:
    out_.put_tag(wire_tag::error_value);
    out_.put_error(*v.if_error());
    break;
  case value::kind::buffer:
    if (result<void> put = references_.put_buffer(out_, *v.if_buffer()); !put)
      return refuse(std::move(put.error().message), put.error().code);
    break;
  }
  return !out_.failed();
}

bool value_encoder::encode_table(const table& t, int depth) {
  const auto [at, fresh] = numbers_.emplace(t.identity(), static_cast<std::uint32_t>(numbers_.size()));
  if (!fresh) {
    if (leads_through_packed(t)) return refuse("leads back to what contains its packed object");
    out_.put_tag(wire_tag::table_again);
    out_.put_u32(at->second);
    return !out_.failed();
  }
  if (depth >= wire_depth_max) return refuse("tables nested too deep; send flatter data or a reference");
  if (t.items().size() > u32_max || t.pairs().size() > u32_max) return refuse("a table with over 2^32 entries");
  open_.push_back(t.identity());
  const bool whole = t.packed_class().empty() ? encode_entries(t, depth + 1) : encode_packed(t, depth + 1);
  open_.pop_back();
  return whole;
}

bool value_encoder::encode_entries(const table& t, int depth) {
  out_.put_tag(wire_tag::table);
  out_.put_u32(static_cast<std::uint32_t>(t.items().size()));
  out_.put_u32(static_cast<std::uint32_t>(t.pairs().size()));
  for (std::size_t i = 0; i < t.items().size(); ++i) {
    if (encode(t.items()[i], depth)) continue;
    path_.insert(0, fmt::format("[{}]", i + 1));
    return false;
  }
  for (const auto& [key, mapped] : t.pairs()) {
    if (!encode(key, depth)) {
      path_.insert(0, " (a key)");
      return false;
    }
    if (encode(mapped, depth)) continue;
    path_.insert(0, path_step(key));
    return false;
  }
  return true;
}

bool value_encoder::encode_packed(const table& t, int depth) {
  if (!t.pairs().empty()) return refuse("a packed object has items alone, no pairs");
  const std::size_t outer = std::exchange(open_packed_, open_.size());
  out_.put_tag(wire_tag::packed);
  out_.put_text(t.packed_class());
  out_.put_u32(static_cast<std::uint32_t>(t.items().size()));
  std::size_t i = 0;
  while (i < t.items().size() && encode(t.items()[i], depth)) ++i;
  open_packed_ = outer;
  if (i == t.items().size()) return true;
  path_.insert(0, fmt::format(" (value {} of class '{}')", i + 1, t.packed_class()));
  return false;
}

/// Its receiver would get at an object before it is whole.
bool value_encoder::leads_through_packed(const table& again) const {
  const auto end = open_.begin() + static_cast<std::ptrdiff_t>(open_packed_);
  return std::find(open_.begin(), end, again.identity()) != end;
}

// -- decoding ----------------------------------------------------------------------------------------------------------

namespace {

// Takes what a refused message still carries, and lets it go.
class releasing_visitor final : public wire_visitor {
public:
  explicit releasing_visitor(reference_codec& references) : references_(references) {}
  void on_reference(const wire_ref& r) override { references_.get(r); }
  void on_connection(std::uint64_t connection) override { references_.refuse_connection(connection); }
  void on_channel(channel_number channel) override { references_.get_channel(channel); }
  void on_buffer(const wire_slice& s) override { (void)references_.get_buffer(s); }

private:
  reference_codec& references_;
};

} // namespace

result<value> value_decoder::next() {
  value v = decode(0);
  if (refusal_.empty() && !in_.failed()) return v;
  if (refusal_.empty()) refusal_ = "it ends too early";
  if (!in_.failed()) {
    releasing_visitor releases(references_);
    walk_values(in_, releases);
  }
  in_.fail();
  return fail(code_, fmt::format("a message that cannot be read: {}", refusal_));
}

result<std::vector<value>> value_decoder::rest() {
  std::vector<value> values;
  while (!at_end()) {
    result<value> v = next();
    if (!v) return tl::unexpected<error>(std::move(v.error()));
    values.push_back(std::move(*v));
  }
  return values;
}

void value_decoder::refuse(std::string why, errc code) {
  if (!refusal_.empty()) return;
  refusal_ = std::move(why);
  code_ = code;
}

value value_decoder::decode_string(std::size_t bytes) { return std::string(in_.get_bytes(bytes)); }

value value_decoder::decode(int depth) {
  const std::uint8_t byte = in_.get_u8();
  if (byte >= static_cast<std::uint8_t>(wire_tag::small_int))
    return byte - static_cast<int>(wire_tag::small_int) + small_int_min;
  if (byte >= static_cast<std::uint8_t>(wire_tag::short_string))
    return decode_string(byte - static_cast<std::size_t>(wire_tag::short_string));
  switch (static_cast<wire_tag>(byte)) {
  case wire_tag::nil: return {};
  case wire_tag::false_value: return false;
  case wire_tag::true_value: return true;
  case wire_tag::int32: return in_.get_i32();
  case wire_tag::int64: return in_.get_i64();
  case wire_tag::float64: return in_.get_double();
  case wire_tag::string: return decode_string(in_.get_u32());
  case wire_tag::table: return decode_table(depth);
  case wire_tag::packed: return decode_packed(depth);
  case wire_tag::table_again: return decode_table_again();
  case wire_tag::reference: {
    const wire_ref r = in_.get_reference();
    if (in_.failed()) return {};
    reference taken = references_.get(r);
    return taken ? value(std::move(taken)) : value();
  }
  case wire_tag::interpreter: return interpreter_id{in_.get_u64()};
  case wire_tag::channel: {
    const channel_number number = in_.get_u64();
    if (in_.failed()) return {};
    any_channel taken = references_.get_channel(number);
    return taken ? value(std::move(taken)) : value();
  }
  case wire_tag::error_value: return in_.get_error();
  case wire_tag::connection: {
    const std::uint64_t connection = in_.get_u64();
    if (in_.failed()) return {};
    references_.refuse_connection(connection);
    refuse("a connection, which C++ values do not carry");
    return {};
  }
  case wire_tag::buffer: return decode_buffer();
  default: break;
  }
  refuse("a byte that starts no value");
  in_.fail();
  return {};
}

value value_decoder::decode_buffer() {
  const wire_slice s = in_.get_slice();
  if (in_.failed()) return {};
  result<value> taken = references_.get_buffer(s);
  if (taken) return std::move(*taken);
  refuse(std::move(taken.error().message), taken.error().code);
  return {};
}

value value_decoder::decode_table(int depth) {
  const std::uint32_t items = in_.get_u32();
  const std::uint32_t pairs = in_.get_u32();
  if (in_.failed()) return {};
  if (depth >= wire_depth_max) {
    refuse("tables nested too deep");
    return {};
  }
  // Every entry takes at least a byte: counts are checked before they cost memory.
  if (items + std::uint64_t{2} * pairs > in_.left()) {
    refuse("a table with more entries than bytes");
    return {};
  }
  table t = new_table();
  for (std::uint32_t i = 0; i < items; ++i) {
    t.append(decode(depth + 1));
    if (!refusal_.empty() || in_.failed()) return {};
  }
  for (std::uint32_t i = 0; i < pairs; ++i) {
    value key = decode(depth + 1);
    if (key.if_number() != nullptr && std::isnan(*key.if_number())) refuse("a key that is not a number");
    if (!refusal_.empty() || in_.failed()) return {};
    value mapped = decode(depth + 1);
    if (!refusal_.empty() || in_.failed()) return {};
    // A key whose object is gone reads as nil; its value goes with it.
    if (!key.is_nil()) t.add_pair(std::move(key), std::move(mapped));
  }
  return t;
}

table value_decoder::new_table() {
  table t = tables_.empty() ? table() : tables_.front().sibling();
  tables_.push_back(t);
  return t;
}

value value_decoder::decode_packed(int depth) {
  const std::string_view class_name = in_.get_text();
  const std::uint32_t n = in_.get_u32();
  if (in_.failed()) return {};
  if (depth >= wire_depth_max) {
    refuse("tables nested too deep");
    return {};
  }
  if (class_name.empty() || n > in_.left()) {
    refuse("a packed object without a class, or with more values than bytes");
    return {};
  }
  table t = new_table();
  t.set_packed_class(std::string(class_name));
  for (std::uint32_t i = 0; i < n; ++i) {
    t.append(decode(depth + 1));
    if (!refusal_.empty() || in_.failed()) return {};
  }
  return t;
}

value value_decoder::decode_table_again() {
  const std::uint32_t number = in_.get_u32();
  if (in_.failed()) return {};
  if (number < tables_.size()) return tables_[number];
  refuse("a table that was never sent");
  return {};
}

result<void> encode_values(wire_writer& out, reference_codec& references, std::span<const value> values) {
  value_encoder encoder(out, references);
  for (std::size_t i = 0; i < values.size(); ++i) {
    result<void> put = encoder.put(values[i]);
    if (put) continue;
    error e = std::move(put.error());
    if (values.size() > 1) e.message += fmt::format(" (value {} of {})", i + 1, values.size());
    return tl::unexpected<error>(std::move(e));
  }
  return {};
}

result<std::vector<value>> decode_values(wire_reader in, reference_codec& references) {
  return value_decoder(in, references).rest();
}

} // namespace Atoll
