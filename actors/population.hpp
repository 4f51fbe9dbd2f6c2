// How many interpreters live below somebody who may have only so many at a time: a parent with a limit, or the runtime.
// Ownership: shared by those who are counted in it, so that it outlives the one whose limit it is.
// Threads: enter() and leave() under one lock, the core's; the rest any thread.
// Invariants: (1) whoever is counted here is counted in every population above. (2) each that entered leaves once.
#pragma once

#include <memory>
#include <string>

#include "runtime/ids.hpp"

namespace Atoll {

class population {
public:
  /// `owner`: whose descendants are counted; the host program stands for the runtime. `limit` 0: none.
  population(interpreter_id owner, std::string name, std::size_t limit, std::shared_ptr<population> above)
      : owner_(owner), name_(std::move(name)), limit_(limit), above_(std::move(above)) {}

  interpreter_id owner() const noexcept { return owner_; }
  const std::string& name() const noexcept { return name_; }
  std::size_t limit() const noexcept { return limit_; }
  const std::shared_ptr<population>& above() const noexcept { return above_; }

  /// Counts one more. When there is no room for it, nothing is counted and the answer is who has none.
  const population* enter() noexcept {
    for (const population* p = this; p != nullptr; p = p->above_.get())
      if (p->limit_ > 0 && p->living_ >= p->limit_) return p;
    for (population* p = this; p != nullptr; p = p->above_.get()) ++p->living_;
    return nullptr;
  }
  void leave() noexcept {
    for (population* p = this; p != nullptr; p = p->above_.get()) --p->living_;
  }

private:
  const interpreter_id owner_;
  const std::string name_;
  const std::size_t limit_;
  const std::shared_ptr<population> above_; // null: nobody
  std::size_t living_ = 0;
};

} // namespace Atoll
