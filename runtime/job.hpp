// A piece of C++ that crosses to an interpreter and runs in its turn: typed native calls, questions of the supervisor.
// Ownership: the record that carries it; whoever takes the record out, or throws it away, deletes it.
// Threads: made and destroyed on any thread, run by the owner only.
// Invariants: (1) exactly one of run() and abandon() is called, then the job is deleted.
#pragma once

#include "runtime/errors.hpp"

namespace Atoll {

class host;

class job {
public:
  job() = default;
  job(const job&) = delete;
  job& operator=(const job&) = delete;
  virtual ~job() = default;

  /// In the owner's turn.
  virtual void run(host& owner) = 0;
  /// The target is gone, or refuses: on whichever thread found out.
  virtual void abandon(const error& why) noexcept = 0;
};

} // namespace Atoll
