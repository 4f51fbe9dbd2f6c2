# atoll_warnings: the warnings every target of this project is built with. Errors unless
# ATOLL_WERROR=OFF. Third-party headers are SYSTEM and stay silent.

add_library(atoll_warnings INTERFACE)

target_compile_options(atoll_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
  -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual -Wformat=2 -Wimplicit-fallthrough
  -Wextra-semi -Wvla
  # gcc 12 warns of overlapping copies inside std::string that do not exist (gcc bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # Designated initializers that leave members to their defaults are how options are given.
  -Wno-missing-field-initializers
  $<$<BOOL:${ATOLL_WERROR}>:-Werror>)

# gcc's flow analysis gives false alarms on what the sanitizers insert.
if(ATOLL_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(atoll_warnings INTERFACE
    -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow)
endif()
