// What an inbox carries: a block of memory with one sender's records for one receiver.
// Why: one allocation and one queue operation for a whole turn's messages.
// Ownership: the lane that fills it, then the inbox, then the receiver; whoever has it last frees it. Bytes that nobody
// read are disposed of first (channels/disposal.hpp): they may carry credit and calls.
// Threads: one owner at a time; handing over goes through the inbox.
// Invariants: (1) bytes() is a sequence of whole records; count() of them.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/records.hpp"

namespace Atoll {

class envelope {
public:
  /// Null when memory is out.
  static envelope* make(interpreter_id from, std::size_t capacity) noexcept;
  /// The same envelope with more room, maybe elsewhere; null (and the old one as it was) when memory is out.
  static envelope* enlarge(envelope* e, std::size_t capacity) noexcept;
  /// Frees the memory alone.
  static void free(envelope* e) noexcept;

  interpreter_id from() const noexcept { return from_; }
  std::uint32_t count() const noexcept { return count_; }
  std::size_t size() const noexcept { return size_; }
  std::size_t capacity() const noexcept { return capacity_; }
  std::uint8_t* bytes() noexcept { return reinterpret_cast<std::uint8_t*>(this + 1); }
  wire_reader reader() noexcept { return {bytes(), bytes() + size_}; }

  /// The writer's account of what it wrote.
  void set_written(std::size_t size, std::uint32_t count) noexcept {
    size_ = size;
    count_ = count;
  }

  /// For whoever owns it: a link for a list of envelopes.
  envelope* next = nullptr;

private:
  envelope(interpreter_id from, std::size_t capacity) noexcept : from_(from), capacity_(capacity) {}

  interpreter_id from_;
  std::size_t size_ = 0;
  std::size_t capacity_;
  std::uint32_t count_ = 0;
};

struct envelope_deleter {
  void operator()(envelope* e) const noexcept { envelope::free(e); }
};
using envelope_ptr = std::unique_ptr<envelope, envelope_deleter>;

/// Writes records into an envelope it makes when it is first needed.
class envelope_writer final : public wire_writer {
public:
  explicit envelope_writer(interpreter_id from) noexcept : from_(from) {}
  ~envelope_writer() { envelope::free(envelope_); }

  bool empty() const noexcept { return count_ == 0; }
  std::uint32_t count() const noexcept { return count_; }
  /// One more record is whole.
  void count_record() noexcept { ++count_; }
  /// Hands the envelope over; the next byte starts a new one.
  envelope_ptr take() noexcept;

protected:
  bool grow(std::size_t n) noexcept override;

private:
  interpreter_id from_;
  envelope* envelope_ = nullptr;
  std::uint32_t count_ = 0;
};

} // namespace Atoll
