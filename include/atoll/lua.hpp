// Lua 5.4 as a language of a runtime: config.languages["lua"] = Atoll::lua();
// And for tools: what they keep with the code of its functions (guests/lua/lua_code.hpp).
#pragma once

#include "actors/host_port.hpp"
#include "atoll/atoll.hpp"
#include "guests/lua/lua_code.hpp"
#include "guests/lua/lua_guest.hpp"

namespace Atoll {

struct lua {
  static constexpr const char* language = "lua";
  std::unique_ptr<guest> operator()(host& outside) const { return make_lua_guest(outside); }
};

namespace detail {

class lua_code_job final : public call_job {
public:
  explicit lua_code_job(lua_code_work work) : work_(std::move(work)) {}
  void run(host& owner) override { run_lua_code_work(owner, host_interpreter, call_, target_, work_); }

private:
  lua_code_work work_;
};

/// `work` may answer nothing, a value, or a result of either.
template <class R, class Call>
result<std::vector<value>> code_results(Call&& call) {
  if constexpr (std::is_void_v<R>) {
    call();
    return std::vector<value>{};
  } else if constexpr (requires(R r) { r.error(); }) {
    auto r = call();
    if (!r) return tl::unexpected<error>(std::move(r.error()));
    if constexpr (std::is_void_v<typename R::value_type>)
      return std::vector<value>{};
    else
      return std::vector<value>{to_value(std::move(*r))};
  } else {
    return std::vector<value>{to_value(call())};
  }
}

template <class R>
struct code_answer {
  using type = R;
};
template <class T>
struct code_answer<result<T>> {
  using type = T;
};

} // namespace detail

/// Runs `work(lua_code&)` in a turn of a Lua interpreter.
template <class F, class R = std::invoke_result_t<F, lua_code&>>
future<typename detail::code_answer<R>::type> with_code(const interpreter_handle& who, F work) {
  return future<typename detail::code_answer<R>::type>(
      who.run(std::make_unique<detail::lua_code_job>([work = std::move(work)](lua_code& all, code_object*) {
        return detail::code_results<R>([&] { return work(all); });
      })));
}

/// Runs `work(lua_code&, code_object&)` in the turn of the owner of a Lua function, with the function's code.
template <class F, class R = std::invoke_result_t<F, lua_code&, code_object&>>
future<typename detail::code_answer<R>::type> with_code(const ref<>& function, F work) {
  return future<typename detail::code_answer<R>::type>(
      function.run(std::make_unique<detail::lua_code_job>([work = std::move(work)](lua_code& all, code_object* of) {
        return detail::code_results<R>([&] { return work(all, *of); });
      })));
}

} // namespace Atoll
