// A channel by itself: order, bounds, who is refused, and every way it ends.
#include "channels/basic_channel.hpp"

#include <doctest/doctest.h>

#include "tests/channels/parties.hpp"

using namespace Atoll;
using namespace Atoll::test;
using status = channel_status;
using list = std::vector<std::int64_t>;
using who = std::vector<interpreter_id>;

// -- the end comes first -----------------------------------------------------------------------------------------------

TEST_CASE("channel: closed, it refuses senders and gives what is in it, and then says closed") {
  harbour h;
  const channel_handle c = h.make();
  CHECK(h.send(*c, ann, 1) == status::done);
  CHECK(h.send(*c, ann, 2) == status::done);
  CHECK(h.close(*c));
  CHECK(c->is_closed());
  channel_item refused = h.item(*c, ann);
  write(refused, 3);
  aftermath after;
  CHECK(c->send(refused, after) == status::closed);
  CHECK(after.empty());
  CHECK(number_in(refused) == 3); // as it was
  CHECK(h.receive(*c) == received{status::done, 1, ann});
  CHECK(h.receive(*c) == received{status::done, 2, ann});
  CHECK(h.receive(*c) == received{status::closed});
  CHECK(h.receive(*c) == received{status::closed});
}

TEST_CASE("channel: closing and destroying twice says so the second time, and does nothing") {
  harbour h;
  const channel_handle c = h.make();
  h.send(*c, ann, 1);
  CHECK(h.close(*c));
  CHECK_FALSE(h.close(*c));
  CHECK(c->size() == 1);
  CHECK(h.destroy(*c)); // closed is not destroyed yet
  CHECK_FALSE(h.destroy(*c));
  CHECK_FALSE(h.close(*c));
  CHECK(c->size() == 0);
  CHECK(c->figures().dropped == 1);
}

TEST_CASE("channel: destroyed, it drops what is in it, and everybody finds it closed") {
  harbour h;
  const channel_handle c = h.make(2);
  h.send(*c, ann, 1);
  h.send(*c, ann, 2);
  const auto parked = h.sender(*c, cy, 3);
  CHECK(h.destroy(*c));
  CHECK(parked->told == 1);
  CHECK(parked->status() == status::closed);
  CHECK(number_in(parked->at(0).item) == 3); // it was never in the channel
  CHECK(c->figures().dropped == 2);
  CHECK(h.receive(*c).how == status::closed);
  CHECK(h.send(*c, ann, 4) == status::closed);
}

TEST_CASE("channel: closing wakes everybody who waits, once") {
  for (const bool force : {false, true}) {
    harbour h;
    const channel_handle empty = h.make();
    std::vector<noted_wait_ptr> waits = {h.receiver(*empty, ann), h.receiver(*empty, bob), h.receiver(*empty, bob)};
    CHECK((force ? h.destroy(*empty) : h.close(*empty)));
    const channel_handle none = h.make(0);
    waits.push_back(h.sender(*none, ann, 1));
    waits.push_back(h.sender(*none, bob, 2));
    CHECK((force ? h.destroy(*none) : h.close(*none)));
    for (const auto& w : waits) {
      CHECK(w->told == 1);
      CHECK(w->status() == status::closed);
      w->finish();
      CHECK(w->use_count() == 1);
    }
    CHECK(empty->figures().receivers_waiting == 0);
    CHECK(none->figures().senders_waiting == 0);
  }
}

TEST_CASE("channel: who comes to wait after the close is told at once") {
  harbour h;
  const channel_handle c = h.make();
  h.send(*c, ann, 1);
  h.close(*c);
  noted_wait_ptr w(new noted_wait(bob));
  w->add(c.pointer(), false);
  CHECK(h.decide(*w)); // the rest is still there
  CHECK(w->status() == status::done);
  for (const bool sends : {false, true}) {
    noted_wait_ptr late(new noted_wait(bob));
    late->add(c.pointer(), sends);
    CHECK(h.decide(*late));
    CHECK(late->status() == status::closed);
    CHECK(late->told == 0);
  }
}

// -- order and bounds --------------------------------------------------------------------------------------------------

TEST_CASE("channel: items of several senders come out in the order sent") {
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{3}, std::size_t{16}, channel_options::unbounded}) {
    harbour h;
    const channel_handle c = h.make(capacity);
    std::int64_t next = 0;
    for (std::int64_t i = 0; i < 300; ++i) {
      const interpreter_id from{200 + static_cast<std::uint64_t>(i % 7)};
      if (h.send(*c, from, i) == status::full) {
        CHECK(h.receive(*c).number == next++);
        CHECK(h.send(*c, from, i) == status::done);
      }
    }
    for (const std::int64_t n : h.drain(*c)) CHECK(n == next++);
    CHECK(next == 300);
    CHECK(c->figures().sent == 300);
    CHECK(c->figures().received == 300);
  }
}

TEST_CASE("channel: it takes as many items as its capacity says, and the next is still its sender's") {
  for (const std::size_t capacity : {std::size_t{0}, std::size_t{1}, std::size_t{5}}) {
    harbour h;
    const channel_handle c = h.make(capacity);
    for (std::size_t i = 0; i < capacity; ++i) CHECK(h.send(*c, ann, 1) == status::done);
    channel_item extra = h.item(*c, ann);
    write(extra, 77);
    aftermath after;
    CHECK(c->send(extra, after) == status::full);
    CHECK(number_in(extra) == 77);
    CHECK(c->size() == capacity);
    CHECK(c->figures().sent == capacity);
    CHECK(c->figures().refused == 0); // of full_policy::fail alone
  }
}

TEST_CASE("channel: an unbounded one takes what comes") {
  harbour h;
  const channel_handle c = h.make(channel_options::unbounded);
  for (std::int64_t i = 0; i < 100000; ++i) REQUIRE(h.send(*c, ann, i) == status::done);
  CHECK(c->size() == 100000);
  CHECK(h.drain(*c).back() == 99999);
}

TEST_CASE("channel: who waited to send is behind all that was there when it came, and before those who came later") {
  harbour h;
  const channel_handle c = h.make(2);
  h.send(*c, ann, 1);
  h.send(*c, ann, 2);
  const auto first = h.sender(*c, bob, 3);
  const auto second = h.sender(*c, cy, 4);
  CHECK(c->figures().senders_waiting == 2);
  CHECK(h.receive(*c, bob).number == 1);
  CHECK(first->told == 1); // it has moved in
  CHECK(second->told == 0);
  CHECK(h.send(*c, ann, 5) == status::full);
  CHECK(h.drain(*c) == list{2, 3, 4});
  CHECK(second->status() == status::done);
  CHECK(c->figures().sent == 4);
}

TEST_CASE("channel: receivers are served first come, first served") {
  harbour h;
  const channel_handle c = h.make();
  std::vector<noted_wait_ptr> waits;
  for (int i = 0; i < 5; ++i) waits.push_back(h.receiver(*c, bob));
  for (std::int64_t i = 0; i < 5; ++i) CHECK(h.send(*c, ann, i) == status::done);
  for (std::int64_t i = 0; i < 5; ++i)
    CHECK(result_of(*waits[static_cast<std::size_t>(i)]) == received{status::done, i, ann});
  CHECK(c->size() == 0);
}

// -- full policies -----------------------------------------------------------------------------------------------------

TEST_CASE("channel: drop_oldest makes room, and counts what it drops") {
  harbour h;
  const channel_handle c = h.make(3, full_policy::drop_oldest);
  for (std::int64_t i = 0; i < 10; ++i) CHECK(h.send(*c, ann, i) == status::done);
  CHECK(c->figures().dropped == 7);
  CHECK(c->figures().sent == 10);
  CHECK(h.drain(*c) == list{7, 8, 9});
}

TEST_CASE("channel: drop_oldest without a capacity is refused when the channel is made") {
  harbour h;
  const auto made = h.space.make({.capacity = 0, .full = full_policy::drop_oldest, .undelivered = {}});
  REQUIRE_FALSE(made);
  CHECK(made.error().code == errc::invalid_argument);
  CHECK(h.make(2)->id() == 1); // and takes no number
}

TEST_CASE("channel: drop_newest throws the new one away, which its sender still has") {
  harbour h;
  const channel_handle c = h.make(2, full_policy::drop_newest);
  CHECK(h.send(*c, ann, 1) == status::done);
  CHECK(h.send(*c, ann, 2) == status::done);
  channel_item third = h.item(*c, ann);
  write(third, 3);
  aftermath after;
  CHECK(c->send(third, after) == status::dropped);
  CHECK(number_in(third) == 3);
  CHECK(after.empty());
  CHECK(c->figures().dropped == 1);
  CHECK(c->figures().sent == 2);
  CHECK(h.drain(*c) == list{1, 2});
}

TEST_CASE("channel: fail tells the sender, and counts it") {
  harbour h;
  const channel_handle c = h.make(1, full_policy::fail);
  CHECK(h.send(*c, ann, 1) == status::done);
  CHECK(h.send(*c, ann, 2) == status::full);
  CHECK(c->figures().refused == 1);
  const auto w = h.sender(*c, ann, 3); // it does not wait either
  CHECK(w->status() == status::full);
  CHECK(c->figures().senders_waiting == 0);
  CHECK(c->figures().refused == 2);
  CHECK(number_in(w->at(0).item) == 3);
  CHECK(h.drain(*c) == list{1});
}

TEST_CASE("channel: with no capacity, drop_newest and fail reach a receiver that waits, and nobody else") {
  for (const full_policy full : {full_policy::drop_newest, full_policy::fail}) {
    harbour h;
    const channel_handle c = h.make(0, full);
    CHECK(h.send(*c, ann, 1) == (full == full_policy::fail ? status::full : status::dropped));
    const auto w = h.receiver(*c, bob);
    CHECK(h.send(*c, ann, 2) == status::done);
    CHECK(result_of(*w) == received{status::done, 2, ann});
  }
}

TEST_CASE("channel: a waiting receiver takes the item whatever the policy, and nothing is dropped") {
  for (const full_policy full :
       {full_policy::block, full_policy::drop_oldest, full_policy::drop_newest, full_policy::fail}) {
    harbour h;
    const channel_handle c = h.make(1, full);
    const auto w = h.receiver(*c, bob);
    CHECK(h.send(*c, ann, 1) == status::done);
    CHECK(w->told == 1);
    CHECK(c->size() == 0);
    CHECK(c->figures().dropped == 0);
  }
}

// -- rendezvous --------------------------------------------------------------------------------------------------------

TEST_CASE("channel: without capacity a sender and a receiver meet, whoever comes first") {
  harbour h;
  const channel_handle c = h.make(0);
  CHECK(h.send(*c, ann, 1) == status::full);
  CHECK(h.receive(*c).how == status::empty);
  const auto s = h.sender(*c, ann, 2);
  CHECK(s->told == 0);
  CHECK(c->size() == 0); // what waits with its sender is not in the channel
  CHECK(h.receive(*c) == received{status::done, 2, ann});
  CHECK(s->told == 1);
  CHECK(s->status() == status::done);
  CHECK(s->at(0).item.bytes.empty());
  const auto r = h.receiver(*c, bob);
  CHECK(h.send(*c, ann, 3) == status::done);
  CHECK(result_of(*r) == received{status::done, 3, ann});
  CHECK(c->figures().sent == 2);
  CHECK(c->figures().received == 2);
}

TEST_CASE("channel: two waits that each offer to send and to receive meet, and neither meets itself") {
  harbour h;
  const channel_handle c = h.make(0);
  noted_wait_ptr a(new noted_wait(ann));
  write(a->add(c.pointer(), true).item, 1);
  a->add(c.pointer(), false);
  CHECK_FALSE(h.decide(*a));
  noted_wait_ptr b(new noted_wait(bob));
  write(b->add(c.pointer(), true).item, 2);
  b->add(c.pointer(), false);
  CHECK(h.decide(*b));
  CHECK(a->told == 1);
  CHECK(a->fired() != b->fired());
  a->finish();
  CHECK(c->figures().senders_waiting == 0);
  CHECK(c->figures().receivers_waiting == 0);
  CHECK(c->figures().sent == 1);
}

TEST_CASE("channel: a rendezvous closed from either side ends both sides") {
  harbour h;
  const channel_handle c = h.make(0);
  const auto s = h.sender(*c, ann, 1);
  h.close(*c);
  CHECK(s->status() == status::closed);
  CHECK(h.receive(*c).how == status::closed); // the item stayed with its sender
}

// -- withdrawn ---------------------------------------------------------------------------------------------------------

TEST_CASE("channel: a withdrawn send takes its item along, and the others are where they were") {
  harbour h;
  const channel_handle c = h.make(1);
  h.send(*c, ann, 1);
  const auto first = h.sender(*c, ann, 2);
  const auto second = h.sender(*c, bob, 3);
  CHECK(first->withdraw());
  CHECK(first->withdraw()); // also when it is called again
  CHECK(number_in(first->at(0).item) == 2);
  CHECK(c->figures().senders_waiting == 1);
  CHECK(h.drain(*c) == list{1, 3});
  CHECK(first->told == 0);
  CHECK_FALSE(second->withdraw()); // it was taken, and counts
  CHECK(second->status() == status::done);
}

TEST_CASE("channel: a withdrawn receive finds nothing, and the item goes to the next") {
  harbour h;
  const channel_handle c = h.make();
  const auto first = h.receiver(*c, ann);
  const auto second = h.receiver(*c, bob);
  CHECK(first->withdraw());
  CHECK(h.send(*c, cy, 5) == status::done);
  CHECK(first->told == 0);
  CHECK(result_of(*second) == received{status::done, 5, cy});
}

TEST_CASE("channel: what timed out everywhere leaves nothing in the lists") {
  harbour h;
  const channel_handle c = h.make(0);
  for (int round = 0; round < 3; ++round) {
    std::vector<noted_wait_ptr> waits;
    for (int i = 0; i < 20; ++i)
      waits.push_back(i % 2 == 0 || round == 2 ? h.sender(*c, ann, i) : h.sender(*c, bob, i));
    for (const std::size_t i : {19U, 0U, 7U, 8U, 9U}) CHECK(waits[i]->withdraw());
    CHECK(c->figures().senders_waiting == 15);
    for (const auto& w : waits) CHECK(w->withdraw());
    CHECK(c->figures().senders_waiting == 0);
    for (const auto& w : waits) {
      CHECK_FALSE(w->at(0).linked);
      CHECK(w->use_count() == 1);
    }
  }
  CHECK(h.receive(*c).how == status::empty);
}

// -- ends --------------------------------------------------------------------------------------------------------------

TEST_CASE("ends: exactly those who used an end and did not let go of it, by id") {
  harbour h;
  const channel_handle c = h.make();
  CHECK(c->ends().senders.empty());
  CHECK(c->ends().receivers.empty());
  h.send(*c, cy, 1);
  h.send(*c, ann, 1);
  h.send(*c, cy, 1);
  h.receive(*c, bob);
  CHECK(c->ends().senders == who{ann, cy});
  CHECK(c->ends().receivers == who{bob});
  h.release(*c, ann, true, false);
  h.release(*c, bob, false, true);
  h.release(*c, bob, true, true); // it never sent
  CHECK(c->ends().senders == who{cy});
  CHECK(c->ends().receivers.empty());
  h.send(*c, ann, 1); // used again
  CHECK(c->ends().senders == who{ann, cy});
}

TEST_CASE("ends: who tried in vain, and who waits, are ends too") {
  harbour h;
  const channel_handle c = h.make(0);
  h.send(*c, ann, 1);
  h.receive(*c, bob);
  const auto parked = h.sender(*c, cy, 1);
  CHECK(c->ends().senders == who{ann, cy});
  CHECK(c->ends().receivers == who{bob});
  parked->withdraw();
  CHECK(c->ends().senders == who{ann, cy});
  const auto waiting = h.receiver(*c, ann);
  CHECK(c->ends().receivers == who{ann, bob});
  h.close(*c);
}

TEST_CASE("ends: one interpreter at both ends lets go of each by itself") {
  harbour h;
  const channel_handle c = h.make();
  h.send(*c, ann, 1);
  h.send(*c, bob, 2);
  h.receive(*c, ann);
  h.release(*c, ann, true, false);
  CHECK(c->ends().senders == who{bob});
  CHECK(c->ends().receivers == who{ann});
  h.leave(*c, ann);
  CHECK(c->ends().receivers.empty());
  CHECK_FALSE(c->is_closed());
}

TEST_CASE("ends: with the only sender released or ended the channel closes after draining") {
  for (const bool ends : {false, true}) {
    harbour h;
    const channel_handle c = h.make();
    h.send(*c, ann, 1);
    h.send(*c, cy, 2);
    ends ? h.leave(*c, cy) : h.release(*c, cy, true, true);
    CHECK_FALSE(c->is_closed()); // ann still sends
    ends ? h.leave(*c, ann) : h.release(*c, ann, true, false);
    CHECK(c->is_closed());
    CHECK(h.drain(*c) == list{1, 2});
    CHECK(h.receive(*c).how == status::closed);
  }
}

TEST_CASE("ends: with the last sender the receivers that wait are told") {
  harbour h;
  const channel_handle c = h.make();
  h.send(*c, ann, 1);
  h.drain(*c);
  const auto w = h.receiver(*c, bob);
  h.leave(*c, ann);
  CHECK(w->told == 1);
  CHECK(result_of(*w).how == status::closed);
}

TEST_CASE("ends: nobody ever sent, or only receivers went: the channel stays open") {
  harbour h;
  const channel_handle c = h.make();
  h.receive(*c, bob);
  h.leave(*c, bob);
  h.leave(*c, ann);
  CHECK_FALSE(c->is_closed());
  CHECK(h.send(*c, ann, 1) == status::done);
}

TEST_CASE("ends: a channel that is to stay open does, without any sender") {
  harbour h;
  const channel_handle c = h.make({.stay_open = true, .undelivered = {}});
  h.send(*c, ann, 1);
  h.leave(*c, ann);
  CHECK(c->ends().senders.empty());
  CHECK_FALSE(c->is_closed());
  CHECK(h.send(*c, cy, 2) == status::done);
  CHECK(h.drain(*c) == list{1, 2});
}

// -- orphans -----------------------------------------------------------------------------------------------------------

TEST_CASE("orphans: kept, they are as before") {
  harbour h;
  const channel_handle c = h.with_orphans(orphan_policy::keep);
  h.send(*c, ann, 1);
  h.send(*c, bob, 2);
  h.leave(*c, ann);
  CHECK(c->size() == 2);
  CHECK(c->figures().orphaned == 0);
  CHECK(h.drain(*c) == list{1, 2});
}

TEST_CASE("orphans: removed, the length drops, and the others keep their order") {
  harbour h;
  const channel_handle c = h.with_orphans(orphan_policy::remove);
  for (std::int64_t i = 0; i < 10; ++i) h.send(*c, i % 3 == 0 ? ann : bob, i);
  h.leave(*c, ann);
  CHECK(c->size() == 6);
  CHECK(c->figures().orphaned == 4);
  CHECK(c->ends().senders == who{bob});
  CHECK(h.drain(*c) == list{1, 2, 4, 5, 7, 8});
  h.leave(*c, ann); // a second time is nothing
  CHECK(c->figures().orphaned == 4);
}

TEST_CASE("orphans: as errors, the length stays, and each fails the one that meets it, once") {
  harbour h;
  const channel_handle c = h.with_orphans(orphan_policy::error);
  for (std::int64_t i = 0; i < 5; ++i) h.send(*c, i == 1 || i == 3 ? ann : bob, i);
  h.leave(*c, ann);
  CHECK(c->size() == 5);
  CHECK(c->figures().orphaned == 2);
  CHECK(h.receive(*c).number == 0);
  channel_item into;
  CHECK(h.receive(*c, bob, into) == status::orphaned);
  CHECK(into.info.sender == ann);
  CHECK(c->size() == 3);
  CHECK(h.receive(*c).number == 2);
  CHECK(h.receive(*c).how == status::orphaned);
  CHECK(h.receive(*c).number == 4);
  CHECK(h.receive(*c).how == status::empty);
}

TEST_CASE("orphans: an item's own policy comes before the channel's") {
  harbour h;
  const channel_handle c = h.with_orphans(orphan_policy::remove);
  h.send(*c, ann, 1, orphan_policy::keep);
  h.send(*c, ann, 2, orphan_policy::error);
  h.send(*c, ann, 3, orphan_policy::remove);
  h.send(*c, bob, 4);
  h.leave(*c, ann);
  CHECK(c->size() == 3);
  CHECK(h.receive(*c).number == 1);
  CHECK(h.receive(*c).how == status::orphaned);
  CHECK(h.receive(*c).number == 4);
}

TEST_CASE("orphans: what a wait sends has the channel's policy, and its own when it says so") {
  harbour h;
  const channel_handle c = h.with_orphans(orphan_policy::remove);
  h.sender(*c, ann, 1);
  noted_wait_ptr w(new noted_wait(ann));
  channel_case& one = w->add(c.pointer(), true);
  one.item.info.orphans = orphan_policy::keep;
  write(one.item, 2);
  CHECK(h.decide(*w));
  h.send(*c, bob, 3);
  h.leave(*c, ann);
  CHECK(h.drain(*c) == list{2, 3});
}

TEST_CASE("orphans: removed ones make room for who waits to send") {
  harbour h;
  const channel_handle c = h.make({.capacity = 2, .orphans = orphan_policy::remove, .undelivered = {}});
  h.send(*c, ann, 1);
  h.send(*c, bob, 2);
  const auto w = h.sender(*c, cy, 3);
  h.leave(*c, ann);
  CHECK(w->told == 1);
  CHECK(h.drain(*c) == list{2, 3});
}

TEST_CASE("orphans: an item received before its sender ended is as it was") {
  harbour h;
  const channel_handle c = h.with_orphans(orphan_policy::error);
  h.send(*c, ann, 42);
  channel_item into;
  CHECK(h.receive(*c, bob, into) == status::done);
  h.leave(*c, ann);
  CHECK(number_in(into) == 42);
  CHECK_FALSE(into.info.orphaned);
  CHECK(c->figures().orphaned == 0);
}

TEST_CASE("orphans: an item handed to a waiting receiver is received, although it was not told yet") {
  harbour h;
  const channel_handle c = h.with_orphans(orphan_policy::error);
  const auto w = h.receiver(*c, bob);
  channel_item one = h.item(*c, ann);
  write(one, 7);
  aftermath after;
  CHECK(c->send(one, after) == status::done);
  h.leave(*c, ann);
  h.space.settle(after);
  CHECK(result_of(*w) == received{status::done, 7, ann});
}

TEST_CASE("orphans: in a channel that drains they are treated the same") {
  harbour h;
  const channel_handle c = h.with_orphans(orphan_policy::remove);
  h.send(*c, ann, 1);
  h.send(*c, bob, 2);
  h.close(*c);
  h.leave(*c, ann);
  CHECK(c->size() == 1);
  CHECK(h.drain(*c) == list{2});
}

// -- large and empty ---------------------------------------------------------------------------------------------------

TEST_CASE("channel: items of 64 MiB pass without a copy, among small ones") {
  constexpr std::size_t large = std::size_t{64} << 20U;
  harbour h;
  const channel_handle c = h.make(3);
  h.send(*c, ann, 1);
  channel_item big = h.item(*c, ann);
  std::uint8_t* const p = big.bytes.room(large);
  REQUIRE(p != nullptr);
  p[0] = 1;
  p[large - 1] = 2;
  CHECK(h.send(*c, ann, std::move(big)) == status::done);
  h.send(*c, ann, 3);
  CHECK(h.receive(*c).number == 1);
  channel_item into;
  CHECK(h.receive(*c, bob, into) == status::done);
  CHECK(into.bytes.size() == large);
  CHECK(into.bytes.data() == p);
  CHECK(p[0] == 1);
  CHECK(p[large - 1] == 2);
  CHECK(h.receive(*c, bob, into) == status::done); // into the large buffer
  CHECK(number_in(into) == 3);
}

TEST_CASE("channel: the last large item and an empty one are gone with the channel") {
  harbour h;
  channel_handle c = h.make(4);
  channel_item big = h.item(*c, ann);
  REQUIRE(big.bytes.room(100000) != nullptr);
  CHECK(h.send(*c, ann, std::move(big)) == status::done);
  CHECK(h.send(*c, ann, h.item(*c, ann)) == status::done); // no bytes at all: an item all the same
  CHECK(c->size() == 2);
  c = {};
  CHECK(h.space.size() == 0);
}

TEST_CASE("channel: an item of no bytes is received as one") {
  harbour h;
  const channel_handle c = h.make();
  h.send(*c, ann, h.item(*c, ann));
  channel_item into;
  write(into, 5);
  CHECK(h.receive(*c, bob, into) == status::done);
  CHECK(into.bytes.empty());
  CHECK(h.receive(*c, bob, into) == status::empty);
}

TEST_CASE("channel: its words have names") {
  CHECK(std::string(name_of(status::orphaned)) == "orphaned");
  CHECK(std::string(name_of(status::no_memory)) == "no memory");
  CHECK(std::string(name_of(full_policy::drop_newest)) == "drop_newest");
  CHECK(std::string(name_of(full_policy::fail)) == "fail");
  CHECK(std::string(name_of(orphan_policy::remove)) == "remove");
}
