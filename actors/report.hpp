// The finalization report: how a runtime ended, phase by phase and interpreter by interpreter.
// Threads: plain values.
// Invariants: (1) outcomes count every interpreter that ever started once; the first system_config::reported_ends of those
//                 that ended as asked, and as many of the others, are listed too, and main and the abandoned always.
//             (2) exported = released + leaked + ended with owner.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "actors/shell/environment.hpp"
#include "channels/channel_space.hpp"

namespace Atoll {

/// A task that waited when nothing could happen any more.
struct deadlocked_task {
  interpreter_id id{};
  std::string name;
  task_wait wait;
  bool in_circle = false; // it and the others of the circle wait for each other

  /// "interpreter 2 'a' ('get', a.lua:3) waits for an answer of interpreter 1 'main'"
  std::string text() const;
};

/// How interpreters ended: sums over all of them, and a list that is bounded. A runtime in which millions come and go keeps
/// no memory for each of the gone.
struct ends {
  std::array<std::uint64_t, end_kinds> outcomes{}; // by end_kind
  std::vector<interpreter_report> interpreters;    // those listed, by id in the report
  std::uint64_t exported = 0;
  std::uint64_t released = 0;
  std::uint64_t messages_delivered = 0;
  std::uint64_t finalizers_run = 0;
  std::uint64_t finalizers_failed = 0;
  std::uint64_t pending_calls_run = 0;
  std::uint64_t pending_calls_failed = 0;
  std::uint64_t pending_calls_refused = 0;

  /// Those that ever ended.
  std::uint64_t total() const noexcept;
  /// Lists it unless `most` of its kind (as asked, or with something amiss) are listed, or there is no memory.
  void add(interpreter_report r, std::size_t most) noexcept;

private:
  std::size_t as_asked_ = 0; // listed
  std::size_t amiss_ = 0;    // listed
};

struct finalization_report : ends {
  enum class verdict_kind : std::uint8_t { clean, forced, leaked };
  struct phase {
    std::string name;
    double seconds = 0;
    std::vector<std::string> forced; // what had to be ended by force: "interpreter 2 'x'", ...
  };

  verdict_kind verdict = verdict_kind::clean;
  double seconds = 0;
  int exit_status = 0; // what main or atoll.exit asked for
  std::vector<phase> phases;
  std::vector<exported_object> leaked;    // what was still held when everybody had let go
  std::vector<channel_leftover> channels; // that held items when everybody had let go
  std::vector<deadlocked_task> deadlock;  // why main ended, if that was it (system_config::end_deadlocks)
  std::uint64_t dead_letters = 0;
};

const char* name_of(finalization_report::verdict_kind verdict) noexcept;
/// For people: one screen, what went wrong first.
std::string to_text(const finalization_report& report);
/// One line, the shape of DESIGN section 11.
std::string to_json(const finalization_report& report);

} // namespace Atoll
