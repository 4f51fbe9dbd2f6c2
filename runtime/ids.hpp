// The names of interpreters, objects and calls, as plain numbers.
// Why: everything that crosses between interpreters is named by value; a pointer would tie it to a heap.
// Threads: immutable values.
// Invariants: (1) an interpreter id is never used twice in a runtime; main is 1, the host program is 0.
//             (2) an object id whose generation is stale never resolves again (DESIGN rule 10).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <tuple>

namespace Atoll {

/// Names an interpreter for the life of the runtime.
enum class interpreter_id : std::uint64_t {};

/// The host program: the C++ threads outside of every interpreter. It holds references but owns no objects.
inline constexpr interpreter_id host_interpreter{0};
/// The first interpreter of a program.
inline constexpr interpreter_id main_interpreter{1};

/// The broker of TCP connections: it has an inbox like everybody, and owns no objects.
inline constexpr interpreter_id net_interpreter{~std::uint64_t{0}};

constexpr std::uint64_t number(interpreter_id id) noexcept { return static_cast<std::uint64_t>(id); }

/// Names an exported object: its owner, the owner's export slot, and that slot's generation.
struct object_id {
  interpreter_id owner{};
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;

  friend bool operator==(const object_id&, const object_id&) = default;
  friend bool operator<(const object_id& a, const object_id& b) noexcept {
    return std::tie(a.owner, a.slot, a.generation) < std::tie(b.owner, b.slot, b.generation);
  }
};

/// Names an object's type (channels/type_names.hpp).
enum class type_id : std::uint16_t {};
/// Of objects nobody named a type for.
inline constexpr type_id object_type{0};

/// Names an open call of one caller; 0 stands for "no answer wanted".
using call_id = std::uint64_t;

/// Names a channel (channels/basic_channel.hpp); never used twice, from 1.
using channel_number = std::uint64_t;

/// A word that belongs to the guest: a Lua registry index, a pointer to a native object. The tables keep it, unread.
using guest_word = std::uint64_t;

} // namespace Atoll

template <>
struct std::hash<Atoll::object_id> {
  std::size_t operator()(const Atoll::object_id& id) const noexcept {
    std::uint64_t h = (Atoll::number(id.owner) << 32U) ^ id.slot ^ (static_cast<std::uint64_t>(id.generation) << 24U);
    h *= 0x9E3779B97F4A7C15ULL;
    return static_cast<std::size_t>(h ^ (h >> 29U));
  }
};
