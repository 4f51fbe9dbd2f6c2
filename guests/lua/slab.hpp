// Things that outside numbers name: tasks, timers, connections. A number of something that is gone finds nothing.
// Why: the host hands tokens back at any later time; a pointer would dangle, a map would allocate for each entry.
// Threads: owner only.
// Invariants: (1) addresses are stable while an entry lives. (2) an id is never 0, and finds only the entry it was made
//             for (until a slot was used 2^32 times).
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "channels/on_demand.hpp"
#include "runtime/ids.hpp"

namespace Atoll {

/// What a token given to the host names.
enum class token_kind : std::uint8_t { task = 1, future, timer, monitor, listener, connection, hook };

using slab_id = std::uint64_t; // index (24 bits) << 32 | generation

constexpr guest_word make_token(token_kind kind, slab_id id) noexcept {
  return static_cast<guest_word>(kind) << 56U | id;
}
constexpr token_kind kind_of(guest_word token) noexcept { return static_cast<token_kind>(token >> 56U); }
constexpr slab_id id_of(guest_word token) noexcept { return token & ((guest_word{1} << 56U) - 1); }

template <class T>
class slab {
public:
  slab_id add() {
    contents& c = held_.need();
    std::uint32_t index = c.free;
    if (index == none) {
      if (c.made == c.pages.size() * page_size) c.pages.push_back(std::make_unique<entry[]>(page_size));
      index = c.made++;
    } else {
      c.free = c.at(index).next_free;
    }
    entry& e = c.at(index);
    e.used = true;
    ++c.size;
    return static_cast<slab_id>(index) << 32U | e.generation;
  }

  T* find(slab_id id) noexcept {
    const std::size_t index = id >> 32U;
    if (id == 0 || !held_ || index >= held_->made) return nullptr;
    entry& e = held_->at(index);
    return e.used && e.generation == static_cast<std::uint32_t>(id) ? &e.value : nullptr;
  }

  void remove(slab_id id) noexcept {
    if (find(id) == nullptr) return;
    contents& c = *held_;
    entry& e = c.at(id >> 32U);
    e.value = T{};
    e.used = false;
    if (++e.generation == 0) e.generation = 1;
    e.next_free = c.free;
    c.free = static_cast<std::uint32_t>(id >> 32U);
    --c.size;
  }

  std::size_t size() const noexcept { return held_ ? held_->size : 0; }

  /// Calls f(id, value) for every entry; f must not add or remove.
  template <class F>
  void for_each(F&& f) {
    if (!held_) return;
    for (std::size_t i = 0; i < held_->made; ++i)
      if (entry& e = held_->at(i); e.used) f(static_cast<slab_id>(i) << 32U | e.generation, e.value);
  }

private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  struct entry {
    T value{};
    std::uint32_t generation = 1;
    std::uint32_t next_free = none;
    bool used = false;
  };

  static constexpr std::size_t page_size = 8;
  struct contents {
    entry& at(std::size_t index) noexcept { return pages[index / page_size][index % page_size]; }

    std::vector<std::unique_ptr<entry[]>> pages;
    std::uint32_t made = 0; // entries in use, and free ones
    std::uint32_t free = none;
    std::size_t size = 0;
  };
  on_demand<contents> held_;
};

} // namespace Atoll
