// Names of functions by address, out of the process's own file and its libraries.
// Why: dladdr() knows only what is exported; most of Lua's functions are static. The full table lies in the file, unless
// it was stripped.
// Threads: any one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace Atoll {

class function_symbols {
public:
  /// Reads the table of the running program: some milliseconds. The file stays mapped.
  function_symbols();
  ~function_symbols();
  function_symbols(const function_symbols&) = delete;
  function_symbols& operator=(const function_symbols&) = delete;

  /// As in C, or demangled; empty: unknown.
  std::string name_at(const void* address) const;

private:
  struct symbol {
    std::uintptr_t start = 0;
    std::uintptr_t end = 0;
    const char* name = nullptr; // in the file
  };

  std::string_view file_;   // mapped; empty: it could not be
  std::vector<symbol> all_; // by start
};

} // namespace Atoll
