// Inboxes with names and no interpreters behind them: what the tests of channels/ send to and read from.
// Threads: owner only, but for the waker's count.
#pragma once

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "channels/disposal.hpp"
#include "channels/outbox.hpp"

namespace Atoll::test {

struct counting_waker final : waker {
  std::atomic<int> times{0};
  void schedule() noexcept override { times.fetch_add(1, std::memory_order_relaxed); }
};

/// A record as it arrived.
struct letter {
  interpreter_id from{};
  record_kind kind{};
  std::string body;

  wire_reader in() const { return wire_reader(std::string_view(body)); }
  std::uint64_t number() const { return in().get_u64(); }
};

inline void read_into(std::vector<letter>& all, envelope& e) {
  wire_reader in = e.reader();
  while (!in.at_end()) {
    record r = next_record(in);
    const std::size_t size = r.body.left();
    all.push_back({e.from(), r.kind, std::string(r.body.get_bytes(size))});
  }
}

struct resident {
  explicit resident(directory& d, std::string name = {}, std::size_t high_water = 1000)
      : where(d), id(d.next_id()), box(new inbox(id, high_water)) {
    box->set_waker(bell);
    entered = d.enter(id, std::move(name), host_interpreter, box);
  }
  ~resident() {
    if (alive) die();
  }
  resident(const resident&) = delete;
  resident& operator=(const resident&) = delete;

  /// A whole turn that reads everything, when there is one.
  std::vector<letter> read() {
    std::vector<letter> all;
    if (box->turn().idle()) return all;
    do {
      box->turn().begin();
      while (const envelope_ptr e = box->take()) {
        read_into(all, *e);
        box->handled(e->count());
      }
    } while (!box->turn().end());
    return all;
  }
  /// The end in the shell's order: tombstones first, then the inbox closes, then what came too late.
  void die(std::vector<tombstone> pinned = {}) {
    alive = false;
    where.leave(id, std::move(pinned));
    box->close();
    dispose_leftovers(*box, where);
  }

  directory& where;
  interpreter_id id;
  counting_waker bell;
  inbox_ptr box;
  bool entered = false;
  bool alive = true;
};

/// An envelope of `n` send records that carry the numbers from `first` on.
inline envelope_ptr numbers(interpreter_id from, std::int64_t first, int n = 1) {
  envelope_writer w(from);
  for (int i = 0; i < n; ++i) {
    const std::size_t start = open_record(w, record_kind::send);
    w.put_text("");
    w.put_int(first + i);
    close_record(w, start);
    w.count_record();
  }
  return w.take();
}

/// A string no envelope takes: its length does not fit. The bytes are never looked at.
inline std::string_view too_long() { return {"", std::size_t{1} << 33U}; }

} // namespace Atoll::test
