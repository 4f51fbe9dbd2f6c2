# ATOLL_SANITIZE: a comma-separated list for -fsanitize, applied to everything built here.
#
# - null is off: CAF's headers bind null references.
# - thread only with ATOLL_WITHOUT_CAF: libcaf.so is not instrumented, so reports from its code are
#   false, and suppressing caf:: hides real races too. channels/ and the shell are tested without CAF.

if(ATOLL_SANITIZE)
  add_compile_options(-fsanitize=${ATOLL_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${ATOLL_SANITIZE})
  if(ATOLL_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize=null -fno-sanitize-recover=all)
  endif()
  if(ATOLL_SANITIZE MATCHES "thread" AND NOT ATOLL_WITHOUT_CAF)
    message(FATAL_ERROR "ATOLL_SANITIZE=thread needs ATOLL_WITHOUT_CAF=ON: libcaf is not instrumented")
  endif()
endif()

if(ATOLL_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "ATOLL_FUZZ needs clang: libFuzzer is its own")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
