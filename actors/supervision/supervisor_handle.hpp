// A supervisor as host threads see it. Any interpreter calls the same functions by these names.
// Ownership, threads: as interpreter_handle. Its stop() without a limit takes as long as the children's times allow.
#pragma once

#include "actors/handle.hpp"
#include "actors/supervision/supervisor_options.hpp"

namespace Atoll {

class supervisor_handle : public interpreter_handle {
public:
  supervisor_handle() = default;
  /// Of an interpreter that is known to be a supervisor; another answers unknown_function.
  explicit supervisor_handle(interpreter_handle supervisor) noexcept : interpreter_handle(std::move(supervisor)) {}

  /// In the order of their start; those that do not run, too.
  future<std::vector<child_info>> children() const { return call<std::vector<child_info>>("children"); }
  /// One more, behind the others. invalid_argument, name_taken (there is a child of that name, also a stopped one), or why
  /// it did not start: then it is no child.
  future<interpreter_handle> start_child(const child_options& o) const { return born("start_child", o.name, o); }
  /// False: it did not run. It stays as it is until restart_child(); a temporary one is forgotten.
  future<bool> stop_child(std::string_view child) const { return call<bool>("stop_child", child); }
  /// Stops it, if it runs, and starts it; that is no restart that counts.
  future<interpreter_handle> restart_child(std::string_view child) const {
    return born("restart_child", std::string(child), child);
  }
  /// Forgets a child that does not run; invalid_argument when it does.
  future<bool> delete_child(std::string_view child) const { return call<bool>("delete_child", child); }

private:
  template <class Arg>
  future<interpreter_handle> born(std::string_view function, std::string name, const Arg& arg) const {
    return future<interpreter_handle>(call_values(function, {to_value(arg)}),
                                      [port = port_, name = std::move(name)](const std::vector<value>& results) {
                                        return values_cast<interpreter_id>(results).map(
                                            [&](interpreter_id id) { return interpreter_handle(port, id, name); });
                                      });
  }
};

} // namespace Atoll
