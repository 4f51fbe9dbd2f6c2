// What `--profile` and `--coverage` leave behind: folded stacks, a flame graph, an lcov file.
// Threads: plain functions.
#pragma once

#include <string>

#include "guests/lua/instruments.hpp"

namespace Atoll::cli {

/// A line for each stack: its frames, parted by semicolons, and the number of samples.
std::string to_folded(const stack_counts::map& stacks);
/// The same as one picture that needs nothing else: a box for each frame, as wide as its samples, callers below.
std::string to_flame_graph(const stack_counts::map& stacks);
/// Lines and how often they ran, as lcov and genhtml read them.
std::string to_lcov(const line_counts::map& lines);

} // namespace Atoll::cli
