// A piece of C++ that crosses to an interpreter and runs in its turn: typed native calls, questions of the supervisor.
// Ownership: the record that carries it; whoever takes the record out, or throws it away, deletes it.
// Threads: made and destroyed on any thread, run by the owner only.
// Invariants: (1) exactly one of run() and abandon() is called, then the job is deleted.
#pragma once

#include <vector>

#include "runtime/errors.hpp"
#include "runtime/value.hpp"

namespace Atoll {

class host;
class reference_codec;

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

/// Answers `call` of `caller` from a job in the turn of `owner`: with the results, or with their error, or with why they
/// cannot cross. `references` writes the references among them.
void answer_job(host& owner, interpreter_id caller, call_id call, const result<std::vector<value>>& results,
                reference_codec& references);

} // namespace Atoll
