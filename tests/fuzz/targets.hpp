// What is fuzzed: each function takes any bytes, and aborts when what reads them breaks a promise.
// Why functions: libFuzzer (fuzzer.cpp) and the deterministic mutations of every build (fuzz_test.cpp) share them.
// Threads: one.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>

namespace Atoll::testing {

using fuzz_input = std::span<const std::uint8_t>;

/// An envelope: records one after the other, each walked. Nothing is told of beyond the bytes.
void fuzz_walk(fuzz_input data);
/// Values in C++ form. What is read is written the same, and a walk agrees; every reference is accounted for.
void fuzz_values(fuzz_input data);
/// Values of a Lua guest that has two packed classes. What is read can be sent, or is refused for its own sake.
void fuzz_lua(fuzz_input data);

/// A well-formed input for all of them, to start from: the values of a random graph, or an envelope of records with them.
std::string fuzz_seed(std::mt19937_64& random, bool envelope);

} // namespace Atoll::testing
