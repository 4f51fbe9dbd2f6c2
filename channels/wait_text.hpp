// What a wait on channels waits for, in words, and who could end it: for the report of a deadlock.
// Threads: the wait's owner, in its turn; nobody may decide the wait meanwhile, or the words are of a moment ago.
#pragma once

#include "channels/channel_wait.hpp"
#include "runtime/task_wait.hpp"

namespace Atoll {

/// "an item of channel 3", "room in channel 3", "the first of an item of channel 3, room in channel 4".
/// `whom` are those who used the other ends and have not let go of them.
task_wait wait_of(channel_wait& w);

} // namespace Atoll
