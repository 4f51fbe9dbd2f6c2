#include "channels/selection.hpp"

namespace Atoll {

result<std::size_t> selection::wait_until(wait_limit until) {
  for (const one& c : cases_)
    if (const auto* kept = c.where.as<kept_channel>()) return kept->select(*this, until);
  return fail(errc::invalid_argument, "a selection without a channel would wait for ever");
}

} // namespace Atoll
