#include "channels/envelope.hpp"

#include <cstdlib>
#include <new>

namespace Atoll {

namespace {
constexpr std::size_t first_bytes = 208; // with the header: one 256-byte block of the allocator
}

envelope* envelope::make(interpreter_id from, std::size_t capacity) noexcept {
  void* p = std::malloc(sizeof(envelope) + capacity);
  return p != nullptr ? new (p) envelope(from, capacity) : nullptr;
}

envelope* envelope::enlarge(envelope* e, std::size_t capacity) noexcept {
  static_assert(std::is_trivially_copyable_v<envelope>);
  auto* larger = static_cast<envelope*>(std::realloc(static_cast<void*>(e), sizeof(envelope) + capacity));
  if (larger != nullptr) larger->capacity_ = capacity;
  return larger;
}

void envelope::free(envelope* e) noexcept { std::free(e); }

envelope_ptr envelope_writer::take() noexcept {
  envelope* e = envelope_;
  if (e != nullptr) e->set_written(size(), count_);
  envelope_ = nullptr;
  count_ = 0;
  set_buffer(nullptr, 0, 0);
  return envelope_ptr(e);
}

bool envelope_writer::grow(std::size_t n) noexcept {
  const std::size_t need = size() + n;
  std::size_t room = envelope_ == nullptr ? first_bytes : capacity() * 4;
  if (room < need) room = need + need / 4;
  envelope* e = envelope_ == nullptr ? envelope::make(from_, room) : envelope::enlarge(envelope_, room);
  if (e == nullptr) return false;
  envelope_ = e;
  set_buffer(e->bytes(), size(), room);
  return true;
}

} // namespace Atoll
