// C++ values to and from the flat encoding (runtime/wire.hpp).
// Why: tables are numbered over a whole message, so its values go through one encoder and come from one decoder.
// Ownership: both borrow the buffer and the codec for their life.
// Threads: owner only.
// Invariants: (1) an encoder's failure leaves half a message: the caller rolls it back, with the credit it took.
//             (2) a decoder accounts for every reference in the bytes it was given: it is in a value, or it was taken
//                 through the codec and let go. Bytes that can't be read end that: what lies behind them is lost.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "runtime/value.hpp"
#include "runtime/wire.hpp"

namespace Atoll {

/// How references of this kind of holder enter and leave messages.
class reference_codec {
public:
  /// Writes the reference with credit or a loan (wire_writer::put_reference); false when it can't cross from here.
  virtual bool put(wire_writer& out, const reference& r) = 0;
  /// Takes what the message carried. An empty reference stands for an object that is gone: it is read as nil.
  virtual reference get(const wire_ref& r) = 0;
  /// The same for channels. An empty one stands for a number that names none: it is read as nil.
  virtual bool put_channel(wire_writer& /*out*/, const any_channel&) { return false; }
  virtual any_channel get_channel(channel_number) { return {}; }
  /// Writes a buffer with a hold on its block, or says why it cannot cross.
  virtual result<void> put_buffer(wire_writer&, const buffer_holder&) {
    return fail(errc::not_shareable, "a buffer, which cannot cross from here");
  }
  /// Takes what the message carried, or says why that failed; the hold is given back then.
  virtual result<value> get_buffer(const wire_slice&) { return fail(errc::bad_message, "a buffer where none may be"); }
  /// A TCP connection moved here, and C++ values have no form for it: close it.
  virtual void refuse_connection(std::uint64_t /*connection*/) {}

protected:
  ~reference_codec() = default;
};

/// Where none may cross.
struct no_references final : reference_codec {
  bool put(wire_writer&, const reference&) override { return false; }
  reference get(const wire_ref&) override { return {}; }
};

class value_encoder {
public:
  value_encoder(wire_writer& out, reference_codec& references) noexcept : out_(out), references_(references) {}

  /// not_shareable with the path to what can't cross, or out_of_memory.
  result<void> put(const value& v);

private:
  bool encode(const value& v, int depth);
  bool encode_table(const table& t, int depth);
  bool encode_entries(const table& t, int depth);
  bool encode_packed(const table& t, int depth);
  bool leads_through_packed(const table& again) const;
  bool refuse(std::string why, errc code = errc::not_shareable);

  wire_writer& out_;
  reference_codec& references_;
  std::unordered_map<const table_node*, std::uint32_t> numbers_;
  std::vector<const table_node*> open_; // the tables around what is being written
  std::size_t open_packed_ = 0;         // of them, those up to the innermost packed one
  std::string path_;                    // grows from the inside out while a refusal unwinds
  std::string refusal_;
  errc code_ = errc::not_shareable;
};

class value_decoder {
public:
  value_decoder(wire_reader in, reference_codec& references) noexcept : in_(in), references_(references) {}

  bool at_end() const noexcept { return in_.at_end(); }
  /// The next value; bad_message, or why a buffer could not be taken. After that the decoder is at its end.
  result<value> next();
  /// All values that are left.
  result<std::vector<value>> rest();

private:
  value decode(int depth);
  value decode_string(std::size_t bytes);
  value decode_table(int depth);
  value decode_packed(int depth);
  table new_table();
  value decode_table_again();
  value decode_buffer();
  void refuse(std::string why, errc code = errc::bad_message);

  wire_reader in_;
  reference_codec& references_;
  std::vector<table> tables_; // by number
  std::string refusal_;       // empty: none
  errc code_ = errc::bad_message;
};

/// A whole argument or result list.
result<void> encode_values(wire_writer& out, reference_codec& references, std::span<const value> values);
result<std::vector<value>> decode_values(wire_reader in, reference_codec& references);

} // namespace Atoll
