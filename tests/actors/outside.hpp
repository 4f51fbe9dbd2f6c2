// What tests share that use a whole runtime from host threads: interpreters of probes, codes of errors, patience.
// Threads: any.
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include <atoll/atoll.hpp>

#include "tests/actors/probe_guest.hpp"

namespace Atoll::test {

/// A guest of the language "probe", which the test's configuration has.
inline interpreter_handle spawn_probe(Atoll::system& s, std::string name = {}) {
  auto h = s.spawn({.name = std::move(name), .language = "probe"}, code(""));
  REQUIRE(h.has_value());
  return *h;
}

template <class T>
errc code_of(const result<T>& r) {
  return r ? errc::ok : r.error().code;
}

/// Waits for what another thread brings about; no test waits longer than this.
inline bool soon(const std::function<bool()>& condition) {
  using namespace std::chrono_literals;
  for (const auto end = std::chrono::steady_clock::now() + 20s; std::chrono::steady_clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

} // namespace Atoll::test
