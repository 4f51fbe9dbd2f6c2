// A reference to another interpreter's object, held by native code.
// Why: the import entry must live exactly as long as somebody here can use it; so each foreign_ref is one counted use.
// Ownership: the foreign_space is the guest's and outlives every foreign_ref; the table is the shell's.
// Threads: owner only. To let go from another thread is not possible: the object that holds it is not there either.
// Invariants: (1) each foreign_ref stands for one use of its import until the space is over; then for nothing.
#pragma once

#include <string>
#include <utility>

#include "runtime/host.hpp"

namespace Atoll {

/// The imports of one native guest, and whether they are over (guest::drop_imports).
struct foreign_space {
  explicit foreign_space(host& h) noexcept : outside(h) {}
  host& outside;
  import_table* table = nullptr; // known to every foreign_ref that is not empty
  bool over = false;
};

class foreign_ref {
public:
  foreign_ref() = default;
  /// Takes over one use, as receive() gave it.
  foreign_ref(foreign_space& space, import_table::index import) noexcept : space_(&space), import_(import) {
    if (space.table == nullptr) space.table = &space.outside.imports(); // there, as it has the import
  }
  foreign_ref(const foreign_ref& other) noexcept : space_(other.space_), import_(other.import_) {
    if (*this) space_->table->add_use(import_);
  }
  foreign_ref(foreign_ref&& other) noexcept : space_(std::exchange(other.space_, nullptr)), import_(other.import_) {}
  foreign_ref& operator=(foreign_ref other) noexcept {
    std::swap(space_, other.space_);
    std::swap(import_, other.import_);
    return *this;
  }
  ~foreign_ref() {
    if (*this) space_->table->drop_use(import_);
  }

  /// False: empty, moved from, or the interpreter has let go of all its imports.
  explicit operator bool() const noexcept { return space_ != nullptr && !space_->over; }
  // Both ask for a valid reference.
  import_table::index import() const noexcept { return import_; }
  const object_id& id() const noexcept { return space_->table->id_of(import_); }

  /// "reference to account 3 of interpreter 2 'bank'", without asking the owner; "released reference".
  std::string describe() const;

  friend bool operator==(const foreign_ref& a, const foreign_ref& b) noexcept {
    return static_cast<bool>(a) == static_cast<bool>(b) && (!a || a.import_ == b.import_);
  }

private:
  foreign_space* space_ = nullptr;
  import_table::index import_ = import_table::none;
};

} // namespace Atoll
