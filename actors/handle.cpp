#include "actors/handle.hpp"

#include "actors/host_port.hpp"

namespace Atoll {

namespace {

error nobody() { return {errc::no_such_interpreter, "the handle names no interpreter", {}, {}, {}, {}}; }

std::shared_ptr<answer> failed(error why) {
  auto a = std::make_shared<answer>();
  a->give(tl::unexpected<error>(std::move(why)));
  return a;
}

} // namespace

run_state interpreter_handle::state() const { return port_ ? port_->state_of(id_) : run_state::gone; }

std::shared_ptr<answer> interpreter_handle::call_values(std::string_view function,
                                                        const std::vector<value>& args) const {
  return port_ ? port_->call(id_, function, args) : failed(nobody());
}

result<void> interpreter_handle::send_values(std::string_view function, const std::vector<value>& args) const {
  if (!port_) return tl::unexpected<error>(nobody());
  return port_->send(id_, function, args);
}

std::shared_ptr<answer> interpreter_handle::run(std::unique_ptr<call_job> work) const {
  if (port_) return port_->run(id_, std::move(work));
  work->abandon(nobody());
  return failed(nobody());
}

future<void> interpreter_handle::stop(std::chrono::milliseconds timeout) const {
  return future<void>(port_ ? port_->stop(id_, timeout) : failed(nobody()));
}

result<void> interpreter_handle::interrupt() const {
  if (!port_) return tl::unexpected<error>(nobody());
  return port_->control(id_, {.interrupt = true});
}

result<void> interpreter_handle::kill() const {
  if (!port_) return tl::unexpected<error>(nobody());
  return port_->control(id_, {.kill = true});
}

result<void> interpreter_handle::monitor(down_callback told) const {
  if (!port_) return tl::unexpected<error>(nobody());
  return port_->monitor(id_, std::move(told));
}

future<std::map<std::string, double>> interpreter_handle::stats() const {
  return future<std::map<std::string, double>>(port_ ? port_->ask_stats(id_) : failed(nobody()));
}

} // namespace Atoll
