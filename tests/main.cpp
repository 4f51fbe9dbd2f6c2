// Runs the doctest cases linked with it.
// Why not doctest's own main: a filter that matches nothing (a case renamed, a name the test runner
// could not quote) would count as success. Here it fails.

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

namespace {

unsigned cases_run = 0;
bool only_listing = false;

struct case_counter : doctest::IReporter {
  explicit case_counter(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override { only_listing = true; }
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& stats) override { cases_run = stats.numTestCasesPassingFilters; }
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

REGISTER_LISTENER("case_counter", 0, case_counter);

} // namespace

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  const int status = context.run();
  if (context.shouldExit() || only_listing || status != 0) return status;
  if (cases_run == 0) {
    std::fputs("no test case matches the filter\n", stderr);
    return 1;
  }
  return 0;
}

// What the sanitizers' runtimes ask for when they start.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ATOLL_UNDER_TSAN
#endif
#if __has_feature(address_sanitizer)
#define ATOLL_UNDER_ASAN
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define ATOLL_UNDER_TSAN
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ATOLL_UNDER_ASAN
#endif

#ifdef ATOLL_UNDER_TSAN
extern "C" const char* __tsan_default_options() { return "halt_on_error=1:second_deadlock_stack=1"; }
// Boost.Lockfree's free list reads a node's link while another thread may reuse the node; the tagged compare-and-swap that
// follows discards such a read. ThreadSanitizer cannot see that.
extern "C" const char* __tsan_default_suppressions() { return "race:boost::lockfree::detail::freelist_stack\n"; }
#endif
#ifdef ATOLL_UNDER_ASAN
extern "C" const char* __asan_default_options() { return "detect_stack_use_after_return=0:strict_string_checks=1"; }
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1:halt_on_error=1"; }
#endif
