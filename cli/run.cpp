#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "actors/system.hpp"
#include "cli/options.hpp"
#include "cli/profile.hpp"
#include "cli/signals.hpp"
#include "guests/lua/lua_guest.hpp"

namespace Atoll::cli {

namespace {

/// What --profile and --coverage gather; null where they were not asked for.
lua_instruments to_instruments(const run_options& o) {
  return {o.profile.empty() ? nullptr : std::make_shared<stack_counts>(),
          o.coverage.empty() ? nullptr : std::make_shared<line_counts>()};
}

/// Rounded up: the shortest limit is not none.
template <class Duration>
Duration to_duration(double seconds) {
  return std::chrono::ceil<Duration>(std::chrono::duration<double>(seconds));
}

system_config to_config(const run_options& o, const lua_instruments& instruments) {
  system_config config;
  config.workers = o.workers;
  config.deadline = o.deadline;
  config.memory = o.memory;
  config.message_cpu = to_duration<std::chrono::microseconds>(o.message_cpu);
  config.call_time = to_duration<std::chrono::milliseconds>(o.call_time);
  config.time_slice = to_duration<std::chrono::milliseconds>(o.time_slice);
  config.high_water = o.high_water;
  config.call_depth = o.call_depth;
  config.interpreters = o.interpreters;
  config.spare_workers = o.spare_workers;
  config.seed = o.seed;
  config.stuck_after = o.stuck_after;
  config.end_deadlocks = true; // nobody but the program itself can wake its tasks
  config.log_threshold = o.verbose ? log_level::info : log_level::warn;
  if (instruments.profile) config.sample_period = std::chrono::milliseconds(10);
  config.languages["lua"] = make_lua_guest;
  if (instruments.profile || instruments.coverage) config.languages["lua"] = make_instrumented_lua(instruments);
  return config;
}

/// What is said without --report: only what the user has to know.
std::string what_went_wrong(const finalization_report& r) {
  return r.verdict == finalization_report::verdict_kind::clean ? std::string{} : to_text(r);
}

/// One line on standard error. Where that cannot be written there is nobody to tell.
void say(const std::string& line) { std::fputs(("atoll: " + line + "\n").c_str(), stderr); }

bool write_report(const run_options& o, const finalization_report& r) {
  std::string text;
  if (!o.report) {
    text = o.report_file.empty() ? what_went_wrong(r) : to_text(r);
  } else if (*o.report == report_form::text) {
    text = to_text(r);
  } else if (*o.report == report_form::json) {
    text = to_json(r) + "\n";
  }
  if (text.empty()) return true;
  std::FILE* to = o.report_file.empty() ? stderr : std::fopen(o.report_file.c_str(), "w");
  bool written = to != nullptr && std::fwrite(text.data(), 1, text.size(), to) == text.size() && std::fflush(to) == 0;
  const int reason = errno;
  if (to != nullptr && to != stderr) written = std::fclose(to) == 0 && written;
  if (!written)
    say(fmt::format("cannot write the report to {}: {}", o.report_file.empty() ? "standard error" : o.report_file,
                    std::generic_category().message(reason)));
  return written;
}

/// Whether the file is written whole; says so where not.
bool write_file(const std::string& path, const char* what, const std::string& text) {
  std::FILE* const to = std::fopen(path.c_str(), "w");
  bool written = to != nullptr && std::fwrite(text.data(), 1, text.size(), to) == text.size() && std::fflush(to) == 0;
  const int reason = errno;
  if (to != nullptr) written = std::fclose(to) == 0 && written;
  if (!written) say(fmt::format("cannot write the {} to {}: {}", what, path, std::generic_category().message(reason)));
  return written;
}

/// Before the run: an hour of work is not to end with a misspelt path. Says why not.
bool can_write(const std::string& path, const char* what) {
  if (path.empty()) return true;
  std::FILE* const to = std::fopen(path.c_str(), "a");
  if (to != nullptr) return std::fclose(to) == 0;
  say(fmt::format("cannot write the {} to {}: {}", what, path, std::generic_category().message(errno)));
  return false;
}

bool ends_with_svg(const std::string& path) { return path.size() > 4 && path.ends_with(".svg"); }

/// After the finalization: the last counters come in when interpreters are closed.
bool write_instruments(const run_options& o, const lua_instruments& gathered) {
  bool written = true;
  if (gathered.profile) {
    const auto stacks = gathered.profile->get();
    written = write_file(o.profile, "profile", ends_with_svg(o.profile) ? to_flame_graph(stacks) : to_folded(stacks));
  }
  if (gathered.coverage) written = write_file(o.coverage, "coverage", to_lcov(gathered.coverage->get())) && written;
  return written;
}

void tell(const run_options& o, const error& e) {
  const bool limited = e.code == errc::out_of_memory && e.interpreter == main_interpreter && o.memory > 0;
  say(e.message + (limited ? fmt::format(" (--memory {})", o.memory) : "")
      + (e.traceback.empty() ? "" : "\n" + e.traceback));
}

/// Main may have been ended by others: nobody waited for it, so nothing was told yet.
bool main_was_killed(const finalization_report& r) {
  if (r.verdict == finalization_report::verdict_kind::forced) return false;
  for (const interpreter_report& i : r.interpreters) {
    if (i.id != main_interpreter || i.outcome != end_kind::killed) continue;
    say(fmt::format("interpreter {} was killed", number_and_name(i.id, i.name)));
    return true;
  }
  return false;
}

/// What the program printed must have arrived. A reader that went away (`atoll run x | head`) knows what it missed.
bool output_arrived() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return true;
  pollfd out{STDOUT_FILENO, 0, 0};
  if (poll(&out, 1, 0) <= 0 || (out.revents & POLLERR) == 0) say("standard output could not be written whole");
  return false;
}

int status_of(const run_options& o, const finalization_report& r, bool failed) {
  if (!r.deadlock.empty()) return deadlocked;
  if (failed) return guest_failed;
  if (r.exit_status != 0) return r.exit_status;
  if (r.verdict == finalization_report::verdict_kind::forced) return forced;
  if (r.verdict == finalization_report::verdict_kind::leaked && o.strict) return leaked;
  return ok;
}

} // namespace

int run(const run_options& o) {
  if (access(o.file.c_str(), R_OK) != 0) {
    say(fmt::format("cannot read {}: {}", o.file, std::generic_category().message(errno)));
    return usage;
  }
  if (!can_write(o.profile, "profile") || !can_write(o.coverage, "coverage")) return usage;
  const lua_instruments instruments = to_instruments(o);
  int status = ok;
  bool abandoned = false;
  {
    signal_watch signals;
    system runtime(to_config(o, instruments));
    const signal_watch::request on_signal(signals, [&] { runtime.request_exit(0); });
    const auto ended = runtime.run_main({.name = "main", .memory = o.memory, .language = "lua"},
                                        {source_kind::file, o.file, {}}, [&](wire_writer& w) {
                                          for (const std::string& argument : o.arguments) w.put_string(argument);
                                          return true;
                                        });
    std::fflush(stdout);
    if (!ended) tell(o, ended.error());
    const finalization_report report = runtime.finalize();
    const bool arrived = output_arrived();
    const bool told = write_report(o, report);
    const bool written = write_instruments(o, instruments) && told;
    const bool killed = ended && main_was_killed(report);
    status = status_of(o, report, !ended || !written || !arrived || killed);
    for (const interpreter_report& i : report.interpreters) abandoned = abandoned || i.outcome == end_kind::abandoned;
    if (abandoned) {
      // A thread is still inside a guest that never returned: leave without waiting for it.
      std::fflush(nullptr);
      _exit(status);
    }
  }
  return status;
}

int check(const std::vector<std::string>& files) {
  int status = ok;
  for (const std::string& file : files) {
    const auto checked = check_lua_file(file);
    if (checked) continue;
    say(checked.error().message);
    status = guest_failed;
  }
  return status;
}

} // namespace Atoll::cli
