// What a task waits for, told by its guest: the lines of a deadlock's report.
// Threads: plain values.
#pragma once

#include <string>
#include <vector>

#include "runtime/ids.hpp"

namespace Atoll {

struct task_wait {
  std::string task;                 // what it runs: "call of 'serve'"; empty: unknown
  std::string where;                // "server.lua:12"; empty: unknown
  std::string on;                   // "an item of channel 3"
  std::vector<interpreter_id> whom; // who could end the wait, as far as is known; empty: nobody, or another task here
};

} // namespace Atoll
