// Threads inside: those that use what ends with the runtime, and of which its end knows nothing else.
// Why: a host thread keeps a channel, a buffer or a port, and not the runtime. In the middle of a wake-up or of what an
// operation leaves behind it may be held up for as long as the machine likes; the end must not free what it goes on with.
// Ownership: shared by everything that lets threads in; it outlives the runtime.
// Threads: any thread; close() and empty() whoever ends the runtime.
// Invariants: (1) after close(), once empty() was true, no thread is inside that found the gate open.
#pragma once

#include <atomic>
#include <cstdint>

namespace Atoll {

class gate {
public:
  /// The calling thread is inside while it lives.
  class visit {
  public:
    explicit visit(gate& g) noexcept : gate_(g) {
      // seq_cst, as in close() and empty(): each side writes one word and then reads the other.
      gate_.inside_.fetch_add(1, std::memory_order_seq_cst);
      open_ = !gate_.closed_.load(std::memory_order_seq_cst);
    }
    ~visit() { gate_.inside_.fetch_sub(1, std::memory_order_release); } // pairs with empty()
    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;

    /// False: the runtime has ended, or may end at any moment.
    bool open() const noexcept { return open_; }

  private:
    gate& gate_;
    bool open_;
  };

  void close() noexcept { closed_.store(true, std::memory_order_seq_cst); }
  bool empty() const noexcept { return inside_.load(std::memory_order_seq_cst) == 0; }

private:
  std::atomic<std::uint32_t> inside_{0};
  std::atomic<bool> closed_{false};
};

} // namespace Atoll
