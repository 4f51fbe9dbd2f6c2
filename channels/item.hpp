// A value in a channel: its bytes, and what is to become of it when its sender ends.
// Why: a value is encoded once, into a buffer that then changes hands; small ones are copied into the channel's ring.
// Ownership: whoever has the buffer. Bytes that nobody reads are given back first: they may carry credit.
// Threads: one owner at a time; handing over goes through a channel's lock.
#pragma once

#include <cstdlib>
#include <utility>

#include "runtime/wire.hpp"

namespace Atoll {

/// What happens to an item that waits in a channel when its sender ends.
enum class orphan_policy : std::uint8_t {
  keep,   // it stays, as any other
  error,  // it stays as an error: whoever receives it is told that its sender is gone
  remove, // it is taken out
};
const char* name_of(orphan_policy policy) noexcept;

struct item_info {
  interpreter_id sender{};
  orphan_policy orphans = orphan_policy::keep;
  bool orphaned = false; // its sender is gone, and that is an error
};

/// Values in the flat encoding, in a buffer of its own that grows and is kept for the next ones.
class item_bytes final : public wire_writer {
public:
  item_bytes() = default;
  item_bytes(item_bytes&& other) noexcept { swap(other); }
  item_bytes& operator=(item_bytes&& other) noexcept {
    swap(other);
    return *this;
  }
  ~item_bytes() { std::free(data()); }

  bool empty() const noexcept { return size() == 0; }
  wire_reader reader() noexcept { return {data(), data() + size()}; }
  void clear() noexcept { truncate(0); }
  /// Room for so many bytes in all; false, and nothing changed, when memory is out.
  bool reserve(std::size_t bytes) noexcept { return bytes <= capacity() || enlarge(bytes); }
  /// Replaces the content; the caller has reserved room for it.
  void assign(const std::uint8_t* bytes, std::size_t n) noexcept {
    if (n > 0) std::memcpy(data(), bytes, n);
    set_buffer(data(), n, capacity());
  }
  void swap(item_bytes& other) noexcept {
    const block mine = release();
    adopt(other.release());
    other.adopt(mine);
  }

  /// The buffer by itself, for whoever keeps it elsewhere.
  struct block {
    std::uint8_t* data = nullptr;
    std::size_t size = 0;
    std::size_t capacity = 0;
  };
  block release() noexcept {
    const block all{data(), size(), capacity()};
    set_buffer(nullptr, 0, 0);
    clear();
    return all;
  }
  /// Frees what was there.
  void adopt(const block& all) noexcept {
    std::free(data());
    set_buffer(all.data, all.size, all.capacity);
    truncate(all.size);
  }

private:
  bool grow(std::size_t n) noexcept override { return enlarge((size() + n) + (size() + n) / 2 + 64); }
  bool enlarge(std::size_t bytes) noexcept {
    const std::size_t used = size();
    void* larger = std::realloc(data(), bytes);
    if (larger == nullptr) return false;
    set_buffer(static_cast<std::uint8_t*>(larger), used, bytes);
    return true;
  }
};

struct channel_item {
  item_bytes bytes;
  item_info info;
};

} // namespace Atoll
