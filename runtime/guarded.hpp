// Runs user code in C++; what it throws becomes an error, so that no exception leaves an interpreter.
// Threads: owner only.
#pragma once

#include <exception>
#include <new>
#include <type_traits>

#include "runtime/errors.hpp"

namespace Atoll {

/// `f` answers a result<...>.
template <class F>
std::invoke_result_t<F> guarded(F&& f) {
  try {
    return f();
  } catch (const tl::bad_expected_access<error>& e) { // value() of a result that is an error
    return tl::unexpected<error>(e.error());
  } catch (const std::bad_alloc&) {
    return fail(errc::out_of_memory, "not enough memory");
  } catch (const std::exception& e) {
    return fail(errc::guest_error, e.what());
  } catch (...) {
    return fail(errc::guest_error, "an exception that is no std::exception");
  }
}

} // namespace Atoll
