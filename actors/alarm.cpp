#include "actors/alarm.hpp"

#include "actors/core.hpp"

namespace Atoll {

void alarm::enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) {
  if (!what->content().match_elements<std::uint64_t>()) return; // nobody else has its address
  core_.ring(interpreter_id{what->content().get_as<std::uint64_t>(0)});
}

} // namespace Atoll
