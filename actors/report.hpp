// The finalization report: how a runtime ended, phase by phase and interpreter by interpreter.
// Threads: plain values.
// Invariants: (1) one entry for each interpreter that ever started. (2) exported = released + leaked + ended with owner.
#pragma once

#include <string>
#include <vector>

#include "actors/shell/environment.hpp"

namespace Atoll {

struct finalization_report {
  enum class verdict_kind : std::uint8_t { clean, forced, leaked };
  struct phase {
    std::string name;
    double seconds = 0;
    std::vector<std::string> forced; // what had to be ended by force, by interpreter
  };

  verdict_kind verdict = verdict_kind::clean;
  double seconds = 0;
  int exit_status = 0; // what main or atoll.exit asked for
  std::vector<phase> phases;
  std::vector<interpreter_report> interpreters; // by id
  std::uint64_t exported = 0;
  std::uint64_t released = 0;
  std::vector<exported_object> leaked; // what was still held when everybody had let go
  std::uint64_t messages_delivered = 0;
  std::uint64_t dead_letters = 0;
  std::uint64_t finalizers_run = 0;
  std::uint64_t finalizers_failed = 0;
  std::uint64_t pending_calls_run = 0;
  std::uint64_t pending_calls_failed = 0;
  std::uint64_t pending_calls_refused = 0;
};

const char* name_of(finalization_report::verdict_kind verdict) noexcept;
/// For people: one screen, what went wrong first.
std::string to_text(const finalization_report& report);
/// One line, the shape of DESIGN section 11.
std::string to_json(const finalization_report& report);

} // namespace Atoll
