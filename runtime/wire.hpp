// The flat encoding: how values and protocol words lie in an envelope's bytes.
// Why: one pass writes a message straight into the envelope, one pass reads it; no object graph, no node allocation.
// Ownership: a writer borrows its buffer (channels/envelope.hpp owns it); a reader borrows the bytes it reads.
// Threads: owner only. The bytes themselves may move between threads with their envelope.
// Invariants: (1) a reader never reads past its end: a bad byte sets failed(), it never crashes.
//             (2) every reference that stands in the bytes carries credit or a loan (DESIGN rule 7), so bytes that are
//                 thrown away must be walked first (walk_values below).
//             (3) a writer out of memory, or beyond the record's limit, sets failed() and swallows what follows; the record is
//                 then rolled back.
//
// A value is a tag byte and what the tag asks for. Numbers are little-endian, unaligned.
//   0x40..0x7f  string of 0..63 bytes         0x80..0xff  integer -32..95
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "runtime/errors.hpp"
#include "runtime/ids.hpp"

namespace Atoll {

enum class wire_tag : std::uint8_t {
  nil = 0x00,
  false_value,
  true_value,
  int32,       // 4 bytes
  int64,       // 8 bytes
  float64,     // 8 bytes
  string,      // u32 length, bytes
  table,       // u32 array length, u32 pairs; items; then key, value. Tables are numbered in order of appearance
  table_again, // u32: the number of a table or packed object seen before in this message (shared subtables, cycles)
  reference,   // a wire_ref
  interpreter, // u64 id
  error_value, // an error (put_error)
  connection,  // u64: a TCP connection that moves to the receiver
  buffer,      // a wire_slice
  channel,     // u64: a handle of a channel, counted by the runtime's channels while it stands here
  packed,      // text class, u32 count; values. An object in its class's own form, numbered as tables are
  short_string = 0x40,
  small_int = 0x80,
};

inline constexpr std::int64_t small_int_min = -32;
inline constexpr std::int64_t small_int_max = 95;
inline constexpr std::size_t short_string_max = 63;
/// Tables nested deeper than this are refused, by writers and by readers.
inline constexpr int wire_depth_max = 200;
/// Larger records are refused: their lengths, and all counts in them, then fit u32 and int.
inline constexpr std::size_t record_bytes_max = std::size_t{1} << 30U;

/// Longer texts of errors are cut, larger payloads left out: an error can always be told.
inline constexpr std::size_t error_text_max = std::size_t{1} << 20U;
inline constexpr std::size_t error_payload_max = 64 * error_text_max;

/// A reference as it stands in a message: the object, and either credit (> 0) or the interpreter that lent it (credit 0).
struct wire_ref {
  object_id id;
  std::uint32_t credit = 0;
  interpreter_id lender{};
  type_id type{}; // of the object: to tell, not to trust
};

/// A part of a shared block as it stands in a message (channels/buffer_space.hpp). It counts as a hold on the block.
struct wire_slice {
  std::uint64_t block = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool writable = false;
  bool moved = false; // with it the block itself changes hands
};

/// What a holder gives back: the same credit for each of `count` objects in neighbouring slots of one generation. Objects
/// that were exported together are mostly dropped together, so a million of them is often one run.
struct decref_run {
  interpreter_id owner{};
  std::uint32_t slot = 0; // the first one's
  std::uint32_t generation = 0;
  std::uint32_t credit = 0; // for each
  std::uint32_t count = 0;

  /// Takes the object in, if it lies at either end of this run.
  bool extend(const object_id& id, std::uint32_t each) noexcept {
    if (id.owner != owner || id.generation != generation || each != credit) return false;
    if (id.slot == slot + count) {
      ++count;
      return true;
    }
    if (id.slot + 1 != slot) return false;
    slot = id.slot;
    ++count;
    return true;
  }
};

/// Appends to a growable buffer. Derive from it to say where the bytes come from.
class wire_writer {
public:
  wire_writer(const wire_writer&) = delete;
  wire_writer& operator=(const wire_writer&) = delete;

  bool failed() const noexcept { return failed_; }
  /// Why it failed: not_shareable when the record would have passed its limit, otherwise out_of_memory.
  error failure() const;
  std::size_t size() const noexcept { return static_cast<std::size_t>(at_ - begin_); }
  std::uint8_t* data() noexcept { return begin_; }
  /// Forgets everything behind `size`, and a failure with it.
  void truncate(std::size_t size) noexcept {
    at_ = begin_ + size;
    failed_ = too_large_ = false;
    set_end();
  }
  /// From here on `bytes` more fit, and no further byte: a record has begun.
  void limit(std::size_t bytes) noexcept {
    limit_ = size() + bytes;
    record_limit_ = bytes;
    if (!failed_) set_end();
  }

  /// Room for `n` more bytes, already counted as written; null (and failed()) when memory is out.
  std::uint8_t* room(std::size_t n) noexcept {
    if (static_cast<std::size_t>(end_ - at_) < n && !more(n)) return nullptr;
    std::uint8_t* p = at_;
    at_ += n;
    return p;
  }

  void put_u8(std::uint8_t v) noexcept { put_raw(v); }
  void put_u32(std::uint32_t v) noexcept { put_raw(v); }
  void put_u64(std::uint64_t v) noexcept { put_raw(v); }
  void put_tag(wire_tag t) noexcept { put_raw(static_cast<std::uint8_t>(t)); }
  void put_bytes(std::string_view bytes) noexcept {
    if (bytes.empty()) return; // its data may be null, which memcpy does not take
    if (std::uint8_t* p = room(bytes.size())) std::memcpy(p, bytes.data(), bytes.size());
  }
  /// A length and bytes, without a tag: names, code, error texts. Too large at 4 GiB, if not before.
  void put_text(std::string_view text) noexcept {
    if (text.size() > UINT32_MAX) return fail(true);
    put_u32(static_cast<std::uint32_t>(text.size()));
    put_bytes(text);
  }
  /// Overwrites four bytes written before, at `offset`: for counts that are known last.
  void patch_u32(std::size_t offset, std::uint32_t v) noexcept {
    if (!failed_) std::memcpy(begin_ + offset, &v, sizeof v);
  }

  // Values.
  void put_nil() noexcept { put_tag(wire_tag::nil); }
  void put_bool(bool v) noexcept { put_tag(v ? wire_tag::true_value : wire_tag::false_value); }
  void put_int(std::int64_t v) noexcept {
    if (v >= small_int_min && v <= small_int_max) {
      put_u8(static_cast<std::uint8_t>(static_cast<int>(wire_tag::small_int) + (v - small_int_min)));
    } else if (v == static_cast<std::int32_t>(v)) {
      put_tagged(wire_tag::int32, static_cast<std::int32_t>(v));
    } else {
      put_tagged(wire_tag::int64, v);
    }
  }
  void put_float(double v) noexcept { put_tagged(wire_tag::float64, v); }
  void put_string(std::string_view s) noexcept {
    if (s.size() <= short_string_max) {
      if (std::uint8_t* p = room(s.size() + 1)) {
        *p = static_cast<std::uint8_t>(static_cast<std::size_t>(wire_tag::short_string) + s.size());
        if (!s.empty()) std::memcpy(p + 1, s.data(), s.size());
      }
    } else {
      put_tag(wire_tag::string);
      put_text(s);
    }
  }
  /// All of it or nothing: false when the writer failed. Whoever took credit from a table writes it with
  /// runtime/references.hpp, which puts it back then.
  bool put_reference(const wire_ref& r) noexcept;
  /// The same without a tag, as the target of an invoke stands.
  bool put_target(const wire_ref& r) noexcept;
  void put_interpreter(interpreter_id id) noexcept { put_tagged(wire_tag::interpreter, number(id)); }
  /// True: written; else whoever took the handle for it takes it back.
  bool put_channel(channel_number channel) noexcept {
    put_tagged(wire_tag::channel, channel);
    return !failed();
  }
  void put_connection(std::uint64_t connection) noexcept { put_tagged(wire_tag::connection, connection); }
  /// All of it or nothing: false when memory is out. Only channels/buffer_space.cpp writes it, with the hold it stands for.
  bool put_slice(const wire_slice& s) noexcept;
  /// The fields of an error, without a tag; cut (error_text_max, error_payload_max).
  void put_error(const error& e) noexcept;
  /// `n` runs, without their owner: it is the receiver.
  void put_decrefs(const decref_run* runs, std::size_t n) noexcept;

protected:
  wire_writer() = default;
  ~wire_writer() = default;

  /// Makes room for `n` more bytes behind size() and calls set_buffer(); false when memory is out.
  virtual bool grow(std::size_t n) noexcept = 0;

  /// The buffer in use from now on, its first `size` bytes written.
  void set_buffer(std::uint8_t* begin, std::size_t size, std::size_t capacity) noexcept {
    begin_ = begin;
    at_ = begin + size;
    capacity_ = capacity;
    set_end();
  }
  std::size_t capacity() const noexcept { return capacity_; }

private:
  bool more(std::size_t n) noexcept {
    const bool fits = n <= limit_ - size();
    if (!failed_ && fits && grow(n)) return true;
    fail(!fits);
    return false;
  }
  void set_end() noexcept { end_ = begin_ + (capacity_ < limit_ ? capacity_ : limit_); }
  void fail(bool too_large) noexcept {
    if (failed_) return;
    failed_ = true;
    too_large_ = too_large;
    end_ = at_; // what was written stays a clean prefix: nothing smaller slips in behind the gap
  }
  template <class T>
  void put_raw(T v) noexcept {
    if (std::uint8_t* p = room(sizeof v)) std::memcpy(p, &v, sizeof v);
  }
  template <class T>
  void put_tagged(wire_tag t, T v) noexcept {
    if (std::uint8_t* p = room(1 + sizeof v)) {
      *p = static_cast<std::uint8_t>(t);
      std::memcpy(p + 1, &v, sizeof v);
    }
  }

  std::uint8_t* begin_ = nullptr;
  std::uint8_t* at_ = nullptr;
  std::uint8_t* end_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t limit_ = std::numeric_limits<std::size_t>::max(); // of size()
  std::size_t record_limit_ = record_bytes_max;                 // as limit() was told
  bool failed_ = false;
  bool too_large_ = false;
};

/// Reads what a writer wrote. After a failure every getter answers zeros and empty strings.
class wire_reader {
public:
  wire_reader() = default;
  wire_reader(const std::uint8_t* begin, const std::uint8_t* end) noexcept : at_(begin), end_(end) {}
  explicit wire_reader(std::string_view bytes) noexcept
      : at_(reinterpret_cast<const std::uint8_t*>(bytes.data())), end_(at_ + bytes.size()) {}

  bool failed() const noexcept { return failed_; }
  bool at_end() const noexcept { return at_ == end_; }
  std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - at_); }
  const std::uint8_t* position() const noexcept { return at_; }
  void fail() noexcept {
    failed_ = true;
    at_ = end_;
  }

  std::uint8_t get_u8() noexcept { return get_raw<std::uint8_t>(); }
  std::uint16_t get_u16() noexcept { return get_raw<std::uint16_t>(); }
  std::uint32_t get_u32() noexcept { return get_raw<std::uint32_t>(); }
  std::uint64_t get_u64() noexcept { return get_raw<std::uint64_t>(); }
  std::int32_t get_i32() noexcept { return get_raw<std::int32_t>(); }
  std::int64_t get_i64() noexcept { return get_raw<std::int64_t>(); }
  double get_double() noexcept { return get_raw<double>(); }
  std::string_view get_bytes(std::size_t n) noexcept {
    if (left() < n) {
      fail();
      return {};
    }
    std::string_view s(reinterpret_cast<const char*>(at_), n);
    at_ += n;
    return s;
  }
  std::string_view get_text() noexcept { return get_bytes(get_u32()); }
  object_id get_object_id() noexcept;
  wire_ref get_reference() noexcept; // behind its tag
  wire_slice get_slice() noexcept;   // behind its tag
  decref_run get_decrefs(interpreter_id owner) noexcept;
  error get_error(); // without a tag

private:
  template <class T>
  T get_raw() noexcept {
    T v{};
    if (left() < sizeof v) {
      fail();
      return v;
    }
    std::memcpy(&v, at_, sizeof v);
    at_ += sizeof v;
    return v;
  }

  const std::uint8_t* at_ = nullptr;
  const std::uint8_t* end_ = nullptr;
  bool failed_ = false;
};

/// What a walk over values meets that must not be thrown away silently.
class wire_visitor {
public:
  virtual void on_reference(const wire_ref&) {}
  virtual void on_connection(std::uint64_t /*connection*/) {}
  virtual void on_channel(channel_number) {}
  virtual void on_buffer(const wire_slice&) {}

protected:
  ~wire_visitor() = default;
};

/// Passes over values until the reader's end, telling the visitor of references, connections and buffers; never recurses.
/// Stops at the first bad byte: false.
bool walk_values(wire_reader& reader, wire_visitor& visitor);

} // namespace Atoll
