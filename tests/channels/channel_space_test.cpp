// All channels of a runtime: handles, what goes home with the last one, who inherits what nobody receives, the end.
#include "channels/channel_space.hpp"

#include <doctest/doctest.h>

#include <map>

#include "channels/buffer_space.hpp"
#include "channels/channel_desk.hpp"
#include "channels/channel_value.hpp"
#include "channels/envelope.hpp"
#include "tests/channels/parties.hpp"

using namespace Atoll;
using namespace Atoll::test;
using status = channel_status;
using list = std::vector<std::int64_t>;

namespace {

/// A channel's options, but for the heir: the rest.
channel_options with_heir(channel_handle heir, std::size_t capacity = 16, full_policy full = full_policy::block) {
  return {.capacity = capacity, .full = full, .undelivered = std::move(heir)};
}

/// Credit of an owner's objects in items, and what of it came home.
struct bank : harbour {
  resident owner{d};

  channel_item deposit(basic_channel& c, interpreter_id from, std::uint32_t slot, std::uint32_t credit) {
    channel_item one = item(c, from);
    CHECK(one.bytes.put_reference({{owner.id, slot, 1}, credit, {}}));
    return one;
  }
  /// By slot.
  std::map<std::uint32_t, std::uint64_t> returned() {
    std::map<std::uint32_t, std::uint64_t> all;
    for (const letter& l : owner.read()) {
      if (l.kind != record_kind::decref) continue;
      wire_reader in = l.in();
      for (std::uint32_t n = in.get_u32(); n > 0; --n) {
        const decref_run run = in.get_decrefs(owner.id);
        for (std::uint32_t k = 0; k < run.count; ++k) all[run.slot + k] += run.credit;
      }
    }
    return all;
  }
};

using credits = std::map<std::uint32_t, std::uint64_t>;

/// A handle of `c` in a message.
void put(channel_item& into, channel_space& space, const channel_handle& c) {
  space.hold(c);
  REQUIRE(into.bytes.put_channel(c->id()));
}

} // namespace

// -- handles -----------------------------------------------------------------------------------------------------------

TEST_CASE("handles: ids follow each other from 1, and are never used again") {
  harbour h;
  channel_handle first = h.make();
  CHECK(first->id() == 1);
  CHECK(h.make()->id() == 2); // and is gone at once
  CHECK(h.make()->id() == 3);
  first = {};
  CHECK(h.space.size() == 0);
  CHECK(h.make()->id() == 4);
  CHECK_FALSE(h.space.find(1));
}

TEST_CASE("handles: a number that names no channel finds nothing") {
  harbour h;
  const channel_handle c = h.make();
  for (const channel_number n : {channel_number{0}, channel_number{2}, ~channel_number{0}}) {
    CHECK_FALSE(h.space.find(n));
    CHECK_FALSE(h.space.take(n));
    h.space.drop_held(n);
  }
  CHECK(h.space.find(1) == c);
}

TEST_CASE("handles: copied, moved and assigned, the channel lives as long as one of them") {
  harbour h;
  channel_handle a = h.make();
  channel_handle b = a;
  channel_handle c = std::move(a);
  CHECK_FALSE(a); // NOLINT(bugprone-use-after-move)
  a = c;
  a = *&a; // itself
  b = {};
  c = std::move(a);
  CHECK(h.space.size() == 1);
  CHECK(h.send(*c, ann, 1) == status::done);
  c = h.make();
  CHECK(h.space.size() == 1);
  CHECK(c->id() == 2);
}

TEST_CASE("handles: the one found is the same channel, and keeps it") {
  harbour h;
  channel_handle a = h.make();
  channel_handle b = h.space.find(1);
  CHECK(a == b);
  a = {};
  CHECK(h.send(*b, ann, 1) == status::done);
  b = {};
  CHECK_FALSE(h.space.find(1));
}

TEST_CASE("handles: a handle in a message keeps its channel, and comes out once") {
  harbour h;
  channel_handle c = h.make();
  h.send(*c, ann, 1);
  CHECK_FALSE(h.space.take(1)); // no message carries one: a lie
  h.space.hold(c);
  h.space.hold(c);
  c = {};
  CHECK(h.space.size() == 1);
  c = h.space.take(1);
  REQUIRE(c);
  CHECK(c->size() == 1);
  h.space.drop_held(1);
  CHECK_FALSE(h.space.take(1));
  CHECK(h.space.size() == 1);
  c = {};
  CHECK(h.space.size() == 0);
}

TEST_CASE("handles: with the last one in a message thrown away, the channel ends") {
  harbour h;
  channel_handle c = h.make();
  const auto w = h.receiver(*c, bob);
  h.space.hold(c);
  c = {};
  CHECK(w->told == 0);
  h.space.drop_held(1);
  CHECK(w->told == 1);
  CHECK(w->status() == status::closed);
}

TEST_CASE("handles: who waits does not keep a channel, and is told when its last handle is gone") {
  harbour h;
  channel_handle c = h.make(0);
  const auto s = h.sender(*c, ann, 4);
  c = {};
  CHECK(h.space.size() == 0);
  CHECK(s->told == 1);
  CHECK(s->status() == status::closed);
  CHECK(number_in(s->at(0).item) == 4);
  CHECK(s->at(0).where->is_closed()); // its memory is still there to look at
}

TEST_CASE("handles: one that outlives the runtime still closes, and touches nothing of it") {
  channel_handle late;
  noted_wait_ptr w;
  {
    bank b;
    late = b.make();
    b.send(*late, ann, b.deposit(*late, ann, 1, 5));
    w = b.receiver(*b.make(), bob);
  }
  CHECK(w->status() == status::closed);
  aftermath after;
  CHECK_FALSE(late->is_closed()); // nobody called close_all()
  CHECK(late->close(after));
  late->space().settle(after);
  late = {};
}

// -- what is in it goes home -------------------------------------------------------------------------------------------

TEST_CASE("credit: of items left when the last handle goes, it goes home") {
  bank b;
  channel_handle c = b.make();
  b.send(*c, ann, b.deposit(*c, ann, 1, 5));
  b.send(*c, ann, b.deposit(*c, ann, 2, 6));
  CHECK(b.returned().empty());
  c = {};
  CHECK(b.returned() == credits{{1, 5}, {2, 6}});
}

TEST_CASE("credit: of items dropped by a forced close or by drop_oldest, it goes home") {
  bank b;
  const channel_handle forced = b.make();
  b.send(*forced, ann, b.deposit(*forced, ann, 1, 5));
  b.close(*forced);
  CHECK(b.returned().empty()); // it can still be received
  b.destroy(*forced);
  CHECK(b.returned() == credits{{1, 5}});
  const channel_handle newest = b.make(1, full_policy::drop_oldest);
  b.send(*newest, ann, b.deposit(*newest, ann, 2, 6));
  b.send(*newest, ann, 1);
  CHECK(b.returned() == credits{{2, 6}});
}

TEST_CASE("credit: of orphans that are removed it goes home, of those that are errors when they are received") {
  bank b;
  const channel_handle c = b.with_orphans(orphan_policy::remove);
  b.send(*c, ann, b.deposit(*c, ann, 1, 5));
  b.leave(*c, ann);
  CHECK(b.returned() == credits{{1, 5}});
  const channel_handle e = b.with_orphans(orphan_policy::error);
  b.send(*e, ann, b.deposit(*e, ann, 2, 6));
  b.leave(*e, ann);
  channel_item into;
  CHECK(b.receive(*e, bob, into) == status::orphaned);
  CHECK(into.bytes.size() > 0); // whoever received it gives it back
  CHECK(b.returned().empty());
}

TEST_CASE("credit: of a large item it goes home too") {
  bank b;
  channel_handle c = b.make();
  channel_item big = b.item(*c, ann);
  big.bytes.put_string(std::string(100000, 'x'));
  CHECK(big.bytes.put_reference({{b.owner.id, 1, 1}, 5, {}}));
  b.send(*c, ann, std::move(big));
  c = {};
  CHECK(b.returned() == credits{{1, 5}});
}

TEST_CASE("credit: bytes that are no values do no harm") {
  bank b;
  channel_handle c = b.make();
  channel_item bad = b.deposit(*c, ann, 1, 5);
  bad.bytes.put_u8(0x3f);
  bad.bytes.put_channel(77);
  b.send(*c, ann, std::move(bad));
  channel_item lie = b.item(*c, ann);
  lie.bytes.put_channel(c->id()); // held by nobody
  b.send(*c, ann, std::move(lie));
  c = {};
  CHECK(b.returned() == credits{{1, 5}});
  CHECK(b.space.size() == 0);
}

TEST_CASE("credit: a channel in its own items keeps itself until it is destroyed") {
  harbour h;
  channel_handle c = h.make();
  channel_item self = h.item(*c, ann);
  put(self, h.space, c);
  h.send(*c, ann, std::move(self));
  c = {};
  CHECK(h.space.size() == 1);
  h.space.close_all();
  CHECK(h.space.size() == 0);
}

TEST_CASE("credit: two channels in each other's items end together when one is destroyed") {
  harbour h;
  channel_handle a = h.make();
  channel_handle b = h.make();
  for (const auto& [into, of] : {std::pair(a, b), std::pair(b, a)}) {
    channel_item one = h.item(*into, ann);
    put(one, h.space, of);
    h.send(*into, ann, std::move(one));
  }
  b = {};
  h.destroy(*a);
  CHECK(h.space.size() == 1);
  a = {};
  CHECK(h.space.size() == 0);
}

TEST_CASE("credit: a chain of 100,000 channels in each other's items ends without recursion") {
  bank b;
  channel_handle head;
  for (int i = 0; i < 100000; ++i) {
    channel_handle next = b.make();
    if (head) {
      channel_item one = b.item(*next, ann);
      put(one, b.space, head);
      b.send(*next, ann, std::move(one));
    } else {
      b.send(*next, ann, b.deposit(*next, ann, 1, 9));
    }
    head = std::move(next);
  }
  CHECK(b.space.size() == 100000);
  head = {};
  CHECK(b.space.size() == 0);
  CHECK(b.returned() == credits{{1, 9}});
}

TEST_CASE("credit: a chain of 100,000 channels that inherit from each other ends without recursion") {
  harbour h;
  channel_handle head;
  for (int i = 0; i < 100000; ++i) head = h.make(with_heir(std::move(head)));
  CHECK(h.space.size() == 100000);
  head = {};
  CHECK(h.space.size() == 0);
}

// -- heirs -------------------------------------------------------------------------------------------------------------

TEST_CASE("heirs: what nobody will receive goes to the channel's heir, in order") {
  harbour h;
  const channel_handle heir = h.make();
  const channel_handle newest = h.make(with_heir(heir, 1, full_policy::drop_oldest));
  for (std::int64_t i = 0; i < 4; ++i) h.send(*newest, ann, i);
  CHECK(h.drain(*heir) == list{0, 1, 2});
  channel_handle dropped = h.make(with_heir(heir));
  h.send(*dropped, ann, 7);
  h.send(*dropped, bob, 8);
  h.destroy(*dropped);
  CHECK(h.receive(*heir) == received{status::done, 7, ann}); // from whom it was
  CHECK(h.receive(*heir) == received{status::done, 8, bob});
  channel_handle gone = h.make(with_heir(heir));
  h.send(*gone, ann, 9);
  gone = {};
  CHECK(h.drain(*heir) == list{9});
}

TEST_CASE("heirs: orphans that are removed are inherited") {
  harbour h;
  const channel_handle heir = h.make();
  const channel_handle c = h.make({.orphans = orphan_policy::remove, .undelivered = heir});
  h.send(*c, ann, 1);
  h.leave(*c, ann);
  CHECK(h.drain(*heir) == list{1});
}

TEST_CASE("heirs: who waits at the heir is handed the item") {
  harbour h;
  const channel_handle heir = h.make(0);
  const channel_handle c = h.make(with_heir(heir));
  h.send(*c, ann, 1);
  const auto w = h.receiver(*heir, bob);
  h.destroy(*c);
  CHECK(w->told == 1);
  CHECK(result_of(*w) == received{status::done, 1, ann});
}

TEST_CASE("heirs: an heir that is full, drops or is closed gets nothing, and the credit goes home") {
  for (const int how : {0, 1, 2, 3}) {
    CAPTURE(how);
    bank b;
    const full_policy full = how == 2 ? full_policy::drop_newest : how == 3 ? full_policy::fail : full_policy::block;
    const channel_handle heir = b.make(1, full);
    if (how != 1) b.send(*heir, bob, 0);
    if (how == 1) b.close(*heir);
    channel_handle c = b.make(with_heir(heir));
    b.send(*c, ann, b.deposit(*c, ann, 1, 5));
    c = {};
    CHECK(b.returned() == credits{{1, 5}});
  }
}

TEST_CASE("heirs: what an heir drops to make room goes no further") {
  bank b;
  const channel_handle last = b.make();
  const channel_handle heir = b.make(with_heir(last, 1, full_policy::drop_oldest));
  channel_handle c = b.make(with_heir(heir));
  b.send(*c, ann, b.deposit(*c, ann, 1, 5));
  b.send(*c, ann, b.deposit(*c, ann, 2, 6));
  c = {};
  CHECK(heir->size() == 1);
  CHECK(last->size() == 0);
  CHECK(b.returned() == credits{{1, 5}});
}

TEST_CASE("heirs: inheriting makes nobody a sender of the heir") {
  harbour h;
  const channel_handle heir = h.make();
  const channel_handle c = h.make({.orphans = orphan_policy::remove, .undelivered = heir});
  h.send(*heir, cy, 0);
  h.send(*c, ann, 1);
  h.leave(*c, ann);
  CHECK(heir->ends().senders == std::vector<interpreter_id>{cy});
  h.leave(*heir, cy); // the last that really sent
  CHECK(heir->is_closed());
  CHECK(h.drain(*heir) == list{0, 1});
}

TEST_CASE("heirs: an interpreter that ended is no end of a channel that inherited from it") {
  harbour h;
  const channel_handle heir = h.make();
  const channel_handle c = h.make({.orphans = orphan_policy::remove, .undelivered = heir});
  resident r(h.d);
  {
    channel_desk desk(r.id, r.box, h.d.channels());
    write(desk.outgoing(), 5);
    CHECK(desk.send(*c) == status::done);
  }
  CHECK(h.receive(*heir) == received{status::done, 5, r.id});
  CHECK(heir->ends().senders.empty());
}

// -- the end of the runtime --------------------------------------------------------------------------------------------

TEST_CASE("close_all: everything is destroyed, what held items is named with its senders, by id") {
  bank b;
  std::vector<channel_handle> all;
  for (int i = 0; i < 10; ++i) all.push_back(b.make());
  b.send(*all[6], bob, 1);
  b.send(*all[6], ann, b.deposit(*all[6], ann, 1, 5));
  b.send(*all[2], ann, 1);
  b.send(*all[3], ann, 1);
  b.drain(*all[3]);
  const auto w = b.receiver(*all[0], bob);
  const std::vector<channel_leftover> left = b.space.close_all();
  REQUIRE(left.size() == 2);
  CHECK(left[0].id == all[2]->id());
  CHECK(left[1].id == all[6]->id());
  CHECK(left[1].items == 2);
  CHECK(left[1].senders == std::vector<interpreter_id>{ann, bob});
  CHECK(w->status() == status::closed);
  CHECK(b.returned() == credits{{1, 5}});
  CHECK(b.space.close_all().empty());
}

TEST_CASE("close_all: after it no channel is made, and none takes anything") {
  harbour h;
  const channel_handle c = h.make();
  h.space.close_all();
  const auto made = h.space.make({.undelivered = {}});
  REQUIRE_FALSE(made);
  CHECK(made.error().code == errc::runtime_finalizing);
  CHECK(h.send(*c, ann, 1) == status::closed);
}

TEST_CASE("close_all: an heir that held nothing of its own is not named, and what it gets then goes home") {
  for (const std::size_t before : {std::size_t{0}, std::size_t{50}}) {
    bank b;
    std::vector<channel_handle> others;
    for (std::size_t i = 0; i < before; ++i) others.push_back(b.make());
    const channel_handle heir = b.make();
    std::vector<channel_handle> all;
    for (std::uint32_t i = 0; i < 20; ++i) {
      all.push_back(b.make(with_heir(heir)));
      b.send(*all.back(), ann, b.deposit(*all.back(), ann, i, 1));
    }
    const auto left = b.space.close_all();
    CHECK(left.size() == 20);
    for (const channel_leftover& l : left) CHECK(l.id != heir->id());
    CHECK(b.returned().size() == 20);
  }
}

TEST_CASE("seal: afterwards an item's credit stays where it is, and nothing is touched") {
  bank b;
  channel_handle c = b.make();
  b.send(*c, ann, b.deposit(*c, ann, 1, 5));
  b.space.seal();
  c = {};
  CHECK(b.returned().empty());
}

// -- in values ---------------------------------------------------------------------------------------------------------

TEST_CASE("channel values: a channel keeps its identity on its way through a message") {
  harbour h;
  channel_handle c = h.make();
  any_channel v = value_of(c);
  CHECK(v.number() == c->id());
  CHECK(handle_of(v) == c);
  item_bytes bytes;
  CHECK(put_channel(bytes, h.space, v));
  v = {};
  basic_channel* const same = c.get();
  c = {};
  CHECK(h.space.size() == 1); // the message has it
  wire_reader in = bytes.reader();
  CHECK(in.get_u8() == static_cast<std::uint8_t>(wire_tag::channel));
  const channel_number number = in.get_u64();
  any_channel out = get_channel(h.space, number);
  CHECK(handle_of(out).get() == same);
  CHECK(get_channel(h.space, number).number() == 0); // one came in, one went out
  out = {};
  CHECK(h.space.size() == 0);
}

TEST_CASE("channel values: an empty one, and one of another runtime, do not cross") {
  harbour h;
  harbour other;
  item_bytes bytes;
  CHECK_FALSE(put_channel(bytes, h.space, {}));
  CHECK_FALSE(put_channel(bytes, h.space, value_of(other.make())));
  CHECK(bytes.empty());
  CHECK_FALSE(handle_of(any_channel{}));
  CHECK(value_of({}).number() == 0);
}

TEST_CASE("channel values: written into a buffer without memory, the handle comes back") {
  struct full_buffer final : wire_writer {
    bool grow(std::size_t) noexcept override { return false; }
  };
  harbour h;
  channel_handle c = h.make();
  full_buffer none;
  CHECK(put_channel(none, h.space, value_of(c)));
  CHECK(none.failed());
  c = {};
  CHECK(h.space.size() == 0);
}

TEST_CASE("heirs: a channel of another runtime cannot be one") {
  harbour here;
  harbour there;
  const auto refused = here.d.channels()->make({.undelivered = there.make()});
  REQUIRE(!refused);
  CHECK(refused.error().code == errc::not_shareable);
  CHECK(here.d.channels()->size() == 0);
}

TEST_CASE("space: after the end, too, a channel in an item that nobody receives is let go of") {
  harbour h;
  const channel_handle c = h.make();
  channel_ptr inside;
  {
    const channel_handle sent = h.make();
    inside = sent.pointer();
    h.space.hold(sent);
  }
  channel_item item;
  REQUIRE(item.bytes.put_channel(inside->id()));
  h.space.seal();
  std::vector<aftermath::undelivered> lost;
  lost.push_back({std::move(item), c.pointer()});
  h.space.give_up(std::move(lost));
  CHECK(inside->use_count() == 1);
  CHECK(h.space.size() == 1);
}

TEST_CASE("space: after the end, too, a buffer in an item that nobody receives is let go of") {
  harbour h;
  const channel_handle c = h.make();
  const inbox_ptr box(new inbox(ann, 100));
  buffer_account own(h.d.buffers(), ann, "ann", nullptr, box);
  channel_item item;
  {
    const auto made = own.make(10);
    REQUIRE(made);
    REQUIRE(made->put(item.bytes));
  }
  own.end();
  h.space.seal();
  CHECK(h.d.buffers()->in_flight() == 1);
  std::vector<aftermath::undelivered> lost;
  lost.push_back({std::move(item), c.pointer()});
  h.space.give_up(std::move(lost));
  CHECK(h.d.buffers()->in_flight() == 0);
  CHECK(h.d.buffers()->blocks() == 0);
}
