#include "guests/lua/libraries.hpp"

#include <algorithm>
#include <array>

#include "guests/lua/calls.hpp"

namespace Atoll {

int open_atoll(lua_State* L);

namespace {

// In the order of luaL_openlibs, which opens package second; and what hangs on them.
enum library : std::uint32_t {
  base = 1U << 0U,
  package = 1U << 1U,
  coroutine = 1U << 2U,
  table = 1U << 3U,
  io = 1U << 4U,
  os = 1U << 5U,
  string = 1U << 6U,
  math = 1U << 7U,
  utf8 = 1U << 8U,
  debug = 1U << 9U,
  atoll = 1U << 10U,
  string_methods = 1U << 11U, // opened by the first one used
  metatables = 1U << 12U,     // opens nothing: setmetatable was named
  everything = (1U << 13U) - 1
};

struct word {
  std::string_view text;
  std::uint32_t needs;
};

// Sorted. `getmetatable` may ask for that of strings.
constexpr std::array words{
    word{"_ENV", everything},
    word{"_G", everything},
    word{"_VERSION", base},
    word{"assert", base},
    word{"collectgarbage", base},
    word{"coroutine", coroutine},
    word{"debug", everything},
    word{"dofile", everything},
    word{"error", base},
    word{"getmetatable", base | string},
    word{"io", io},
    word{"ipairs", base},
    word{"load", everything},
    word{"loadfile", everything},
    word{"math", math},
    word{"next", base},
    word{"os", os},
    word{"package", everything},
    word{"pairs", base},
    word{"pcall", base},
    word{"print", base},
    word{"rawequal", base},
    word{"rawget", base},
    word{"rawlen", base},
    word{"rawset", base},
    word{"require", everything}, // but for require "atoll"
    word{"select", base},
    word{"setmetatable", base | metatables},
    word{"string", string},
    word{"table", table},
    word{"tonumber", base},
    word{"tostring", base},
    word{"type", base},
    word{"utf8", utf8},
    word{"warn", base},
    word{"xpcall", base},
};
static_assert(std::is_sorted(words.begin(), words.end(), [](const word& a, const word& b) { return a.text < b.text; }));

constexpr bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// Whether `rest`, what stands behind "require", is the literal "atoll" and nothing else.
bool is_atoll(std::string_view rest) noexcept {
  const auto skip_blanks = [&] {
    while (!rest.empty() && (rest.front() == ' ' || rest.front() == '\t')) rest.remove_prefix(1);
  };
  skip_blanks();
  const bool bracket = !rest.empty() && rest.front() == '(';
  if (bracket) rest.remove_prefix(1);
  skip_blanks();
  if (rest.substr(0, 7) != "\"atoll\"" && rest.substr(0, 7) != "'atoll'") return false;
  rest.remove_prefix(7);
  skip_blanks();
  return !bracket || rest.substr(0, 1) == ")"; // not require("atoll" .. x)
}

std::uint32_t needs_of(std::string_view name, std::string_view rest) noexcept {
  const auto* const at =
      std::lower_bound(words.begin(), words.end(), name, [](const word& w, std::string_view n) { return w.text < n; });
  if (at == words.end() || at->text != name) return 0;
  return name == "require" && is_atoll(rest) ? atoll : at->needs;
}

/// What may reach a string's metatable. Arithmetic on strings is done by the string library.
std::uint32_t needs_of(char c) noexcept {
  switch (c) {
  case '.':
  case ':':
  case '[': return string_methods;
  case '+':
  case '*':
  case '/':
  case '%':
  case '^': return string;
  default: return 0;
  }
}

std::uint32_t needs_of(std::string_view text) noexcept {
  std::uint32_t needs = 0;
  const std::size_t n = text.size();
  for (std::size_t i = 0; i < n && needs != everything;) {
    if (is_letter(text[i])) {
      const std::size_t start = i;
      while (i < n && (is_letter(text[i]) || is_digit(text[i]))) ++i;
      needs |= needs_of(text.substr(start, i - start), text.substr(i));
    } else if (text[i] == '-') { // two begin a comment, and more do nothing else
      const std::size_t start = i;
      while (i < n && text[i] == '-') ++i;
      if (i - start == 1) needs |= string;
    } else {
      needs |= needs_of(text[i++]);
    }
  }
  return (needs & base) != 0 ? needs | string_methods : needs; // ipairs indexes strings, too
}

/// The __index of strings while their library is not open.
int string_index(lua_State* L) {
  open_named(L, "string");
  lua_settop(L, 2);
  lua_gettable(L, 1);
  return 1;
}

void hook_strings(lua_State* L) {
  lua_pushliteral(L, "");
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, string_index);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

/// `require` in a program that asks for nothing but "atoll". All else comes with Lua's own, which takes this one's place.
int require_atoll(lua_State* L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "atoll");
  return 1;
}

void open_own(lua_State* L) {
  luaL_requiref(L, "atoll", open_atoll, 0);
  lua_pop(L, 1);
  if ((lua_guest::of(L).libraries & package) != 0) return;
  lua_pushcfunction(L, require_atoll);
  lua_setglobal(L, "require");
}

void change_globals(lua_State* L) {
  open_protected(L);
  guard_globals(L);
}

void seed(lua_State* L) {
  const lua_guest& g = lua_guest::of(L);
  const auto seed = g.out.seed();
  if (!seed) return;
  lua_getfield(L, -1, "randomseed");
  lua_pushinteger(L, static_cast<lua_Integer>(*seed));
  lua_pushinteger(L, static_cast<lua_Integer>(number(g.out.id())));
  lua_call(L, 2, 0);
}

struct standard {
  library which;
  const char* name;
  lua_CFunction open;
  void (*change)(lua_State* L); // the library is on top
};

constexpr std::array standards{
    standard{base, LUA_GNAME, luaopen_base, change_globals},
    standard{package, LUA_LOADLIBNAME, luaopen_package, nullptr},
    standard{coroutine, LUA_COLIBNAME, luaopen_coroutine, open_coroutines},
    standard{table, LUA_TABLIBNAME, luaopen_table, nullptr},
    standard{io, LUA_IOLIBNAME, luaopen_io, nullptr},
    standard{os, LUA_OSLIBNAME, luaopen_os, open_os_exit},
    standard{string, LUA_STRLIBNAME, luaopen_string, nullptr},
    standard{math, LUA_MATHLIBNAME, luaopen_math, seed},
    standard{utf8, LUA_UTF8LIBNAME, luaopen_utf8, nullptr},
    standard{debug, LUA_DBLIBNAME, luaopen_debug, guard_debug},
};

void open(lua_State* L, const standard& s) {
  // As luaL_requiref; but the table of globals stands in package.loaded from the beginning (open_none).
  lua_pushcfunction(L, s.open);
  lua_pushstring(L, s.name);
  lua_call(L, 1, 1);
  if (s.change != nullptr) s.change(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, s.name);
  lua_pop(L, 1);
  lua_setglobal(L, s.name);
  lua_guest::of(L).libraries |= s.which;
}

} // namespace

bool may_run_at_close(const lua_guest& g) noexcept { return (g.libraries & (metatables | io)) != 0; }

void open_none(lua_State* L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE); // tracebacks look up names of functions there
  lua_pushglobaltable(L);
  lua_setfield(L, -2, LUA_GNAME);
  lua_pop(L, 1);
}

void open_named(lua_State* L, std::string_view text) {
  lua_guest& g = lua_guest::of(L);
  if (g.libraries == everything) return;
  const std::uint32_t missing = needs_of(text) & ~g.libraries;
  if (missing == 0) return;
  luaL_checkstack(L, 8, nullptr);
  for (const standard& s : standards)
    if ((missing & s.which) != 0) open(L, s);
  if ((missing & atoll) != 0) open_own(L);
  if ((missing & string_methods) != 0 && (g.libraries & string) == 0) hook_strings(L);
  g.libraries |= missing;
}

} // namespace Atoll
