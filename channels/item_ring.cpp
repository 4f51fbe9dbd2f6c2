#include "channels/item_ring.hpp"

#include <new>

namespace Atoll {

namespace {
constexpr std::uint64_t first_bytes = 512;
constexpr std::uint64_t kept_bytes = 1U << 20U; // of an empty ring: the memory of a rare flood goes back
} // namespace

const char* name_of(orphan_policy policy) noexcept {
  switch (policy) {
  case orphan_policy::keep: return "keep";
  case orphan_policy::error: return "error";
  case orphan_policy::remove: break;
  }
  return "remove";
}

item_ring::~item_ring() {
  for (std::uint64_t at = head_; at != tail_; at += stride(entry_at(at))) {
    channel_item rest;
    if (entry& e = entry_at(at); e.what == kind::block) move_out(e, rest);
  }
  std::free(memory_);
}

item_ring::entry* item_ring::append(std::size_t size) noexcept {
  const std::uint64_t need = (sizeof(entry) + size + 15) & ~std::uint64_t{15};
  const std::uint64_t to_end = capacity_ - (tail_ & (capacity_ - 1));
  const std::uint64_t filler = capacity_ != 0 && to_end < need ? to_end : 0;
  if (capacity_ - (tail_ - head_) < need + filler) {
    if (!grow(need)) return nullptr;
    return append(size);
  }
  if (filler != 0) {
    entry* e = new (&entry_at(tail_)) entry;
    e->what = kind::filler;
    e->size = static_cast<std::uint32_t>(filler - sizeof(entry));
    tail_ += filler;
  }
  entry* e = new (&entry_at(tail_)) entry;
  e->size = static_cast<std::uint32_t>(size);
  tail_ += need;
  return e;
}

bool item_ring::grow(std::size_t need) noexcept {
  std::uint64_t larger = capacity_ == 0 ? first_bytes : capacity_ * 2;
  while (larger < (tail_ - head_) + need) larger *= 2;
  auto* memory = static_cast<std::uint8_t*>(std::malloc(larger));
  if (memory == nullptr) return false;
  std::uint64_t end = 0;
  for (std::uint64_t at = head_; at != tail_; at += stride(entry_at(at))) {
    const entry& e = entry_at(at);
    if (e.what == kind::filler || e.what == kind::removed) continue;
    std::memcpy(memory + end, static_cast<const void*>(&e), sizeof(entry) + e.size);
    end += stride(e);
  }
  std::free(memory_);
  memory_ = memory;
  capacity_ = larger;
  head_ = 0;
  tail_ = end;
  return true;
}

bool item_ring::push(channel_item& item) noexcept {
  const bool whole = item.bytes.size() <= inline_max;
  entry* e = append(whole ? item.bytes.size() : sizeof(item_bytes::block));
  if (e == nullptr) return false;
  e->sender = item.info.sender;
  e->orphans = item.info.orphans;
  e->orphaned = item.info.orphaned;
  if (whole) {
    if (!item.bytes.empty()) std::memcpy(e->content(), item.bytes.data(), item.bytes.size());
    item.bytes.clear();
  } else {
    e->what = kind::block;
    const item_bytes::block all = item.bytes.release();
    std::memcpy(e->content(), &all, sizeof all);
  }
  ++live_;
  return true;
}

void item_ring::move_out(entry& e, channel_item& into) noexcept {
  into.info = {e.sender, e.orphans, e.orphaned};
  if (e.what == kind::block) {
    item_bytes::block all;
    std::memcpy(&all, e.content(), sizeof all);
    into.bytes.adopt(all);
  } else {
    into.bytes.assign(e.content(), e.size);
  }
}

bool item_ring::pop(channel_item& into) noexcept {
  while (head_ != tail_) {
    entry& e = entry_at(head_);
    const bool live = e.what == kind::bytes || e.what == kind::block;
    if (live) move_out(e, into);
    head_ += stride(e);
    if (!live) continue;
    if (--live_ == 0 && capacity_ > kept_bytes) {
      std::free(memory_);
      memory_ = nullptr;
      capacity_ = head_ = tail_ = 0;
    }
    return true;
  }
  return false;
}

} // namespace Atoll
