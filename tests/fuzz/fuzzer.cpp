// libFuzzer's entry point; ATOLL_FUZZ_TARGET is one of targets.hpp. With ATOLL_FUZZ_SEEDS=FOLDER in the environment it
// writes inputs to start from into that folder, and ends: nothing binary is kept in the tree.
#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/fuzz/targets.hpp"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* const folder = std::getenv("ATOLL_FUZZ_SEEDS");
  if (folder == nullptr) return 0;
  std::mt19937_64 random(1);
  for (int i = 0; i < 200; ++i) {
    std::ofstream file(std::string(folder) + "/seed" + std::to_string(i), std::ios::binary);
    file << Atoll::testing::fuzz_seed(random, std::string(ATOLL_FUZZ_NAME) == "walk" && i % 2 == 0);
  }
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Atoll::testing::ATOLL_FUZZ_TARGET({data, size});
  return 0;
}
