// The atoll command: run, check, version.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "cli/options.hpp"

namespace {

using namespace Atoll::cli;

/// Bytes, also as 64k, 16m, 2g.
std::string to_bytes(std::string& text) {
  std::size_t used = 0;
  unsigned long long value = 0;
  try {
    value = std::stoull(text, &used);
  } catch (const std::exception&) {
    return "'" + text + "' is no number of bytes (as in 64m)";
  }
  const std::string unit = text.substr(used);
  const std::map<std::string, int> shifts = {{"", 0}, {"k", 10}, {"K", 10}, {"m", 20}, {"M", 20}, {"g", 30}, {"G", 30}};
  const auto shift = shifts.find(unit);
  if (shift == shifts.end() || text.front() == '-' || value > (SIZE_MAX >> shift->second))
    return "'" + text + "' is no number of bytes (as in 64m)";
  text = std::to_string(value << shift->second);
  return {};
}

std::string to_seconds(std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const bool whole = end != text.c_str() && *end == '\0';
  return whole && value >= 0.01 && value <= 86400 ? "" : "'" + text + "' is no number of seconds (0.01 to 86400)";
}

/// Seconds from `least` to a day; 0 for no limit, if `or_none`.
CLI::Validator seconds_from(double least, bool or_none) {
  return {[=](std::string& text) -> std::string {
            char* end = nullptr;
            const double value = std::strtod(text.c_str(), &end);
            const bool number = end != text.c_str() && *end == '\0';
            if (number && ((value >= least && value <= 86400) || (or_none && value == 0))) return {};
            return "'" + text + "' is no number of seconds (" + CLI::detail::to_string(least) + " to 86400"
                   + (or_none ? ", 0 for no limit)" : ")");
          },
          "SECONDS"};
}

/// How many of the words belong to atoll: up to the program's file. What follows is the program's, whatever it looks like.
int own_words(const CLI::App& run, int argc, char** argv) {
  if (argc < 2 || run.get_name() != argv[1]) return argc;
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--") return std::min(i + 2, argc);
    if (word.size() < 2 || word.front() != '-') return i + 1;
    const CLI::Option* option = run.get_option_no_throw(word);
    if (option != nullptr && option->get_items_expected_max() > 0) ++i;
  }
  return argc;
}

bool is_command(CLI::App& app, const std::string& word) {
  const auto all = app.get_subcommands([](const CLI::App*) { return true; });
  return std::any_of(all.begin(), all.end(), [&](const CLI::App* a) { return a->get_name() == word; });
}

void add_run(CLI::App& app, run_options& o, double& seconds, double& stuck, std::string& report) {
  CLI::App* run = app.add_subcommand("run", "Runs a Lua program: its first interpreter is main");
  run->add_option("--workers", o.workers, "threads that run interpreters (default: one for each core)")
      ->check(CLI::Range(1U, 1024U));
  run->add_option("--deadline", seconds, "seconds that finalization may take (default 5)")
      ->transform(CLI::Validator(to_seconds, "SECONDS"));
  run->add_option("--stuck-after", stuck, "warns of a message that waits for so many seconds (default 10)")
      ->transform(CLI::Validator(to_seconds, "SECONDS"));
  run->add_option("--report", report, "the finalization report (default: only what went wrong)")
      ->check(CLI::IsMember(std::vector<std::string>{"text", "json", "none"}));
  run->add_option("--report-file", o.report_file, "where the report goes (default: standard error)");
  run->add_option("--memory", o.memory, "byte limit of each interpreter's heap, as in 64m (default: none)")
      ->transform(CLI::Validator(to_bytes, "BYTES"));
  run->add_option("--message-cpu", o.message_cpu, "seconds of processor time for a message; 0: no limit (default: 0)")
      ->transform(seconds_from(0.001, true));
  run->add_option("--call-time", o.call_time, "seconds a call may stay unanswered; 0: no limit (default: 0)")
      ->transform(seconds_from(0.001, true));
  run->add_option("--time-slice", o.time_slice, "seconds a turn may last while others wait (default 0.01)")
      ->transform(seconds_from(0.002, false));
  run->add_option("--high-water", o.high_water, "messages in an inbox above which senders wait (default 65536)")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 30U));
  run->add_option("--interpreters", o.interpreters, "interpreters that live at a time; 0: no limit (default 1000000)")
      ->check(CLI::Range(std::size_t{0}, std::size_t{1} << 40U));
  run->add_option("--call-depth", o.call_depth, "calls that wait for each other in a chain; 0: no limit (default 1000)")
      ->check(CLI::Range(0U, 4095U));
  run->add_option("--spare-workers", o.spare_workers,
                  "threads that take the place of workers whose turn does not end, at most (default 64)")
      ->check(CLI::Range(std::size_t{0}, std::size_t{1024}));
  run->add_flag("--strict", o.strict, "exit with 4 when references leaked");
  run->add_option("--seed", o.seed, "a number that random numbers start from, so that they repeat");
  run->add_option("--profile", o.profile,
                  "samples what runs 100 times a second: folded stacks, or a flame graph for *.svg");
  run->add_option("--coverage", o.coverage, "counts which lines of the program's files run, for lcov (slow)");
  run->add_flag("--verbose", o.verbose, "log at level info");
  run->add_option("file", o.file, "the program")->required();
  run->add_option("arguments", o.arguments, "its arguments, as `...` and `arg`");
}

} // namespace

int main(int argc, char** argv) {
  CLI::App app("Isolated interpreters as actors: runs Lua programs made of many of them.", "atoll");
  app.require_subcommand(1);
  app.set_version_flag("--version", "atoll " ATOLL_VERSION);
  run_options options;
  double seconds = 5;
  double stuck = 10;
  std::string report;
  std::vector<std::string> files;
  add_run(app, options, seconds, stuck, report);
  CLI::App* check = app.add_subcommand("check", "Compiles Lua files and says what is wrong, without running them");
  check->add_option("files", files, "the files")->required();
  CLI::App* version = app.add_subcommand("version", "Prints the version");
  const int own = own_words(*app.get_subcommand("run"), argc, argv);
  try {
    if (argc > 1 && argv[1][0] != '-' && !is_command(app, argv[1]))
      throw CLI::ParseError(std::string("there is no command '") + argv[1] + "', but run, check and version", usage);
    app.parse(own, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    std::fprintf(stderr, "atoll: %s\nRun 'atoll --help' for the options.\n", e.what());
    return usage;
  }
  if (*version) {
    std::printf("atoll %s\n", ATOLL_VERSION);
    return ok;
  }
  if (*check) return Atoll::cli::check(files);
  options.deadline = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
  options.stuck_after = std::chrono::milliseconds(static_cast<std::int64_t>(stuck * 1000));
  if (!report.empty())
    options.report = report == "text" ? report_form::text : report == "json" ? report_form::json : report_form::none;
  options.arguments.assign(argv + own, argv + argc);
  return Atoll::cli::run(options);
}
