// Atoll for programs that embed it: a runtime, its interpreters, references to their objects.
//
//   Atoll::system_config config;
//   config.languages["lua"] = Atoll::lua();                                    // <atoll/lua.hpp>
//   Atoll::system runtime(config);
//   auto worker = runtime.spawn<Atoll::lua>({.name = "worker"}, Atoll::file("worker.lua")).value();
//   int sum = worker.call<int>("add", 2, 3).get().value();
//   Atoll::finalization_report how = runtime.finalize();
//
// Languages are included one by one: <atoll/lua.hpp>, <atoll/native.hpp>. No header here needs CAF's or Lua's.
#pragma once

#include "actors/handle.hpp"
#include "actors/hosted_channel.hpp"
#include "actors/ref.hpp"
#include "actors/system.hpp"

namespace Atoll {

/// A program in a file; errors name the file.
inline source file(std::string path) { return {source_kind::file, std::move(path), {}}; }
/// A program in a string; `name` is what errors call it.
inline source code(std::string text, std::string name = {}) {
  return {source_kind::code, std::move(text), std::move(name)};
}

inline namespace literals {
constexpr std::size_t operator""_KiB(unsigned long long n) { return static_cast<std::size_t>(n) << 10U; }
constexpr std::size_t operator""_MiB(unsigned long long n) { return static_cast<std::size_t>(n) << 20U; }
} // namespace literals

} // namespace Atoll
