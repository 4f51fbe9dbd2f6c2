#include "channels/buffer_block.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <utility>

namespace Atoll {

namespace {

// From here on blocks are mapped: calloc may hand out memory that it has to clear, page after page. Under
// AddressSanitizer all but the largest come from calloc, so that it sees what is lost or used too late; it aborts when asked
// for more than it can give.
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t min_mapped = std::size_t{1} << 31U;
#else
constexpr std::size_t min_mapped = std::size_t{64} * 1024;
#endif

char* take(std::size_t size) noexcept {
  if (size < min_mapped) return static_cast<char*>(std::calloc(size, 1));
  void* p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p != MAP_FAILED ? static_cast<char*>(p) : nullptr;
}

} // namespace

block_bytes::block_bytes(std::size_t size) noexcept : data_(size > 0 ? take(size) : nullptr), size_(size) {}

block_bytes::block_bytes(block_bytes&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

block_bytes& block_bytes::operator=(block_bytes&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

block_bytes::~block_bytes() {
  if (data_ == nullptr) return;
  if (size_ < min_mapped)
    std::free(data_);
  else
    ::munmap(data_, size_);
}

buffer_block::buffer_block(std::shared_ptr<buffer_space> space, std::uint64_t id, std::size_t size, block_bytes bytes)
    : space_(std::move(space)), id_(id), size_(size), bytes_(std::move(bytes)) {}

} // namespace Atoll
