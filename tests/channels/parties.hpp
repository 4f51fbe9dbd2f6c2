// Parties of channels without interpreters behind them: they send and receive numbers, and note what they are told.
// Threads: one thread, but for what a test says otherwise.
#pragma once

#include <doctest/doctest.h>

#include <vector>

#include "channels/channel_space.hpp"
#include "tests/channels/residents.hpp"

namespace Atoll::test {

inline constexpr interpreter_id ann{101};
inline constexpr interpreter_id bob{102};
inline constexpr interpreter_id cy{103};

inline void write(channel_item& item, std::int64_t n) { item.bytes.put_int(n); }

/// The number in an item.
inline std::int64_t number_in(wire_reader in) {
  const std::uint8_t tag = in.get_u8();
  if (tag >= static_cast<std::uint8_t>(wire_tag::small_int))
    return tag - static_cast<int>(wire_tag::small_int) + small_int_min;
  return tag == static_cast<std::uint8_t>(wire_tag::int32) ? in.get_i32() : in.get_i64();
}
inline std::int64_t number_in(channel_item& item) { return number_in(item.bytes.reader()); }

/// A wait that counts how often it was told.
struct noted_wait final : channel_wait {
  using channel_wait::channel_wait;
  void ready() noexcept override {
    ++told;
    intrusive_ptr_release(this);
  }
  int told = 0;
};
using noted_wait_ptr = boost::intrusive_ptr<noted_wait>;

/// What a receive brought: a number, or why there is none.
struct received {
  channel_status how = channel_status::empty;
  std::int64_t number = 0;
  interpreter_id from{};

  friend bool operator==(const received&, const received&) = default;
};

/// Channels of one runtime, and what its parties do with them.
struct harbour {
  directory d;
  channel_space& space = *d.channels();

  channel_handle make(channel_options options = {}) { return space.make(std::move(options)).value(); }
  channel_handle make(std::size_t capacity, full_policy full = full_policy::block) {
    return make(channel_options{.capacity = capacity, .full = full, .orphans = orphan_policy::keep, .undelivered = {}});
  }
  channel_handle with_orphans(orphan_policy orphans) {
    return make(channel_options{.orphans = orphans, .undelivered = {}});
  }

  channel_item item(basic_channel& c, interpreter_id who) {
    channel_item one;
    one.info = {who, c.options().orphans, false};
    return one;
  }
  channel_status send(basic_channel& c, interpreter_id who, channel_item&& one) {
    one.info.sender = who;
    aftermath after;
    const channel_status how = c.send(one, after);
    space.settle(after);
    return how;
  }
  channel_status send(basic_channel& c, interpreter_id who, std::int64_t n) {
    channel_item one = item(c, who);
    write(one, n);
    return send(c, who, std::move(one));
  }
  channel_status send(basic_channel& c, interpreter_id who, std::int64_t n, orphan_policy orphans) {
    channel_item one = item(c, who);
    one.info.orphans = orphans;
    write(one, n);
    return send(c, who, std::move(one));
  }
  channel_status receive(basic_channel& c, interpreter_id who, channel_item& into) {
    REQUIRE(into.bytes.reserve(item_ring::inline_max));
    aftermath after;
    const channel_status how = c.receive(who, into, after);
    space.settle(after);
    return how;
  }
  received receive(basic_channel& c, interpreter_id who = bob) {
    channel_item into;
    const channel_status how = receive(c, who, into);
    return how == channel_status::done ? received{how, number_in(into), into.info.sender} : received{how};
  }
  /// Every number in it, in order; stops at what is no number.
  std::vector<std::int64_t> drain(basic_channel& c, interpreter_id who = bob) {
    std::vector<std::int64_t> all;
    for (received r = receive(c, who); r.how == channel_status::done; r = receive(c, who)) all.push_back(r.number);
    return all;
  }

  bool close(basic_channel& c) {
    aftermath after;
    const bool first = c.close(after);
    space.settle(after);
    return first;
  }
  bool destroy(basic_channel& c) {
    aftermath after;
    const bool first = c.destroy(after);
    space.settle(after);
    return first;
  }
  void leave(basic_channel& c, interpreter_id who) {
    aftermath after;
    c.leave(who, after);
    space.settle(after);
  }
  void release(basic_channel& c, interpreter_id who, bool sender, bool receiver) {
    aftermath after;
    c.release(who, sender, receiver, after);
    space.settle(after);
  }

  /// True: decided at once.
  bool decide(channel_wait& w, bool patient = true, std::uint64_t random = 1) {
    aftermath after;
    const bool decided = w.decide(random, patient, after);
    space.settle(after);
    return decided;
  }
  noted_wait_ptr sender(basic_channel& c, interpreter_id who, std::int64_t n) {
    noted_wait_ptr w(new noted_wait(who));
    write(w->add(&c, true).item, n);
    decide(*w);
    return w;
  }
  noted_wait_ptr receiver(basic_channel& c, interpreter_id who) {
    noted_wait_ptr w(new noted_wait(who));
    w->add(&c, false);
    decide(*w);
    return w;
  }
};

/// What a wait that received got, and finishes it.
inline received result_of(noted_wait& w) {
  w.finish();
  if (w.status() != channel_status::done) return {w.status()};
  return {w.status(), number_in(w.fired_case().item), w.fired_case().item.info.sender};
}

} // namespace Atoll::test
