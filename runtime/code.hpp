// Code objects and their extra slots: data that profilers and coverage tools hang on loaded code (DESIGN section 9).
// Why: CPython freed such data through a table per *thread* and crashed when another thread dropped the code
// (bpo-30604). Here the free functions belong to the interpreter that registered them, and so does the code object.
// Ownership: the interpreter owns its registry; it must outlive its code objects. The guest owns the code objects.
// Threads: owner only, the free functions too. A release from elsewhere arrives as a decref and is handled here.
// Invariants: (1) a slot's value is freed once: when overwritten, or with its code object, by the function that was
//                 registered for its index in this interpreter.
//             (2) freeing never recurses: a free function that drops further code objects queues their slots.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "runtime/errors.hpp"

namespace Atoll {

class code_extra_registry {
public:
  using index = std::uint8_t;
  using free_function = void (*)(void* extra);
  static constexpr std::size_t max_indices = 255;

  code_extra_registry() = default;
  code_extra_registry(const code_extra_registry&) = delete;
  code_extra_registry& operator=(const code_extra_registry&) = delete;

  /// An index for a tool's values, for the life of the interpreter. A null function: values need no freeing.
  /// invalid_argument when all 255 are given out; nothing has changed then.
  result<index> request_code_extra_index(free_function free);

  std::size_t indices() const noexcept { return functions_.size(); }

private:
  friend class code_object;
  using doomed = std::pair<free_function, void*>;

  void release(index i, void* extra);
  void release_all(std::vector<void*>& extras);
  void drain();

  std::vector<free_function> functions_;
  std::vector<doomed> queue_;
  bool draining_ = false;
};

/// The extra slots of one loaded chunk.
class code_object {
public:
  using index = code_extra_registry::index;

  explicit code_object(code_extra_registry& registry) noexcept : registry_(&registry) {}
  code_object(const code_object&) = delete;
  code_object& operator=(const code_object&) = delete;
  ~code_object();

  /// invalid_argument for an index that was not requested. A value that stood there is freed first.
  result<void> set_extra(index i, void* extra);
  /// Null for a slot that was never set, and for an index that was not requested: `extra` is always assigned.
  result<void> get_extra(index i, void*& extra) const noexcept;

private:
  code_extra_registry* registry_;
  std::vector<void*> extras_;
};

} // namespace Atoll
