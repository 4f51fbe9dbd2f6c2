// What a TCP connection holds in the guest: bytes that have come and nobody has read, and who waits.
// Threads: owner only.
// Invariants: (1) at most one task reads at a time. (2) data is bytes[head..]; what is before was read.
//             (3) untold <= unread(): once a byte is handed out, or a reader waits for more, the host knows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/ids.hpp"

namespace Atoll {

struct connection_state {
  enum class status : std::uint8_t { fresh, open, ended, closed, moved };

  std::uint64_t connection = 0;
  status what = status::fresh; // fresh: not adopted yet, so no events come
  std::uint64_t moved_at = 0;  // counts lua_guest::moves; one that came back has an entry for each time
  std::string peer;
  std::string bytes;
  std::size_t head = 0;
  std::size_t scanned = 0; // no end of line before here
  std::size_t untold = 0;  // bytes the host has not been told are consumed
  std::string reason;      // why it ended, empty when in order
  guest_word reader = 0;
  std::vector<guest_word> writers; // wait for it to drain

  std::size_t unread() const noexcept { return bytes.size() - head; }
  const char* data() const noexcept { return bytes.data() + head; }

  void append(const char* p, std::size_t n) {
    if (head > 0 && head >= bytes.size() / 2) {
      bytes.erase(0, head);
      scanned -= head < scanned ? head : scanned;
      head = 0;
    }
    bytes.append(p, n);
    untold += n;
  }
  void take(std::size_t n) noexcept {
    head += n;
    if (head == bytes.size()) {
      bytes.clear();
      head = scanned = 0;
    } else if (scanned < head) {
      scanned = head;
    }
  }
};

} // namespace Atoll
