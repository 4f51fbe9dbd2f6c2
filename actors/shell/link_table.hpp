// Whom an interpreter is linked to, and how it hears of their ends.
// Why: both sides ask and cut at any time, and their words cross. Each asking has a name of its own, so that a word that
// is late cuts only what its sender knew of; the two sides agree as soon as all words have arrived.
// Ownership: the shell.
// Threads: owner only.
// Invariants: (1) a partner is here while at least one asking, its own or ours, is not cut. (2) an end is told once:
//             it takes the partner out.
#pragma once

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/ids.hpp"

namespace Atoll {

class link_table {
public:
  /// Who asked, and the number it gave to that.
  struct asking {
    interpreter_id by{};
    std::uint64_t number = 0;
    friend bool operator==(const asking&, const asking&) = default;
  };
  struct side {
    guest_word token = 0;        // 0: this side fails with the other
    bool own = false;            // this side asked
    std::vector<asking> askings; // mostly one
  };

  explicit link_table(interpreter_id self) noexcept : self_(self) {}

  bool empty() const noexcept { return sides_.empty(); }
  bool linked(interpreter_id partner) const noexcept { return sides_.count(partner) > 0; }

  /// This side asks: the number to send; nothing when they are linked already, and only the token is new. `before` is
  /// the token it replaces.
  std::optional<std::uint64_t> ask(interpreter_id partner, guest_word token, guest_word& before) {
    side& s = sides_[partner];
    before = std::exchange(s.token, token);
    s.own = true;
    if (!s.askings.empty()) return std::nullopt;
    s.askings.push_back({self_, ++last_});
    return last_;
  }
  /// The partner asked.
  void asked(interpreter_id partner, std::uint64_t number) { sides_[partner].askings.push_back({partner, number}); }

  /// This side ends it: what was there. The partner is to be told of each asking.
  std::optional<side> cut(interpreter_id partner) {
    const auto it = sides_.find(partner);
    if (it == sides_.end()) return std::nullopt;
    side s = std::move(it->second);
    sides_.erase(it);
    return s;
  }
  /// The partner ended it: what was there, if that was the last asking.
  std::optional<side> was_cut(interpreter_id partner, const asking& which) {
    const auto it = sides_.find(partner);
    if (it == sides_.end()) return std::nullopt;
    std::erase(it->second.askings, which);
    return it->second.askings.empty() ? cut(partner) : std::nullopt;
  }
  /// The partner is gone.
  std::optional<side> ended(interpreter_id partner) { return cut(partner); }

  /// This side is gone: whom to tell.
  std::vector<interpreter_id> take_all() {
    std::vector<interpreter_id> all;
    for (const auto& [partner, s] : sides_) all.push_back(partner);
    sides_.clear();
    std::sort(all.begin(), all.end());
    return all;
  }

private:
  const interpreter_id self_;
  std::uint64_t last_ = 0;
  std::unordered_map<interpreter_id, side> sides_;
};

} // namespace Atoll
