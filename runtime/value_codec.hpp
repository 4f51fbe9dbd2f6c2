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
  bool refuse(const char* why);

  wire_writer& out_;
  reference_codec& references_;
  std::unordered_map<const table_node*, std::uint32_t> numbers_;
  std::string path_; // grows from the inside out while a refusal unwinds
  std::string refusal_;
};

class value_decoder {
public:
  value_decoder(wire_reader in, reference_codec& references) noexcept : in_(in), references_(references) {}

  bool at_end() const noexcept { return in_.at_end(); }
  /// The next value. After bad_message the decoder is at its end.
  result<value> next();
  /// All values that are left.
  result<std::vector<value>> rest();

private:
  value decode(int depth);
  value decode_string(std::size_t bytes);
  value decode_table(int depth);
  value decode_table_again();
  void refuse(const char* why);

  wire_reader in_;
  reference_codec& references_;
  std::vector<table> tables_; // by number
  const char* refusal_ = nullptr;
};

/// A whole argument or result list.
result<void> encode_values(wire_writer& out, reference_codec& references, std::span<const value> values);
result<std::vector<value>> decode_values(wire_reader in, reference_codec& references);

} // namespace Atoll
