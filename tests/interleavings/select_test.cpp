// Select over two channels by three parties, in every order of their steps: the invariants of channels/channel_wait.hpp (W)
// and channels/basic_channel.hpp (C).
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "channels/channel_space.hpp"
#include "channels/directory.hpp"
#include "tests/interleavings/schedule.hpp"

using namespace Atoll;
using namespace Atoll::stepped;

namespace {

constexpr int channels_n = 2;
constexpr int selectors_n = 3;

/// What becomes of the channels meanwhile: the first is closed or destroyed by a fourth party, or nothing.
enum class ending { none, close, destroy };

struct setting {
  std::array<unsigned, selectors_n> sends{};  // by channel: bit set: the party sends there, else it receives
  std::array<bool, selectors_n> leaves{};     // the party gives up, at any moment after it began to wait
  std::array<std::size_t, channels_n> room{}; // capacities
  std::size_t inside = 0;                     // items in each channel at first, as far as there is room
  std::uint64_t random = 0;
  ending end = ending::none;
};

// What was seen to happen in some run.
constexpr unsigned happened_at_once = 1;
constexpr unsigned happened_later = 2;
constexpr unsigned happened_withdrawn = 4;
constexpr unsigned happened_too_late = 8; // withdrawn, but taken already
constexpr unsigned happened_closed = 16;

/// A wait of a party: told in a step of its own.
struct selector final : channel_wait {
  using channel_wait::channel_wait;
  void ready() noexcept override {
    about_to(step::tell, this);
    ++told;
    waits = false;
    intrusive_ptr_release(this);
  }
  int told = 0;
  bool waits = true;
  bool at_once = false;
  bool withdrawn = false; // with success
  bool over = false;
};
using selector_ptr = boost::intrusive_ptr<selector>;

void write(channel_item& item, std::int64_t n) { item.bytes.put_int(n); }
int read(channel_item& item) {
  wire_reader in = item.bytes.reader();
  return in.get_u8() - static_cast<int>(wire_tag::small_int) + static_cast<int>(small_int_min);
}

class selects final : public world {
public:
  explicit selects(const setting& s) : s_(s) {}

  int parties() const override { return s_.end == ending::none ? selectors_n : selectors_n + 1; }

  void begin() override {
    letting_go_ = false;
    sent_ = {};
    got_ = {};
    for (std::size_t i = 0; i < channels_n; ++i) {
      channel_[i] = new basic_channel(i + 1, {.capacity = s_.room[i], .undelivered = {}}, d_.channels());
      for (std::size_t k = 0; k < s_.inside && k < s_.room[i]; ++k) {
        channel_item one;
        one.info.sender = interpreter_id{50};
        write(one, first_inside + static_cast<int>(i));
        aftermath after;
        channel_[i]->send(one, after);
        ++sent_[static_cast<std::size_t>(first_inside) + i];
      }
    }
    for (std::size_t p = 0; p < selectors_n; ++p) {
      wait_[p] = new selector(interpreter_id{p + 1});
      for (std::size_t k = 0; k < channels_n; ++k) {
        const std::size_t at = p == 1 ? channels_n - 1 - k : k; // one names the channels the other way round
        const bool sends = ((s_.sends[p] >> at) & 1U) != 0;
        channel_case& c = wait_[p]->add(channel_[at], sends);
        if (sends) write(c.item, number(p, at));
      }
    }
  }

  void live(int party) override {
    if (party == selectors_n) {
      aftermath after;
      s_.end == ending::close ? channel_[0]->close(after) : channel_[0]->destroy(after);
      d_.channels()->settle(after);
      return;
    }
    const auto p = static_cast<std::size_t>(party);
    selector& w = *wait_[p];
    aftermath after;
    w.at_once = w.decide(s_.random, true, after);
    d_.channels()->settle(after);
    if (!w.at_once) {
      if (!s_.leaves[p]) about_to(step::told, &w, &w.waits);
      if (s_.leaves[p] || letting_go_)
        w.withdrawn = w.withdraw();
      else
        w.finish();
    }
    w.over = true;
  }

  const char* look() override {
    for (const channel_ptr& c : channel_) {
      if (is_locked(*c)) continue;
      const channel_figures f = c->figures();
      if (f.receivers_waiting > 0 && f.items > 0) return "C1: a receiver waits beside an item";
      if (f.receivers_waiting > 0 && f.senders_waiting > 0) return "C1: a receiver and a sender wait beside each other";
      if (f.senders_waiting > 0 && f.items < c->options().capacity) return "C2: a sender waits beside room";
      if (f.items > c->options().capacity) return "more items than there is room for";
      if (f.receivers_waiting + f.senders_waiting > 0 && c->is_closed()) return "somebody waits at a closed channel";
    }
    for (const selector_ptr& w : wait_)
      if (w->told > 1) return "W3: told twice";
    return nullptr;
  }

  const char* quiet(const std::array<bool, parties_max>& over) override {
    std::size_t waiting = 0;
    for (std::size_t p = 0; p < selectors_n; ++p) {
      selector& w = *wait_[p];
      if (over[p]) continue;
      if (!w.is_open()) return "W3: taken, and never told";
      waiting += channels_n;
      for (std::size_t i = 0; i < channels_n; ++i)
        if (!w.at(i).linked) return "W4: a case of an open wait is in no list";
    }
    std::size_t listed = 0;
    for (const channel_ptr& c : channel_) listed += c->figures().receivers_waiting + c->figures().senders_waiting;
    return listed == waiting ? nullptr : "W4: the lists are not those of the open waits";
  }

  void let_go() override {
    letting_go_ = true;
    for (const selector_ptr& w : wait_) w->waits = false;
  }

  const char* end() override {
    for (std::size_t p = 0; p < selectors_n; ++p)
      if (const char* const why = account(p)) return why;
    std::size_t dropped = 0;
    for (std::size_t i = 0; i < channels_n; ++i) {
      const channel_figures f = channel_[i]->figures();
      dropped += f.dropped;
      if (f.sent != f.received + f.dropped + f.items) return "the figures do not add up";
      for (;;) {
        channel_item rest;
        rest.bytes.reserve(item_ring::inline_max);
        aftermath after;
        if (channel_[i]->receive(interpreter_id{60}, rest, after) != channel_status::done) break;
        ++got_[static_cast<std::size_t>(read(rest))];
      }
    }
    for (std::size_t n = 0; n < got_.size(); ++n) {
      if (got_[n] > sent_[n])
        return sent_[n] == 0 ? "W1: an item was received that was not sent" : "an item came twice";
      if (got_[n] < sent_[n] && dropped-- == 0) return "an item is lost";
    }
    return nullptr;
  }

  unsigned events() const noexcept { return events_; }

  std::string name_of(const void* thing) const override {
    for (std::size_t p = 0; p < selectors_n; ++p) {
      const auto* const begin = reinterpret_cast<const char*>(wait_[p].get());
      if (thing >= begin && thing < begin + sizeof(selector))
        return thing == begin ? std::string(1, static_cast<char>('A' + p))
                              : std::string("the phase of ") + static_cast<char>('A' + p);
    }
    for (std::size_t i = 0; i < channels_n; ++i) {
      const auto* const begin = reinterpret_cast<const char*>(channel_[i].get());
      if (thing >= begin && thing < begin + sizeof(basic_channel)) return "channel " + std::to_string(i + 1);
    }
    return "?";
  }

private:
  static constexpr int first_inside = 10;
  static int number(std::size_t party, std::size_t channel) { return static_cast<int>(party * channels_n + channel); }

  static bool is_locked(const basic_channel& c) {
    const auto* const begin = reinterpret_cast<const char*>(&c);
    return std::any_of(locked().begin(), locked().end(),
                       [&](const void* m) { return m >= begin && m < begin + sizeof(basic_channel); });
  }

  // Exactly one case took effect, or none; and what was told fits.
  const char* account(std::size_t p) {
    selector& w = *wait_[p];
    if (!w.over) return "a party is left behind";
    if (w.use_count() != 1) return "W: a count of a wait is left";
    const bool fired = !w.withdrawn;
    events_ |= w.at_once      ? happened_at_once
               : w.withdrawn  ? happened_withdrawn
               : s_.leaves[p] ? happened_too_late
                              : happened_later;
    if (fired && w.status() == channel_status::closed) events_ |= happened_closed;
    if (w.told != (fired && !w.at_once ? 1 : 0)) return "W3: told, and not taken by another; or the other way round";
    for (std::size_t i = 0; i < channels_n; ++i) {
      channel_case& c = w.at(i);
      if (c.linked) return "W4: a case of a wait that is over is in a list";
      const bool done = fired && i == w.fired() && w.status() == channel_status::done;
      if (!done) {
        if (c.sends && (c.item.bytes.empty() || read(c.item) != number(p, c.where->id() - 1)))
          return "W1: a case that did not fire lost its item";
        if (!c.sends && !c.item.bytes.empty()) return "W1: a case that did not fire received an item";
      } else if (c.sends) {
        if (!c.item.bytes.empty()) return "a case that fired has its item still";
        ++sent_[static_cast<std::size_t>(number(p, c.where->id() - 1))];
      } else {
        if (c.item.bytes.empty()) return "W2: a case that fired received nothing";
        ++got_[static_cast<std::size_t>(read(c.item))];
      }
    }
    if (fired && w.status() != channel_status::done && w.status() != channel_status::closed) return "a strange status";
    if (fired && w.status() == channel_status::closed && !w.fired_case().where->is_closed())
      return "told closed by an open channel";
    return nullptr;
  }

  const setting s_;
  directory d_;
  std::array<channel_ptr, channels_n> channel_;
  std::array<selector_ptr, selectors_n> wait_;
  std::array<unsigned, 16> sent_{};
  std::array<unsigned, 16> got_{};
  bool letting_go_ = false;
  unsigned events_ = 0;
};

/// Every choice of sends and receives, but for the order of the parties.
std::vector<std::array<unsigned, selectors_n>> all_choices() {
  std::vector<std::array<unsigned, selectors_n>> all;
  for (unsigned a = 0; a < 4; ++a)
    for (unsigned b = a; b < 4; ++b)
      for (unsigned c = b; c < 4; ++c) all.push_back({a, b, c});
  return all;
}

struct totals {
  std::uint64_t runs = 0;
  std::uint64_t steps = 0;
  unsigned events = 0;
};

/// Explores the settings made of these.
totals explore(std::array<std::size_t, channels_n> room, std::size_t inside, ending end,
               const std::vector<unsigned>& leaves, const std::vector<std::uint64_t>& randoms) {
  schedule s;
  totals all;
  unsigned n = 0;
  for (const auto& sends : all_choices())
    for (const unsigned who : leaves)
      for (const std::uint64_t random : randoms) {
#ifndef NDEBUG
        if (++n % 5 != 0) continue; // slower builds look at some
#else
        ++n;
#endif
        const setting one{sends, {(who & 1U) != 0, (who & 2U) != 0, (who & 4U) != 0}, room, inside, random, end};
        auto w = std::make_unique<selects>(one);
        const findings f = s.explore(*w);
        all.runs += f.runs;
        all.steps += f.steps;
        all.events |= w->events();
        if (!f.violation.empty()) (void)w.release(); // its parties stopped where they were, inside of its gate too
        CAPTURE(sends[0]);
        CAPTURE(sends[1]);
        CAPTURE(sends[2]);
        CAPTURE(who);
        REQUIRE_MESSAGE(f.violation.empty(), f.violation);
      }
  INFO(all.runs, " runs, ", all.steps, " steps");
  CHECK(all.runs > n / 5);
  return all;
}

const std::vector<unsigned> nobody_leaves = {0};
const std::vector<unsigned> all_or_none = {0, 7};
const std::vector<unsigned> anybody_leaves = {0, 1, 2, 3, 4, 5, 6, 7};
// Of two that are ready, the one with 0 takes the first, the one with 2 the second (splitmix64).
const std::vector<std::uint64_t> first_alone = {0};
const std::vector<std::uint64_t> both_randoms = {0, 2};

constexpr unsigned no_close = happened_at_once | happened_later | happened_withdrawn | happened_too_late;

} // namespace

TEST_CASE("interleavings: three parties select over two channels without capacity, and give up at any moment") {
  const totals t = explore({0, 0}, 0, ending::none, anybody_leaves, both_randoms);
  CHECK(t.events == no_close);
#ifdef NDEBUG
  CHECK(t.runs > 50'000);
#endif
}

TEST_CASE("interleavings: the same while the first channel is closed") {
  const totals t = explore({0, 0}, 0, ending::close, all_or_none, first_alone);
  CHECK(t.events == (no_close | happened_closed));
}

TEST_CASE("interleavings: three parties select over two channels with room for one item") {
  for (const std::size_t inside : {std::size_t{0}, std::size_t{1}}) {
    const totals t = explore({1, 1}, inside, ending::none, anybody_leaves, both_randoms);
    CHECK(t.events == no_close);
  }
}

TEST_CASE("interleavings: the same while the first channel is closed or destroyed") {
  for (const std::size_t inside : {std::size_t{0}, std::size_t{1}})
    for (const ending end : {ending::close, ending::destroy}) {
      const totals t = explore({1, 1}, inside, end, all_or_none, first_alone);
      CHECK(t.events == (no_close | happened_closed));
    }
}

TEST_CASE("interleavings: one channel without capacity, the other with room for one item") {
  explore({0, 1}, 0, ending::none, anybody_leaves, both_randoms);
  explore({0, 1}, 1, ending::none, all_or_none, both_randoms);
  explore({1, 0}, 1, ending::close, nobody_leaves, first_alone);
}
