// For tests that leave threads behind: they are done in a process of their own, which ends with them.
#pragma once

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace Atoll::test {

/// Calls `what`, which answers an exit status, in a fork of this process; its status. One that takes longer than `seconds`, or
/// is ended by a signal, fails the test.
template <class F>
int in_a_process(F&& what, unsigned seconds = 60) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(seconds);
    try {
      _exit(what());
    } catch (...) {
      _exit(99); // doctest must not go on here
    }
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

} // namespace Atoll::test
