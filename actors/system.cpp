#include "actors/system.hpp"

#include <fmt/format.h>

#include "actors/core.hpp"
#include "actors/hosted_channel.hpp"

namespace Atoll {

system::system(system_config config) : core_(std::make_shared<core>(std::move(config))) {}
system::~system() {
  if (!core_->forked()) core_->finalize();
  // Whether a thread is still inside an abandoned interpreter, and may yet come back to its core; or its threads are in
  // another process; or this is one of its workers, in a callback, which could not wait for itself.
  if (core_->forked() || core_->abandoned_any() || on_worker_thread_of(core_->caf())) core_->keep_for_good();
}
result<void> system::run_main(const spawn_options& options, const source& from,
                              const std::function<bool(wire_writer&)>& write_args) {
  return core_->run_main(options, from, write_args);
}
void system::request_exit(int status) { core_->request_exit(status); }
finalization_report system::finalize() { return core_->finalize(); }
future<interpreter_handle> system::spawn_values(const spawn_options& options, const source& from,
                                                const std::vector<value>& args) {
  return core_->spawn(options, from, args);
}
result<any_channel> system::make_any_channel(channel_options options) {
  const std::shared_ptr<host_port> port = core_->port().shared_from_this();
  return port->make_channel(std::move(options)).map([&](channel_handle c) {
    return any_channel(std::make_shared<hosted_channel>(port, std::move(c)));
  });
}
result<interpreter_handle> system::find(std::string_view name) { return core_->find(name); }
result<buffer> system::make_buffer(std::size_t bytes) { return core_->port().make_buffer(bytes); }

result<std::vector<exported_object>> system::references(std::chrono::milliseconds patience) {
  return core_->references(patience);
}
std::vector<interpreter_handle> system::list() { return core_->list(); }
result<void> system::add_pending_call(interpreter_id who, pending_function call) {
  return core_->add_pending_call(who, std::move(call));
}
result<void> system::add_pending_call(interpreter_id who, std::function<void()> call) {
  if (!call) return core_->add_pending_call(who, pending_function());
  pending_function with_host;
  try {
    with_host = [call = std::move(call)](host&) { call(); };
  } catch (const std::bad_alloc&) {
    return fail(errc::out_of_memory, fmt::format("no memory for a pending call of interpreter {}", number(who)));
  }
  return core_->add_pending_call(who, std::move(with_host));
}
result<pending_flag> system::make_pending_flag(interpreter_id who, pending_function call) {
  return core_->make_pending_flag(who, std::move(call));
}

} // namespace Atoll
