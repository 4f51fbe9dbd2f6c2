#include "guests/lua/coverage.hpp"

#include <vector>

#include "guests/lua/state.hpp"

namespace Atoll {

/// A function's extra. Code that is in no file is not counted: its lines are nowhere to be seen.
struct line_coverage::function_lines {
  std::shared_ptr<line_counts> sums;
  std::string file; // empty: none
  int first = 0;
  std::vector<std::uint64_t> counts; // from line `first` on
};

line_coverage::line_coverage(lua_guest& g, std::shared_ptr<line_counts> sums) : guest_(g), sums_(std::move(sums)) {
  index_ = g.codes().registry().request_code_extra_index(free_lines).value(); // one of the first of 255
}

void line_coverage::free_lines(void* extra) {
  const std::unique_ptr<function_lines> f(static_cast<function_lines*>(extra));
  for (std::size_t i = 0; i < f->counts.size(); ++i)
    if (f->counts[i] > 0) f->sums->add({f->file, f->first + static_cast<int>(i)}, f->counts[i]);
}

namespace {

int append(lua_State*, const void* bytes, std::size_t n, void* to) {
  try {
    static_cast<std::string*>(to)->append(static_cast<const char*>(bytes), n);
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

} // namespace

/// The chunk on top of the stack: its lines exist, whether they run or not.
void line_coverage::add_lines_of_chunk(lua_State* L, const std::string& file) {
  std::string dump;
  if (lua_dump(L, append, &dump, 0) != 0) return;
  struct target {
    line_counts& sums;
    const std::string& file;
  } to{*sums_, file};
  const auto take = [](void* t, int line) {
    const auto& into = *static_cast<target*>(t);
    into.sums.add({into.file, line}, 0);
  };
  lines_of_dump(dump, take, &to);
}

line_coverage::function_lines* line_coverage::of_top(lua_State* L, lua_Debug* ar) {
  code_object* const code = guest_.codes().find(L, -1);
  if (code == nullptr) return nullptr;
  void* extra = nullptr;
  (void)code->get_extra(index_, extra);
  if (extra != nullptr) return static_cast<function_lines*>(extra);
  lua_getinfo(L, "S", ar);
  auto fresh = std::make_unique<function_lines>();
  fresh->sums = sums_;
  fresh->first = ar->linedefined;
  if (ar->source[0] == '@') fresh->file = ar->source + 1;
  if (!fresh->file.empty() && std::string_view(ar->what) == "main") add_lines_of_chunk(L, fresh->file);
  if (!code->set_extra(guest_.codes().registry(), index_, fresh.get())) return nullptr;
  return fresh.release();
}

void line_coverage::count(lua_State* L, lua_Debug* ar) noexcept {
  if (ar->currentline < 0 || lua_checkstack(L, 1) == 0) return;
  try {
    lua_getinfo(L, "f", ar);
    function_lines* const f = of_top(L, ar);
    lua_pop(L, 1);
    if (f == nullptr || f->file.empty() || ar->currentline < f->first) return;
    const auto i = static_cast<std::size_t>(ar->currentline - f->first);
    if (i >= f->counts.size()) f->counts.resize(i + 1);
    ++f->counts[i];
  } catch (const std::bad_alloc&) {
    // The line is not counted; what getinfo pushed goes with the hook's frame.
  }
}

} // namespace Atoll
