// What happens to messages that nobody will read: their credit goes home, their callers get an answer.
// Why: CAF deletes messages to a dead actor silently; here nothing is lost (DESIGN rule 8, invariant I5).
// Threads: any thread; no heap is touched.
//
// For each record of an envelope whose receiver is gone:
//   1. every reference in it returns its credit to its owner, or its loan to its lender; connections are closed,
//      holds on buffers end;
//   2. a call is answered `interpreter_gone`, a monitor is told `down`, a link `link_down`, a job is abandoned;
//   3. of the protocol: a credit request is answered with a grant of 0, a grant goes back to its owner, a loan return
//      goes to the tombstone; a decref to a dead owner means nothing any more.
#pragma once

#include <memory>
#include <vector>

#include "channels/directory.hpp"
#include "runtime/job.hpp"

namespace Atoll {

class outbox;

/// For whoever may dispose under a lock: jobs thrown away on this thread while one of these stands are abandoned by
/// abandon_all(), and deleted when it ends, as both run user code. Made before the lock, so that it ends after it. Within
/// another it leaves all to that.
class deferred_jobs {
public:
  deferred_jobs() noexcept;
  deferred_jobs(const deferred_jobs&) = delete;
  deferred_jobs& operator=(const deferred_jobs&) = delete;
  ~deferred_jobs() { abandon_all(); }

  /// Once; behind the lock.
  void abandon_all() noexcept;
  /// Throws the job away: through the outermost of these on this thread, or at once when there is none.
  static void abandon(std::unique_ptr<job> work, const error& why);

private:
  bool outermost_;
  std::vector<std::pair<std::unique_ptr<job>, error>> jobs_;
};

/// Pushes the envelope; whatever the inbox turns out to be too dead to read is disposed of.
void deliver(inbox& to, envelope_ptr e, directory& where);

/// Disposes of an envelope for `receiver`, which is gone; `last_words` is what is known of its end.
void dispose(envelope_ptr e, interpreter_id receiver, directory& where, const epitaph& last_words = {});

/// The same for what is left of an envelope that was handled in part.
void dispose_rest(wire_reader records, interpreter_id sender, interpreter_id receiver, directory& where,
                  const epitaph& last_words = {});

/// Values that nobody will read, in no envelope: what they carry goes home.
void dispose_values(wire_reader values, directory& where);

/// Returns loans to a lender, or to its tombstone when it is dead; with a tombstone's last loan its credit goes home.
void return_loan(interpreter_id lender, const object_id& id, std::uint32_t loans, outbox& out, directory& where);

/// Disposes of everything left in a closed inbox.
void dispose_leftovers(inbox& closed, directory& where);

} // namespace Atoll
