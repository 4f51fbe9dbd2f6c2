// An array that grows by whole pages.
// Why: the tables of references grow to millions of entries. A vector that doubles has up to three times its entries in
// memory while it moves them, and moves them all at once; here growing costs a page, and nothing moves.
// Ownership: part of a table. What is in it is trivial: it needs no destructor.
// Threads: owner only.
// Invariants: (1) an element's address never changes. (2) no element lies across two cache lines, if its size is a power
//                 of two.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

namespace Atoll {

template <class T>
class paged_array {
public:
  static_assert(std::is_trivially_destructible_v<T>);

  T& operator[](std::uint32_t i) noexcept { return (*pages_[i / page_size])[i % page_size]; }
  const T& operator[](std::uint32_t i) const noexcept { return (*pages_[i / page_size])[i % page_size]; }
  std::uint32_t size() const noexcept { return size_; }

  /// One more element, as T{} makes it; its number.
  std::uint32_t grow() {
    if (size_ == pages_.size() * page_size) pages_.push_back(std::make_unique<page>());
    return size_++;
  }

  std::size_t bytes() const noexcept { return pages_.size() * sizeof(page) + pages_.capacity() * sizeof(pages_[0]); }

private:
  static constexpr std::uint32_t page_size = 128;
  struct alignas(64) page : std::array<T, page_size> {};

  std::vector<std::unique_ptr<page>> pages_;
  std::uint32_t size_ = 0;
};

} // namespace Atoll
