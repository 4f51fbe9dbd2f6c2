// The atoll command: run, check, version.
#include <CLI/CLI.hpp>
#include <cstdio>
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
  if (shift == shifts.end() || text.front() == '-') return "'" + text + "' is no number of bytes (as in 64m)";
  text = std::to_string(value << shift->second);
  return {};
}

void add_run(CLI::App& app, run_options& o, double& seconds) {
  CLI::App* run = app.add_subcommand("run", "Runs a Lua program: its first interpreter is main");
  run->add_option("--workers", o.workers, "threads that run interpreters (default: one for each core)")
      ->check(CLI::Range(1U, 1024U));
  run->add_option("--deadline", seconds, "seconds that finalization may take (default 5)")->check(CLI::Range(0.01, 86400.0));
  run->add_option("--report", o.report, "the finalization report: text, json or none (default: only what went wrong)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, report_form>{
          {"text", report_form::text}, {"json", report_form::json}, {"none", report_form::none}}));
  run->add_option("--report-file", o.report_file, "where the report goes (default: standard error)");
  run->add_option("--memory", o.memory, "byte limit of each interpreter's heap, as in 64m (default: none)")
      ->transform(CLI::Validator(to_bytes, "BYTES"));
  run->add_flag("--strict", o.strict, "exit with 4 when references leaked");
  run->add_flag("--verbose", o.verbose, "log at level info");
  run->add_option("file", o.file, "the program")->required();
  run->add_option("arguments", o.arguments, "its arguments, as `...` and `arg`");
  run->positionals_at_end();
  run->prefix_command();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Isolated interpreters as actors: runs Lua programs made of many of them.", "atoll");
  app.require_subcommand(1);
  run_options options;
  double seconds = 5;
  std::vector<std::string> files;
  add_run(app, options, seconds);
  CLI::App* check = app.add_subcommand("check", "Compiles Lua files and says what is wrong, without running them");
  check->add_option("files", files, "the files")->required();
  CLI::App* version = app.add_subcommand("version", "Prints the version");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
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
  for (const std::string& rest : app.get_subcommand("run")->remaining()) options.arguments.push_back(rest);
  return Atoll::cli::run(options);
}
