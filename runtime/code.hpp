// Code objects and their extra slots: data that profilers and coverage tools hang on loaded code (DESIGN section 9).
// Why: CPython freed such data through a table per *thread* and crashed when another thread dropped the code
// (bpo-30604). Here the free functions belong to the interpreter that registered them, and so does the code object.
// Ownership: the interpreter owns its registry; it must outlive its code objects. The guest owns the code objects.
// Threads: owner only, the free functions too. A release from elsewhere arrives as a decref and is handled here.
// Invariants: (1) a slot's value is freed once: when overwritten, or with its code object, by the function that was
//                 registered for its index in this interpreter.
//             (2) freeing never recurses: a free function that drops further code objects queues their slots.
//             (3) freeing never allocates: the queue has room for every value there is.
//             (4) an index is given out again only when no value of its former use is left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
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

  /// An index for a tool's values, until it is unregistered. A null function: values need no freeing.
  /// invalid_argument when all 255 are given out; nothing has changed then.
  result<index> request_code_extra_index(free_function free);

  /// Nothing can be set at the index any more; what is set stays, and is freed as ever. The index may be given out again
  /// once the last value is gone. invalid_argument for an index that was not requested.
  result<void> unregister_code_extra_index(index i);

  /// Indices in use, those that wait for their last value included.
  std::size_t indices() const noexcept;
  /// Values set and not freed yet.
  std::size_t values() const noexcept { return values_; }

  /// Told of free functions that threw: the value counts as freed, the others are freed as ever.
  std::function<void(std::string_view what)> on_failure;

private:
  friend class code_object;
  enum class use : std::uint8_t { vacant, given_out, ending };
  struct entry {
    free_function free = nullptr;
    use state = use::vacant;
    std::size_t values = 0;
  };
  using doomed = std::pair<index, void*>;

  bool accepts(index i) const noexcept { return i < entries_.size() && entries_[i].state == use::given_out; }
  void add_value(index i);
  void release(index i, void* extra) noexcept;
  void release_all(std::vector<void*>& extras) noexcept;
  void drain() noexcept;
  void free_one(index i, void* extra) noexcept;

  std::vector<entry> entries_;
  std::vector<doomed> queue_;
  std::size_t values_ = 0;
  bool draining_ = false;
};

/// The extra slots of one piece of loaded code.
class code_object {
public:
  using index = code_extra_registry::index;

  explicit code_object(code_extra_registry& registry) noexcept : registry_(&registry) {}
  code_object(const code_object&) = delete;
  code_object& operator=(const code_object&) = delete;
  ~code_object() { registry_->release_all(extras_); }

  /// `mine`: the registry of the interpreter that sets, whose index it is. invalid_argument when the code is another
  /// interpreter's, and for an index that is not given out. A value that stood there is freed first.
  result<void> set_extra(const code_extra_registry& mine, index i, void* extra);
  /// Null for a slot that was never set, and for an index that was not requested: `extra` is always assigned.
  result<void> get_extra(index i, void*& extra) const noexcept;

private:
  code_extra_registry* registry_;
  std::vector<void*> extras_;
};

} // namespace Atoll
