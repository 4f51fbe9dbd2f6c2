# Finds Lua 5.4's static C library.
#
#   find_package(Lua54 REQUIRED)
#
# Defines Lua54::static and Lua54_VERSION. Searched also: Lua54_ROOT.
# Why static, and why not CMake's own FindLua: a call into a shared library costs the guest's hot
# loop; and of Debian's two builds the one that throws C++ exceptions (liblua5.4-c++) makes a yield
# cost 1.7 us, 20 times the longjmp of the C build.

find_path(Lua54_INCLUDE_DIR NAMES lua.hpp PATH_SUFFIXES lua5.4 lua-5.4 lua54)
find_library(Lua54_LIBRARY NAMES liblua5.4.a liblua-5.4.a liblua54.a)
mark_as_advanced(Lua54_INCLUDE_DIR Lua54_LIBRARY)

if(Lua54_INCLUDE_DIR)
  foreach(_part MAJOR MINOR RELEASE)
    file(STRINGS "${Lua54_INCLUDE_DIR}/lua.h" _line
      REGEX "^#define[ \t]+LUA_VERSION_${_part}[ \t]+\"[0-9]+\"")
    string(REGEX REPLACE ".*\"([0-9]+)\".*" "\\1" _lua_${_part} "${_line}")
  endforeach()
  set(Lua54_VERSION "${_lua_MAJOR}.${_lua_MINOR}.${_lua_RELEASE}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Lua54
  REQUIRED_VARS Lua54_LIBRARY Lua54_INCLUDE_DIR
  VERSION_VAR Lua54_VERSION
  REASON_FAILURE_MESSAGE "install liblua5.4-dev, or set Lua54_ROOT")

if(Lua54_FOUND AND NOT TARGET Lua54::static)
  add_library(Lua54::static STATIC IMPORTED)
  set_target_properties(Lua54::static PROPERTIES
    IMPORTED_LOCATION "${Lua54_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${Lua54_INCLUDE_DIR}"
    INTERFACE_LINK_LIBRARIES "${CMAKE_DL_LIBS};m")
endif()
