// Native objects: C++ values in an interpreter's heap, with non-atomic counts and handles.
// Why: an object belongs to one interpreter, so its count needs no atomics; its memory comes from the interpreter's heap,
// so it is accounted for and returned with it. Not shared_ptr: that is atomic, and frees a long list by recursion.
// Ownership: an object_space per interpreter owns all objects; a count is one of handle<T> or of the export table.
// Threads: owner only, in its turn.
// Invariants: (1) an object is destroyed once: when its count falls to 0, or by close().
//             (2) destruction never recurses: objects whose count falls to 0 meanwhile wait in a queue.
//             (3) no handle outlives its space. A destructor that close() runs may find the objects it refers to
//                 destroyed already if they were part of a circle; it must not look through its handles.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <typeindex>
#include <unordered_map>
#include <utility>

#include "runtime/exports.hpp"
#include "runtime/heap.hpp"

namespace Atoll {

class object_space;
struct object;

/// What the objects of one C++ type in one space have in common.
struct object_class {
  object_space* space;
  std::type_index type;
  std::string name;  // for reports; "object" for types nobody named
  std::size_t bytes; // of the whole cell
  void (*destroy)(object&) noexcept;
  const void* methods = nullptr; // the guest's word, for finding methods fast
};

/// The header in front of every object.
struct object {
  static constexpr export_table::slot_index not_exported = std::numeric_limits<export_table::slot_index>::max();

  std::uint32_t count = 0;
  export_table::slot_index export_slot = not_exported;
  const object_class* cls;
  object* previous; // all objects of the space; of the queue, next only
  object* next;
};

template <class T>
struct object_cell : object {
  alignas(T) unsigned char storage[sizeof(T)];
  T& content() noexcept { return *std::launder(reinterpret_cast<T*>(storage)); }
};

/// Is told of each object whose count fell to 0, before it is destroyed. The object has one count meanwhile, and lives on
/// when somebody keeps another. Not told of what close() destroys. Never called inside itself.
class death_watch {
public:
  virtual void dying(object& o) = 0;

protected:
  ~death_watch() = default;
};

class object_space {
public:
  explicit object_space(heap& memory) noexcept : heap_(memory) {}
  object_space(const object_space&) = delete;
  object_space& operator=(const object_space&) = delete;
  ~object_space() { close(); }

  /// A new object with a count of 0. Throws std::bad_alloc over the heap's limit, and what T's constructor throws.
  template <class T, class... Args>
  object_cell<T>* create(Args&&... args);

  /// The class of T, made when first asked for. A name is kept from the first who gives one.
  template <class T>
  object_class& class_of(std::string_view name = {});

  /// The last count is gone.
  void release(object& o) noexcept;
  /// Destroys every object that is left, each once; handles among them are void from then on.
  void close() noexcept;

  /// Null: nobody is told any more, as while it costs nothing.
  void watch(death_watch* who) noexcept { watch_ = who; }

  std::size_t live() const noexcept { return live_; }
  /// Checked builds: aborts when it is not the owner's turn.
  void check_turn() const noexcept { heap_turn::check(heap_.owner()); }

private:
  void link(object& o) noexcept;
  void unlink(object& o) noexcept;
  bool brought_back(object& o) noexcept;
  void* take_memory(std::size_t bytes);

  heap& heap_;
  object* all_ = nullptr;
  object* queue_ = nullptr;
  death_watch* watch_ = nullptr;
  bool draining_ = false;
  bool closing_ = false;
  std::size_t live_ = 0;
  std::unordered_map<std::type_index, std::unique_ptr<object_class>> classes_;
};

inline void retain(object& o) noexcept {
  o.cls->space->check_turn();
  ++o.count;
}
inline void release(object& o) noexcept {
  o.cls->space->check_turn();
  if (--o.count == 0) o.cls->space->release(o);
}

/// The object a guest word stands for, and back.
inline object& object_of(guest_word word) noexcept { return *reinterpret_cast<object*>(word); }
inline guest_word word_of(const object& o) noexcept { return reinterpret_cast<guest_word>(&o); }

/// The content if the object is a T exactly, else null.
template <class T>
T* content_of(object& o) noexcept {
  if (o.cls->type != std::type_index(typeid(T))) return nullptr;
  return &static_cast<object_cell<T>&>(o).content();
}

/// A local root: counts as one holder of an object of type T, or is empty.
template <class T>
class handle {
public:
  handle() = default;
  explicit handle(object_cell<T>* cell) noexcept : cell_(cell) {
    if (cell_ != nullptr) retain(*cell_);
  }
  handle(const handle& other) noexcept : handle(other.cell_) {}
  handle(handle&& other) noexcept : cell_(std::exchange(other.cell_, nullptr)) {}
  handle& operator=(handle other) noexcept {
    std::swap(cell_, other.cell_);
    return *this;
  }
  ~handle() {
    if (cell_ != nullptr) release(*cell_);
  }

  /// The object as a T; empty if it is something else.
  static handle of(object& o) noexcept {
    return content_of<T>(o) != nullptr ? handle(static_cast<object_cell<T>*>(&o)) : handle();
  }

  explicit operator bool() const noexcept { return cell_ != nullptr; }
  T* operator->() const noexcept { return &**this; }
  T& operator*() const noexcept {
    cell_->cls->space->check_turn();
    return cell_->content();
  }
  T* get() const noexcept { return cell_ != nullptr ? &cell_->content() : nullptr; }
  /// The header; the handle must not be empty.
  object& header() const noexcept { return *cell_; }

  friend bool operator==(const handle& a, const handle& b) noexcept { return a.cell_ == b.cell_; }

private:
  object_cell<T>* cell_ = nullptr;
};

template <class T>
object_class& object_space::class_of(std::string_view name) {
  static_assert(alignof(object_cell<T>) <= heap::alignment, "the heap aligns to 16 bytes");
  std::unique_ptr<object_class>& c = classes_[typeid(T)];
  if (!c)
    c.reset(new object_class{this, typeid(T), "object", sizeof(object_cell<T>),
                             [](object& o) noexcept { std::destroy_at(&static_cast<object_cell<T>&>(o).content()); }});
  if (!name.empty() && c->name == "object") c->name = name;
  return *c;
}

template <class T, class... Args>
object_cell<T>* object_space::create(Args&&... args) {
  const object_class& c = class_of<T>();
  void* const memory = take_memory(c.bytes);
  auto* const cell = new (memory) object_cell<T>;
  try {
    new (cell->storage) T(std::forward<Args>(args)...);
  } catch (...) {
    heap_.deallocate(memory, c.bytes);
    throw;
  }
  cell->cls = &c;
  link(*cell);
  return cell;
}

} // namespace Atoll
