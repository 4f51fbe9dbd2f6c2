// The words of the atoll command, parsed.
// Threads: plain values, made once in main().
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace Atoll::cli {

/// Exit statuses of the command (DESIGN section 15).
enum status : int { ok = 0, guest_failed = 1, usage = 2, forced = 3, leaked = 4, deadlocked = 5 };

enum class report_form : std::uint8_t { text, json, none };

struct run_options {
  unsigned workers = 0;
  std::chrono::milliseconds deadline{5000};
  std::optional<report_form> report; // none given: only what went wrong is told
  std::string report_file;           // empty: standard error
  std::size_t memory = 0;
  // Limits of each interpreter, and of all (runtime/limits.hpp, actors/system.hpp). Seconds; 0: none.
  double message_cpu = 0;
  double call_time = 0;
  double time_slice = 0.01;
  std::size_t high_water = 65536;
  std::uint32_t call_depth = 1000;
  std::size_t interpreters = 1'000'000;
  std::size_t spare_workers = 64;
  bool strict = false;
  std::optional<std::uint64_t> seed;
  bool verbose = false;
  std::chrono::milliseconds stuck_after{10000};
  std::string profile;  // a file; empty: no profile. *.svg: a flame graph, others folded stacks
  std::string coverage; // a file; empty: none
  std::string file;
  std::vector<std::string> arguments;
};

int run(const run_options& options);
int check(const std::vector<std::string>& files);

} // namespace Atoll::cli
