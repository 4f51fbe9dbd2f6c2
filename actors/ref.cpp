#include "actors/ref.hpp"

#include <fmt/format.h>

#include "actors/host_port.hpp"

namespace Atoll {

namespace {

error released(std::string_view method) {
  return {errc::reference_released, fmt::format("{}: the reference is empty or was released", method), {}, {}, {}, {}};
}

std::shared_ptr<answer> failed(error why) {
  auto a = std::make_shared<answer>();
  a->give(tl::unexpected<error>(std::move(why)));
  return a;
}

} // namespace

ref<>::ref(const reference& held) {
  if (held.as<imported>() != nullptr) held_ = held;
}

const imported* ref<>::hold() const noexcept { return held_.as<imported>(); }

interpreter_id ref<>::owner() const noexcept {
  const imported* held = hold();
  return held != nullptr ? held->id().owner : interpreter_id{};
}

std::shared_ptr<answer> ref<>::invoke(invoke_op op, std::string_view name, const std::vector<value>& args) const {
  const imported* held = hold();
  return held != nullptr ? held->port()->invoke(*held, op, name, args) : failed(released(name.empty() ? "call" : name));
}

result<void> ref<>::send_values(std::string_view method, const std::vector<value>& args) const {
  const imported* held = hold();
  if (held == nullptr) return tl::unexpected<error>(released(method));
  return held->port()->send(*held, method, args);
}

std::shared_ptr<answer> ref<>::run(std::unique_ptr<call_job> work) const {
  const imported* held = hold();
  if (held != nullptr) return held->port()->run(*held, std::move(work));
  work->abandon(released("call"));
  return failed(released("call"));
}

} // namespace Atoll
