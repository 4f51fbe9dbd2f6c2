# Each breaks one rule of channel_wait.hpp (W) or basic_channel.hpp (C); the search says which invariant is broken.

# W1: the phase goes to taken once.
atoll_interleavings_mutant(take_without_looking channels/channel_wait.hpp
  "return phase_.compare_exchange_strong(expected, phase::taken, std::memory_order_acq_rel);"
  "phase_.store(phase::taken, std::memory_order_release);\n    return expected == phase::open;")
atoll_interleavings_mutant(take_looks_and_then_writes channels/channel_wait.hpp
  "return phase_.compare_exchange_strong(expected, phase::taken, std::memory_order_acq_rel);"
  "if (phase_.load(std::memory_order_acquire) != expected) return false;\n    phase_.store(phase::taken, std::memory_order_release);\n    return true;")
atoll_interleavings_mutant(withdraw_looks_and_then_writes channels/channel_wait.cpp
  "const bool mine = phase_.compare_exchange_strong(expected, phase::withdrawn, std::memory_order_acq_rel);"
  "const bool mine = phase_.load(std::memory_order_acquire) == phase::open;\n  if (mine) phase_.store(phase::withdrawn, std::memory_order_release); else expected = phase::taken;")
# W1: who finds that another was first goes on.
atoll_interleavings_mutant(taken_twice channels/basic_channel.cpp
  "    if (!mine) continue; // another channel, or its owner, was first"
  "")
# W2: who withdraws goes through the locks.
atoll_interleavings_mutant(withdraw_without_the_locks channels/channel_wait.cpp
  "  unlink_all(); // whoever took it has let go of its lock by then"
  "")
# W3: everybody who was taken is told; with the items of a channel that closes.
atoll_interleavings_mutant(nobody_told channels/basic_channel.cpp
  "    after.woken.append(*c->wait);"
  "    if (how == channel_status::done) after.woken.append(*c->wait);")
# W4: a wait that is over leaves the other lists.
atoll_interleavings_mutant(unlink_forgotten channels/channel_wait.cpp
  "  if (cases_.size() > 1) unlink_all(); // whoever took it has unlinked the one that fired"
  "")
atoll_interleavings_mutant(unlinked_from_the_wrong_list channels/basic_channel.hpp
  "(c.sends ? senders_waiting_ : receivers_waiting_).remove(c)"
  "(c.sends ? receivers_waiting_ : senders_waiting_).remove(c)")
# Step 1: the locks are taken in the order of ids.
atoll_interleavings_mutant(locks_in_any_order channels/channel_wait.cpp
  "      std::sort(channels_.begin(), channels_.end(), [](const auto* a, const auto* b) { return a->id() < b->id(); });"
  "")
# C1, C2: between the look and the wait nobody else comes.
atoll_interleavings_mutant(locks_let_go_before_waiting channels/channel_wait.cpp
  "  const locks all(*this);\n  if (look(random, after)) {\n    phase_.store(phase::taken, std::memory_order_relaxed);\n    return true;\n  }"
  "  {\n    const locks first(*this);\n    if (look(random, after)) {\n      phase_.store(phase::taken, std::memory_order_relaxed);\n      return true;\n    }\n  }\n  const locks all(*this);")
# C1, C2: who is seen in a list can be taken.
atoll_interleavings_mutant(open_after_the_locks channels/channel_wait.cpp
  "  const locks all(*this);\n  if (look(random, after)) {"
  "  struct opens { channel_wait& w; bool on = false; ~opens() { if (on) w.phase_.store(phase::open, std::memory_order_relaxed); } } late{*this};\n  const locks all(*this);\n  if (look(random, after)) {"
  "  // relaxed: nobody sees the cases before the locks are let go of.\n  phase_.store(phase::open, std::memory_order_relaxed);"
  "  late.on = true;")
# C1: what seemed ready and was taken by others is looked for again.
atoll_interleavings_mutant(no_second_look channels/channel_wait.cpp
  "    if (waits) continue;"
  "    if (waits) return false;")
# C1: a receiver meets a sender that waits.
atoll_interleavings_mutant(no_rendezvous channels/basic_channel.cpp
  "channel_case* from = take_first(senders_waiting_, channel_status::done, after)) { // a rendezvous"
  "channel_case* from = nullptr) {")
# C1: who comes to receive looks for a sender that waits.
atoll_interleavings_mutant(senders_overlooked channels/basic_channel.cpp
  "return ring_.size() > 0 || has_open(senders_waiting_);"
  "return ring_.size() > 0;")
# C2: room that was made goes to who waits for it.
atoll_interleavings_mutant(nobody_let_in channels/basic_channel.cpp
  "    if (!senders_waiting_.empty()) let_senders_in(after);\n  } else if"
  "  } else if")
# The end: everybody who waits is told, and nobody waits after it.
atoll_interleavings_mutant(close_forgets_senders channels/basic_channel.cpp
  "  wake_all(senders_waiting_, after);\n}"
  "}")
atoll_interleavings_mutant(waits_at_the_closed channels/basic_channel.cpp
  "  if (state_ != state::open && (sends || ring_.size() == 0)) return true;"
  "")
