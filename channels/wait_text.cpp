#include "channels/wait_text.hpp"

#include <algorithm>

#include "channels/basic_channel.hpp"

namespace Atoll {

task_wait wait_of(channel_wait& w) {
  task_wait told;
  if (w.size() > 1) told.on = "the first of ";
  for (std::size_t i = 0; i < w.size(); ++i) {
    const channel_case& c = w.at(i);
    if (i > 0) told.on += ", ";
    told.on += (c.sends ? "room in channel " : "an item of channel ") + std::to_string(c.where->id());
    const channel_ends ends = c.where->ends();
    for (const interpreter_id who : c.sends ? ends.receivers : ends.senders)
      if (std::find(told.whom.begin(), told.whom.end(), who) == told.whom.end()) told.whom.push_back(who);
  }
  return told;
}

} // namespace Atoll
