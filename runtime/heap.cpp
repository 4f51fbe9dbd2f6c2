#include "runtime/heap.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace Atoll {

namespace {

// The first chunks are small, so that little of an idle interpreter's memory waits unused; then a chunk is half of what
// there is, so that it is a third at most.
constexpr std::size_t min_chunk = 1152;
constexpr std::size_t small_heap = 16 * 1024;
constexpr std::size_t max_chunk = 256 * 1024;
constexpr std::size_t page = 4096;

// From here on chunks are mapped and populated in one call: a bump pointer touches all of a chunk soon, and a page
// fault per page costs several times as much as having the kernel clear them together.
constexpr std::size_t min_mapped = 64 * 1024;

// What malloc keeps before a block: chunks that are a power of two minus this pack without gaps.
constexpr std::size_t malloc_overhead = 16;

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

std::size_t next_chunk_size(std::size_t chunk_bytes) {
  if (chunk_bytes < small_heap) return min_chunk - malloc_overhead;
  const std::size_t wanted = std::min(chunk_bytes / 2, max_chunk);
  return wanted >= min_mapped ? round_up(wanted, page) : round_up(wanted, 1024) - malloc_overhead;
}

void* system_take(std::size_t bytes) {
  if (bytes < min_mapped) return std::malloc(bytes);
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

void system_give(void* p, std::size_t bytes) {
  if (bytes < min_mapped)
    std::free(p);
  else
    ::munmap(p, bytes);
}

} // namespace

heap::~heap() {
  while (chunk* c = chunks_) {
    chunks_ = c->next;
    show(c, c->bytes); // the sanitizer would remember the poison for whoever gets this memory next
    system_give(c, c->bytes);
  }
  while (large_block* block = large_) {
    large_ = block->next;
    std::free(block);
  }
  if (free_ != no_blocks) std::free(free_);
}

bool heap::make_heads() noexcept {
  if (free_ != no_blocks) return true;
  void* memory = std::calloc(class_count, sizeof *free_); // NOLINT(bugprone-sizeof-expression): heads are pointers
  if (memory != nullptr) free_ = static_cast<free_block**>(memory);
  return memory != nullptr;
}

void* heap::take_from_new_chunk(std::size_t bytes) noexcept {
  static_assert(sizeof(chunk) + max_small + guard_bytes <= min_chunk - malloc_overhead, "it would never fit");
  if (!make_heads()) return nullptr;
  const std::size_t size = next_chunk_size(chunk_bytes_);
  void* memory = system_take(size);
  if (memory == nullptr) return nullptr;
  retire_bump_space();
  chunks_ = new (memory) chunk{chunks_, size};
  chunk_bytes_ += size;
  reserved_ += size;
  bump_ = static_cast<char*>(memory) + sizeof(chunk);
  bump_end_ = static_cast<char*>(memory) + size;
  hide(bump_, static_cast<std::size_t>(bump_end_ - bump_));
  return take_small(class_of(bytes));
}

// The rest of a chunk is smaller than the block that did not fit, so it is a block of some class.
void heap::retire_bump_space() noexcept {
  const auto rest = static_cast<std::size_t>(bump_end_ - bump_);
  if (rest != 0) give(bump_, rest);
  bump_ = bump_end_;
}

void* heap::take_large(std::size_t bytes) noexcept {
  if (bytes > no_limit || !make_heads()) return nullptr;
  void* memory = std::malloc(sizeof(large_block) + bytes);
  if (memory == nullptr) return nullptr;
  auto* block = static_cast<large_block*>(memory);
  block->previous = nullptr;
  block->next = large_;
  link(block);
  reserved_ += sizeof(large_block) + bytes;
  return block + 1;
}

void heap::give_large(void* p, std::size_t bytes) noexcept {
  large_block* block = static_cast<large_block*>(p) - 1;
  (block->previous != nullptr ? block->previous->next : large_) = block->next;
  if (block->next != nullptr) block->next->previous = block->previous;
  reserved_ -= sizeof(large_block) + bytes;
  std::free(block);
}

// realloc moves large pages instead of copying them; only the neighbours must learn the new address.
void* heap::resize_large(void* p, std::size_t old_bytes, std::size_t new_bytes) noexcept {
  if (new_bytes > no_limit) return nullptr;
  void* memory = std::realloc(static_cast<large_block*>(p) - 1, sizeof(large_block) + new_bytes);
  if (memory == nullptr) return new_bytes <= old_bytes ? p : nullptr;
  auto* block = static_cast<large_block*>(memory);
  link(block);
  reserved_ = reserved_ - old_bytes + new_bytes;
  return block + 1;
}

// The block knows its neighbours; makes them know it.
void heap::link(large_block* block) noexcept {
  (block->previous != nullptr ? block->previous->next : large_) = block;
  if (block->next != nullptr) block->next->previous = block;
}

// Shrinking without memory for the smaller block keeps the old one (2): its chunk or list still owns it, and once it is
// given back with the smaller size it serves the smaller class.
void* heap::move_block(void* p, std::size_t old_bytes, std::size_t new_bytes) noexcept {
  void* target = take(new_bytes);
  if (target == nullptr) return new_bytes <= old_bytes ? p : nullptr;
  std::memcpy(target, p, std::min(old_bytes, new_bytes));
  give(p, old_bytes);
  return target;
}

#if defined(ATOLL_CHECKED)

namespace {

constexpr unsigned char free_byte = 0xdf;
constexpr std::uintptr_t seal = 0x5ea15ea15ea15ea1;

struct guard {
  std::size_t bytes;
  std::uintptr_t mark; // the seal and the address, so that a copied guard is no guard
};

[[noreturn]] void broken(int invariant, const char* what, const void* p, std::size_t bytes, std::size_t known) {
  std::fprintf(stderr, "atoll: heap invariant (%d): %s: block %p, %zu bytes, known as %zu\n", invariant, what, p, bytes,
               known);
  std::abort();
}

} // namespace

void* heap::put_guard(void* block, std::size_t bytes) noexcept {
  static_assert(sizeof(guard) == guard_bytes);
  show(block, guard_bytes);
  new (block) guard{bytes, seal ^ reinterpret_cast<std::uintptr_t>(block)};
  hide(block, guard_bytes);
  return static_cast<guard*>(block) + 1;
}

void* heap::check_guard(void* p, std::size_t bytes) noexcept {
  guard* g = static_cast<guard*>(p) - 1;
  show(g, guard_bytes);
  if (g->mark != (seal ^ reinterpret_cast<std::uintptr_t>(g)))
    broken(3, "given back twice, overrun, or not of a heap", p, bytes, g->bytes);
  if (g->bytes != bytes) broken(3, "given back with another size", p, bytes, g->bytes);
  return g;
}

void heap::fill_free(void* block, std::size_t bytes) noexcept { std::memset(block, free_byte, bytes); }

void heap::check_free(const void* block, std::size_t bytes) noexcept {
  const auto* first = static_cast<const unsigned char*>(block) + sizeof(free_block);
  const auto* last = static_cast<const unsigned char*>(block) + bytes;
  if (std::any_of(first, last, [](unsigned char b) { return b != free_byte; }))
    broken(4, "written after it was given back", block, bytes, bytes);
}

#endif

} // namespace Atoll
