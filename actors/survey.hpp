// Who holds this? One look over a runtime: every interpreter says what it has exported and what it has imported, each in
// a turn of its own, and the two are put together.
// Why: an owner counts credit, not holders; the holders know, and asking them costs nothing until somebody asks.
// Ownership: shared by the jobs that ask. Threads: any thread.
// Invariants: (1) what is told is told once: with the last part, or by finish(). (2) the parts are of different moments:
//                 a reference that moves meanwhile may be seen twice or nowhere.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "actors/shell/environment.hpp"
#include "runtime/imports.hpp"
#include "runtime/job.hpp"

namespace Atoll {

class survey {
public:
  using listener = std::function<void(std::vector<exported_object>)>;

  /// `parts`: how many calls of part() or missing() there will be.
  survey(std::size_t parts, listener told) : left_(parts), told_(std::move(told)) {}

  /// What asks one interpreter: it says its part in its turn.
  static std::unique_ptr<job> question(std::shared_ptr<survey> whole);

  void part(interpreter_id who, std::vector<exported_object> exports, const import_table& imports);
  /// One who will not say anything: it is gone.
  void missing() { close(1); }
  /// Waits no longer: what is known is told now, if it was not yet.
  void finish() { close(~std::size_t{0}); }

private:
  void close(std::size_t parts);

  std::mutex mutex_;
  std::size_t left_;                                         // under mutex_
  listener told_;                                            // under mutex_, empty once told
  std::vector<exported_object> objects_;                     // under mutex_
  std::map<object_id, std::vector<interpreter_id>> holders_; // under mutex_
};

/// Writes what a survey told: a list of tables with type, owner, credit and holders (host::survey_references).
void put_survey(wire_writer& w, const std::vector<exported_object>& all);

} // namespace Atoll
