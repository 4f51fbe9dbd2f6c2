// The calls an interpreter has taken and not answered yet: who asked, under which number.
// Why: however an interpreter ends, every caller gets an answer (invariant I5).
// Threads: owner only.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "runtime/guest.hpp"

namespace Atoll {

class request_table {
public:
  struct request {
    interpreter_id from{};
    call_id call = 0;
  };

  request_id open(interpreter_id from, call_id call) {
    if (free_ == no_request) {
      entries_.push_back({from, call});
      return entries_.size();
    }
    const request_id id = free_;
    free_ = number(entries_[id - 1].from);
    entries_[id - 1] = {from, call};
    return id;
  }

  /// Who waits for the answer; the request is closed. Nothing when it was answered before.
  std::optional<request> close(request_id id) {
    if (id == no_request || id > entries_.size() || entries_[id - 1].call == 0) return std::nullopt;
    const request r = entries_[id - 1];
    entries_[id - 1] = {interpreter_id{std::exchange(free_, id)}, 0};
    return r;
  }
  /// As close(), but the request stays open.
  std::optional<request> find(request_id id) const {
    if (id == no_request || id > entries_.size() || entries_[id - 1].call == 0) return std::nullopt;
    return entries_[id - 1];
  }

  /// At the end: closes the oldest that is open. Nothing is opened after it.
  std::optional<request> take_open() noexcept {
    while (first_open_ < entries_.size()) {
      request& r = entries_[first_open_++];
      if (r.call != 0) return std::exchange(r, {});
    }
    return std::nullopt;
  }

private:
  std::vector<request> entries_; // call 0: free, and `from` is the number of the next that is
  request_id free_ = no_request;
  std::size_t first_open_ = 0; // take_open(): none before it is
};

} // namespace Atoll
