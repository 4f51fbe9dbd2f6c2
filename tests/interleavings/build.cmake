# The channels' sources once more, with their lock and their atomic replaced by steps of a schedule (stepped.hpp), and each
# mutant of them: one rule taken out, which the search must notice.

set(stepped_folder "${CMAKE_CURRENT_BINARY_DIR}/interleavings/channels-stepped")
set(stepped_edits # of channel_wait.hpp
  "#include \"channels/item.hpp\"" "#include \"channels/item.hpp\"\n#include \"tests/interleavings/stepped.hpp\""
  "std::atomic<phase> phase_" "stepped::atomic<phase> phase_")
atoll_broken_copy("${stepped_folder}" channels/channel_wait.hpp ${stepped_edits})

file(GLOB stepped_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/channels/*.cpp")
add_library(atoll_channels_stepped STATIC ${stepped_sources})
target_include_directories(atoll_channels_stepped BEFORE PUBLIC "${CMAKE_CURRENT_LIST_DIR}/instead" "${stepped_folder}")
target_link_libraries(atoll_channels_stepped PUBLIC atoll_runtime Boost::headers Threads::Threads ${atomic}
  PRIVATE atoll_warnings)
target_link_libraries(test_interleavings PRIVATE atoll_channels_stepped)

# atoll_interleavings_mutant(NAME FILE FROM TO [FROM TO...])
function(atoll_interleavings_mutant name file)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/mutants/interleavings_${name}")
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "") # ARGN would fall apart at semicolons
  if(file STREQUAL "channels/channel_wait.hpp")
    list(PREPEND arg_UNPARSED_ARGUMENTS ${stepped_edits})
  endif()
  atoll_broken_copy("${folder}" "${file}" ${arg_UNPARSED_ARGUMENTS})
  set(sources "${folder}/${file}")
  if(file MATCHES "\\.hpp$")
    set(sources "${PROJECT_SOURCE_DIR}/channels/basic_channel.cpp" "${PROJECT_SOURCE_DIR}/channels/channel_wait.cpp")
  endif()
  atoll_executable(mutant_interleavings_${name} ${sources} $<TARGET_OBJECTS:test_interleavings>)
  target_include_directories(mutant_interleavings_${name} BEFORE PRIVATE "${folder}")
  target_compile_options(mutant_interleavings_${name} PRIVATE -w)
  target_link_libraries(mutant_interleavings_${name} PRIVATE atoll_test_main atoll_channels_stepped)
  set_target_properties(mutant_interleavings_${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/mutants")
  add_test(NAME "mutant of the channels: ${name}"
    COMMAND "${BASH_PROGRAM}" "${CMAKE_CURRENT_SOURCE_DIR}/interleavings/catch_mutant.sh"
      "$<TARGET_FILE:mutant_interleavings_${name}>")
  set_tests_properties("mutant of the channels: ${name}" PROPERTIES
    TIMEOUT 300 ENVIRONMENT "${sanitizer_env}")
endfunction()
