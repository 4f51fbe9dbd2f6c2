// The private heap of one interpreter: size-class free lists over chunks, and a list of large blocks.
// Why: the allocator of the C library serves every thread, so it locks, stores a header per block, and can't say what
// one interpreter uses. This one knows its owner and, as Lua does, the size of each block it is given back: no lock, no
// header, exact accounting, and all of it returned at once. Chunks are never given back before the heap ends.
// Ownership: the interpreter holds it by value and destroys it last; blocks still allocated then become invalid.
// Threads: owner only, in its turn.
// Invariants:
//   (1) in use = the sum of the sizes asked for and not yet given back, to the byte; in use <= peak.
//   (2) a block handed out for n bytes has n rounded up to its class behind it; it may have more (see resize).
//   (3) a block is given back once, with the size it was last asked for.          checked builds abort otherwise
//   (4) nobody writes to a block after giving it back.                            checked builds abort otherwise
//   (5) a heap with an owner is touched in its turn only (runtime/heap_turn.hpp). checked builds abort otherwise
//   (6) every byte from the system is in a chunk or in a large block, and each of those is in its list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "runtime/heap_turn.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define ATOLL_HEAP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ATOLL_HEAP_ASAN 1
#endif
#endif
#if defined(ATOLL_HEAP_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace Atoll {

class heap {
public:
  static constexpr std::size_t alignment = 16;
  // Larger blocks come from malloc, whose cost no longer matters beside that of filling them.
  static constexpr std::size_t max_small = 1024;

  // limit_bytes bounds bytes_in_use(); 0 means no limit.
  // owner: whose turn touches it; without one, whoever does.
  explicit heap(std::size_t limit_bytes = 0, interpreter_id owner = host_interpreter) noexcept : owner_(owner) {
    set_limit(limit_bytes);
  }
  ~heap();
  heap(const heap&) = delete;
  heap& operator=(const heap&) = delete;

  // Returns nullptr over the limit or when the system has no memory; nothing has changed then.
  [[nodiscard]] void* allocate(std::size_t bytes) noexcept;

  // bytes: as last asked for. A null p is ignored.
  void deallocate(void* p, std::size_t bytes) noexcept;

  // As lua_Alloc wants it: a null p allocates (old_bytes is ignored), new_bytes 0 deallocates and returns nullptr,
  // and shrinking never fails. When growing fails the block stays as it was.
  [[nodiscard]] void* reallocate(void* p, std::size_t old_bytes, std::size_t new_bytes) noexcept;

  /// Memory that lies elsewhere and counts as this heap's: blocks of shared buffers (channels/buffer_space.hpp). False over the
  /// limit; nothing has changed then.
  [[nodiscard]] bool charge_outside(std::size_t bytes) noexcept {
    heap_turn::check(owner_);
    if (!admits(bytes)) return false;
    charge(bytes);
    return true;
  }
  void give_back_outside(std::size_t bytes) noexcept {
    heap_turn::check(owner_);
    in_use_ -= bytes;
  }

  interpreter_id owner() const noexcept { return owner_; }
  std::size_t bytes_in_use() const noexcept { return in_use_; }
  // Asked of the system: chunks and large blocks with their links.
  std::size_t bytes_reserved() const noexcept { return reserved_; }
  std::size_t peak_bytes() const noexcept { return peak_; }

  std::size_t limit() const noexcept { return limit_ == no_limit ? 0 : limit_; }
  // A limit below bytes_in_use() takes nothing away: it refuses to grow until enough was given back.
  void set_limit(std::size_t bytes) noexcept { limit_ = bytes == 0 || bytes > no_limit ? no_limit : bytes; }

private:
  struct free_block {
    free_block* next;
  };
  struct alignas(alignment) chunk {
    chunk* next;
    std::size_t bytes;
  };
  struct alignas(alignment) large_block {
    large_block* previous;
    large_block* next;
  };

  // Half the range, so that in use + a size never wraps to something small.
  static constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max() / 2;
  static constexpr std::size_t class_count = max_small / alignment;

  // Size 0 wraps around and counts as large, which spares the hot path a test.
  static bool is_small(std::size_t bytes) noexcept { return bytes - 1 < max_small; }
  static std::size_t class_of(std::size_t bytes) noexcept { return (bytes - 1) / alignment; }
  static std::size_t class_bytes(std::size_t size_class) noexcept { return (size_class + 1) * alignment; }

  bool admits(std::size_t more) const noexcept { return in_use_ + more <= limit_ && more <= no_limit; }
  void charge(std::size_t bytes) noexcept {
    in_use_ += bytes;
    if (in_use_ > peak_) peak_ = in_use_;
  }

  // Blocks without accounting; take and resize return nullptr when the system has no memory.
  void* take(std::size_t bytes) noexcept;
  void* take_small(std::size_t size_class) noexcept;
  void give(void* p, std::size_t bytes) noexcept;
  void* resize(void* p, std::size_t old_bytes, std::size_t new_bytes) noexcept;
  void* move_block(void* p, std::size_t old_bytes, std::size_t new_bytes) noexcept;

  bool make_heads() noexcept;
  void* take_from_new_chunk(std::size_t bytes) noexcept;
  void retire_bump_space() noexcept;
  void* take_large(std::size_t bytes) noexcept;
  void give_large(void* p, std::size_t bytes) noexcept;
  void* resize_large(void* p, std::size_t old_bytes, std::size_t new_bytes) noexcept;
  void link(large_block* block) noexcept;

  // What checked builds add around a block; otherwise nothing.
#if defined(ATOLL_CHECKED)
  static constexpr std::size_t guard_bytes = 16;
#else
  static constexpr std::size_t guard_bytes = 0;
#endif
  static void* put_guard(void* block, std::size_t bytes) noexcept;
  static void* check_guard(void* p, std::size_t bytes) noexcept;
  static void fill_free(void* block, std::size_t bytes) noexcept;
  static void check_free(const void* block, std::size_t bytes) noexcept;

  static void hide(const void* p, std::size_t bytes) noexcept;
  static void show(const void* p, std::size_t bytes) noexcept;

  const interpreter_id owner_;
  std::size_t in_use_ = 0;
  std::size_t limit_ = no_limit;
  std::size_t peak_ = 0;
  char* bump_ = nullptr; // free space of the newest chunk, a multiple of the alignment
  char* bump_end_ = nullptr;
  // Lists by class; last in, first out: the block reused next is the one still in the cache. Their heads are made with the first
  // block of any size, as a large one may be given back as a small one (move_block); many a heap never has a block.
  static constexpr free_block* no_blocks[class_count] = {};
  free_block** free_ = const_cast<free_block**>(no_blocks);

  chunk* chunks_ = nullptr;
  large_block* large_ = nullptr;
  std::size_t chunk_bytes_ = 0;
  std::size_t reserved_ = 0;
};

inline void* heap::allocate(std::size_t bytes) noexcept {
  heap_turn::check(owner_);
  if (!admits(bytes)) [[unlikely]]
    return nullptr;
  void* block = take(bytes + guard_bytes);
  if (block == nullptr) [[unlikely]]
    return nullptr;
  charge(bytes);
  return put_guard(block, bytes);
}

inline void heap::deallocate(void* p, std::size_t bytes) noexcept {
  if (p == nullptr) return;
  heap_turn::check(owner_);
  in_use_ -= bytes;
  give(check_guard(p, bytes), bytes + guard_bytes);
}

inline void* heap::reallocate(void* p, std::size_t old_bytes, std::size_t new_bytes) noexcept {
  if (p == nullptr) return new_bytes == 0 ? nullptr : allocate(new_bytes);
  if (new_bytes == 0) {
    deallocate(p, old_bytes);
    return nullptr;
  }
  heap_turn::check(owner_);
  if (new_bytes > old_bytes && !admits(new_bytes - old_bytes)) [[unlikely]]
    return nullptr;
  void* old_block = check_guard(p, old_bytes);
  void* block = resize(old_block, old_bytes + guard_bytes, new_bytes + guard_bytes);
  if (block == nullptr) [[unlikely]] {
    put_guard(old_block, old_bytes);
    return nullptr;
  }
  in_use_ -= old_bytes;
  charge(new_bytes);
  return put_guard(block, new_bytes);
}

inline void* heap::take(std::size_t bytes) noexcept {
  return is_small(bytes) ? take_small(class_of(bytes)) : take_large(bytes);
}

inline void* heap::take_small(std::size_t size_class) noexcept {
  const std::size_t bytes = class_bytes(size_class);
  if (free_block* block = free_[size_class]) [[likely]] {
    show(block, bytes);
    check_free(block, bytes);
    free_[size_class] = block->next;
    return block;
  }
  if (static_cast<std::size_t>(bump_end_ - bump_) < bytes) [[unlikely]]
    return take_from_new_chunk(bytes);
  char* block = bump_;
  bump_ += bytes;
  show(block, bytes);
  return block;
}

inline void heap::give(void* p, std::size_t bytes) noexcept {
  if (!is_small(bytes)) return give_large(p, bytes);
  const std::size_t size_class = class_of(bytes);
  show(p, class_bytes(size_class));
  fill_free(p, class_bytes(size_class));
  auto* block = static_cast<free_block*>(p);
  block->next = free_[size_class];
  free_[size_class] = block;
  hide(block, class_bytes(size_class));
}

inline void* heap::resize(void* p, std::size_t old_bytes, std::size_t new_bytes) noexcept {
  if (!is_small(old_bytes) && !is_small(new_bytes)) return resize_large(p, old_bytes, new_bytes);
  const bool both_small = is_small(old_bytes) && is_small(new_bytes);
  if (both_small && class_of(old_bytes) == class_of(new_bytes)) return p;
  return move_block(p, old_bytes, new_bytes);
}

#if !defined(ATOLL_CHECKED)
inline void* heap::put_guard(void* block, std::size_t) noexcept { return block; }
inline void* heap::check_guard(void* p, std::size_t) noexcept { return p; }
inline void heap::fill_free(void*, std::size_t) noexcept {}
inline void heap::check_free(const void*, std::size_t) noexcept {}
#endif

// Under AddressSanitizer whatever is not handed out can't be touched.
#if defined(ATOLL_HEAP_ASAN)
inline void heap::hide(const void* p, std::size_t bytes) noexcept { ASAN_POISON_MEMORY_REGION(p, bytes); }
inline void heap::show(const void* p, std::size_t bytes) noexcept { ASAN_UNPOISON_MEMORY_REGION(p, bytes); }
#else
inline void heap::hide(const void*, std::size_t) noexcept {}
inline void heap::show(const void*, std::size_t) noexcept {}
#endif

} // namespace Atoll
