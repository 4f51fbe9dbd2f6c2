// An interpreter's side of its channels: whom it tells and when, waits that end in every order, the end of the interpreter.
#include "channels/channel_desk.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <thread>

#include "runtime/turn_clock.hpp"
#include "tests/channels/parties.hpp"

using namespace Atoll;
using namespace Atoll::test;
using status = channel_status;
using list = std::vector<std::int64_t>;
using tokens = std::vector<guest_word>;

namespace {

using wait_ptr = boost::intrusive_ptr<guest_wait>;

/// A resident with a desk, as the shell has it.
struct clerk {
  explicit clerk(harbour& h) : home(h.d), desk(home.id, home.box, h.d.channels()) {}
  ~clerk() {
    if (home.alive) end();
  }

  status send(basic_channel& c, std::int64_t n) {
    write(desk.outgoing(), n);
    const status how = desk.send(c);
    if (how != status::done) desk.outgoing().bytes.clear();
    return how;
  }
  received receive(basic_channel& c) {
    const status how = desk.receive(c);
    return how == status::done ? received{how, number_in(desk.received()), desk.received_item().info.sender}
                               : received{how};
  }
  /// A wait of one case, begun.
  wait_ptr begin(basic_channel& c, bool sends, guest_word token, std::int64_t n = 0) {
    wait_ptr w = desk.make_wait();
    channel_case& one = w->add(&c, sends);
    if (sends) write(one.item, n);
    desk.decide(*w, token, 1);
    return w;
  }
  /// The tokens that are resumed, in order; at most so many.
  tokens resume(std::size_t most = 1000) {
    tokens all;
    desk.take_ready([&] { return all.size() < most; }, [&](guest_word t) { all.push_back(t); });
    return all;
  }
  /// In the order of the shell.
  void end() {
    desk.close();
    home.alive = false;
    home.where.leave(home.id, {});
    home.box->close();
    channel_desk::drop_ready(*home.box);
    dispose_leftovers(*home.box, home.where);
  }

  resident home;
  channel_desk desk;
};

} // namespace

// -- the end -----------------------------------------------------------------------------------------------------------

TEST_CASE("desk: closed with waits in every state, none is left, and what they held goes where it belongs") {
  harbour h;
  const channel_handle heir = h.make();
  const channel_handle empty = h.make({.undelivered = heir});
  const channel_handle none = h.make({.capacity = 0, .undelivered = heir});
  clerk a(h);
  clerk b(h);
  const wait_ptr open_receive = a.begin(*empty, false, 1);
  const wait_ptr taken_receive = a.begin(*none, false, 2);
  CHECK(b.send(*none, 20) == status::done); // taken; a is not told yet
  b.desk.flush();                           // told; it lies in a's inbox
  const wait_ptr other_receive = a.begin(*none, false, 3);
  CHECK(b.send(*none, 30) == status::done); // taken, and not told
  const wait_ptr withdrawn = a.begin(*empty, false, 4);
  CHECK(a.desk.withdraw(*withdrawn));
  const wait_ptr open_send = a.begin(*none, true, 5, 50);
  CHECK(none->figures().senders_waiting == 1);
  CHECK(a.desk.waits() == 4);

  a.end();
  CHECK(a.desk.waits() == 0);
  CHECK(empty->figures().receivers_waiting == 0);
  CHECK(none->figures().senders_waiting == 0);
  for (const wait_ptr& w : {open_receive, taken_receive, other_receive, withdrawn, open_send}) {
    CHECK_FALSE(channel_desk::is_waiting(*w));
    CHECK_FALSE(w->at(0).linked);
  }
  CHECK(other_receive->use_count() == 2); // b has still to tell
  b.desk.flush();                         // finds the inbox closed
  CHECK(other_receive->use_count() == 1);
  CHECK(taken_receive->use_count() == 1);
  CHECK(a.resume().empty());
  CHECK(h.drain(*heir) == list{20, 30, 50});
}

TEST_CASE("desk: closed, its interpreter is no end of any channel, and its items are orphans") {
  harbour h;
  const channel_handle sent = h.with_orphans(orphan_policy::remove);
  const channel_handle read = h.make();
  clerk a(h);
  clerk b(h);
  a.send(*sent, 1);
  b.send(*sent, 2);
  a.receive(*read);
  CHECK(sent->ends().senders.size() == 2);
  a.end();
  CHECK(sent->ends().senders == std::vector<interpreter_id>{b.home.id});
  CHECK(read->ends().receivers.empty());
  CHECK(b.receive(*sent).number == 2);
}

TEST_CASE("desk: it leaves every channel it used, however many, also those whose numbers share a place") {
  harbour h;
  std::vector<channel_handle> all;
  clerk a(h);
  for (int i = 0; i < 300; ++i) {
    all.push_back(h.make());
    for (const auto& c : all)
      if (c->id() % 8 == all.back()->id() % 8) a.send(*c, 1); // in and out of the memory of recent ones
    h.make();                                                 // and one that is gone
  }
  a.end();
  for (const auto& c : all) {
    CHECK(c->ends().senders.empty());
    CHECK(c->is_closed());
  }
}

TEST_CASE("desk: closed twice, or with nothing, is the same as once") {
  harbour h;
  clerk a(h);
  a.desk.close();
  a.desk.close();
  CHECK(a.desk.waits() == 0);
}

TEST_CASE("desk: closing tells those whom it woke, and those who wait for its items") {
  harbour h;
  const channel_handle c = h.make();
  const channel_handle other = h.make();
  clerk a(h);
  clerk b(h);
  a.send(*other, 1);
  b.receive(*other);
  const wait_ptr first = b.begin(*c, false, 1);
  const wait_ptr second = b.begin(*other, false, 2);
  a.send(*c, 5); // b is not told yet
  CHECK(b.resume().empty());
  a.end(); // with its only sender `other` closes
  CHECK(b.resume().size() == 2);
  CHECK(first->status() == status::done);
  CHECK(second->status() == status::closed);
  b.desk.finish(*first);
  b.desk.finish(*second);
}

TEST_CASE("desk: what is told after the inbox closed is thrown away by whoever tells") {
  harbour h;
  const channel_handle c = h.make();
  clerk b(h);
  wait_ptr w;
  {
    clerk a(h);
    w = a.begin(*c, false, 1);
    b.send(*c, 1);
    a.end();
    CHECK(w->use_count() == 2);
  }
  b.desk.flush();
  CHECK(w->use_count() == 1);
}

TEST_CASE("desk: what was taken out of the inbox and not resumed goes with the desk") {
  harbour h;
  const channel_handle c = h.make();
  clerk b(h);
  wait_ptr first;
  wait_ptr second;
  {
    clerk a(h);
    first = a.begin(*c, false, 1);
    second = a.begin(*c, false, 2);
    b.send(*c, 1);
    b.send(*c, 2);
    b.desk.flush();
    CHECK(a.resume(1) == tokens{1});
    CHECK(a.desk.has_ready());
  }
  CHECK(first->use_count() == 1);
  CHECK(second->use_count() == 1);
}

// -- whom it tells -----------------------------------------------------------------------------------------------------

TEST_CASE("desk: who is woken is told at the flush, in order, and once") {
  harbour h;
  const channel_handle c = h.make();
  clerk a(h);
  clerk b(h);
  std::vector<wait_ptr> waits;
  for (guest_word t = 1; t <= 5; ++t) waits.push_back(b.begin(*c, false, t));
  CHECK_FALSE(a.desk.has_woken());
  CHECK(a.send(*c, 0) == status::done);
  CHECK(a.desk.has_woken());
  for (std::int64_t i = 1; i < 5; ++i) CHECK(a.send(*c, i) == status::done);
  a.desk.flush();
  CHECK_FALSE(a.desk.has_woken());
  CHECK(b.home.bell.times == 1);
  CHECK(b.desk.has_ready());
  CHECK(b.resume(2) == tokens{1, 2});
  CHECK(b.desk.has_ready());
  CHECK(b.resume() == tokens{3, 4, 5});
  CHECK_FALSE(b.desk.has_ready());
  for (std::int64_t i = 0; i < 5; ++i) {
    guest_wait& w = *waits[static_cast<std::size_t>(i)];
    b.desk.finish(w);
    CHECK(number_in(w.fired_case().item) == i);
  }
  a.desk.flush(); // nobody
  CHECK(b.resume().empty());
}

TEST_CASE("desk: in a long turn those who were woken are told by the next operation") {
  for (const bool wakes_more : {false, true}) {
    harbour h;
    const channel_handle c = h.make();
    const channel_handle other = h.make();
    clerk a(h);
    clerk b(h);
    const wait_ptr w = b.begin(*c, false, 1);
    const wait_ptr next = b.begin(wakes_more ? *c : *other, false, 2);
    a.send(*c, 1);
    CHECK_FALSE(b.desk.has_ready());
    const std::uint64_t begin = turn_ticks();
    while (turn_ticks() - begin < 1'000'000) std::this_thread::yield();
    CHECK_FALSE(b.desk.has_ready());
    if (wakes_more)
      a.send(*c, 2);
    else
      a.receive(*other);
    CHECK_FALSE(a.desk.has_woken());
    CHECK(b.resume() == (wakes_more ? tokens{1, 2} : tokens{1}));
    b.desk.withdraw(*w);
    b.desk.withdraw(*next);
  }
}

TEST_CASE("desk: its own tasks are told as others are") {
  harbour h;
  const channel_handle c = h.make(0);
  clerk a(h);
  const wait_ptr w = a.begin(*c, false, 7);
  CHECK(a.send(*c, 3) == status::done);
  CHECK(a.resume().empty());
  a.desk.flush();
  CHECK(a.resume() == tokens{7});
  a.desk.finish(*w);
}

// -- waits -------------------------------------------------------------------------------------------------------------

TEST_CASE("desk: a wait decided at once is over, and nothing comes") {
  harbour h;
  const channel_handle c = h.make();
  clerk a(h);
  CHECK(a.send(*c, 4) == status::done);
  const wait_ptr w = a.begin(*c, false, 1);
  CHECK_FALSE(channel_desk::is_waiting(*w));
  CHECK(a.desk.waits() == 0);
  CHECK(number_in(w->fired_case().item) == 4);
  CHECK(a.resume().empty());
}

TEST_CASE("desk: an impatient wait never waits, and leaves no trace") {
  harbour h;
  const channel_handle c = h.make();
  clerk a(h);
  const wait_ptr w = a.desk.make_wait();
  w->add(c.pointer(), false);
  CHECK_FALSE(a.desk.decide(*w, 1, 1, false));
  CHECK_FALSE(channel_desk::is_waiting(*w));
  CHECK_FALSE(w->at(0).linked);
  CHECK(a.send(*c, 4) == status::done);
  CHECK(c->size() == 1);
}

TEST_CASE("desk: a select of no cases waits until it is withdrawn") {
  harbour h;
  clerk a(h);
  const wait_ptr w = a.desk.make_wait();
  CHECK_FALSE(a.desk.decide(*w, 1, 1));
  CHECK(a.desk.waits() == 1);
  CHECK(a.desk.withdraw(*w));
  CHECK(a.desk.waits() == 0);
}

TEST_CASE("desk: a wait that was taken and then withdrawn counts, and is not resumed") {
  harbour h;
  const channel_handle c = h.make();
  clerk a(h);
  clerk b(h);
  const wait_ptr w = b.begin(*c, false, 1);
  a.send(*c, 9);
  CHECK_FALSE(b.desk.withdraw(*w));
  CHECK(number_in(w->fired_case().item) == 9);
  a.desk.flush();
  CHECK(b.desk.has_ready());
  CHECK(b.resume().empty());
  CHECK(w->use_count() == 1);
}

TEST_CASE("desk: waits end in every order, and each is told of its own") {
  for (int order = 0; order < 24; ++order) {
    harbour h;
    clerk a(h);
    std::vector<channel_handle> channels;
    std::vector<wait_ptr> waits;
    for (guest_word t = 0; t < 4; ++t) {
      channels.push_back(h.make());
      waits.push_back(a.begin(*channels.back(), false, t));
    }
    std::vector<guest_word> left = {0, 1, 2, 3};
    for (int k = order, n = 4; n > 0; k /= n, --n) {
      const auto at = left.begin() + k % n;
      const guest_word t = *at;
      left.erase(at);
      if (t % 2 == 0) {
        CHECK(a.desk.withdraw(*waits[t]));
      } else {
        h.send(*channels[t], ann, static_cast<std::int64_t>(t));
        CHECK(a.resume() == tokens{t});
        a.desk.finish(*waits[t]);
        CHECK(number_in(waits[t]->fired_case().item) == static_cast<std::int64_t>(t));
      }
      CHECK(a.desk.waits() == left.size());
      for (const guest_word rest : left) CHECK(channel_desk::is_waiting(*waits[rest]));
    }
  }
}

TEST_CASE("desk: given up all at once, those that were open answer their tokens, those that were taken do not") {
  harbour h;
  const channel_handle c = h.make();
  const channel_handle other = h.make();
  clerk a(h);
  const wait_ptr taken = a.begin(*c, false, 1);
  const wait_ptr open = a.begin(*other, false, 2);
  const wait_ptr late = a.begin(*c, false, 3);
  h.send(*c, ann, 5);
  CHECK(a.desk.withdraw_all() == tokens{2, 3});
  CHECK(a.desk.waits() == 3); // until each guest has heard of it
  CHECK(a.desk.withdraw(*open));
  CHECK(a.desk.withdraw(*late));
  CHECK(a.resume() == tokens{1});
  a.desk.finish(*taken);
  CHECK(a.desk.waits() == 0);
  h.send(*other, ann, 6);
  CHECK(other->size() == 1);
}

TEST_CASE("desk: a recycled wait serves again as new, and one that others hold does not") {
  harbour h;
  const channel_handle c = h.make();
  clerk a(h);
  clerk b(h);
  wait_ptr w = b.begin(*c, false, 1);
  guest_wait* const address = w.get();
  a.send(*c, 1);
  b.desk.withdraw(*w); // taken, and not told yet
  b.desk.recycle(std::move(w));
  CHECK(b.desk.make_wait().get() != address);
  a.desk.flush();
  CHECK(b.resume().empty());
  w = b.begin(*c, false, 2);
  guest_wait* const mine = w.get();
  CHECK(b.desk.withdraw(*w));
  b.desk.recycle(std::move(w));
  w = b.desk.make_wait();
  CHECK(w.get() == mine);
  CHECK(w->size() == 0);
  CHECK_FALSE(w->is_open());
  CHECK(w->status() == status::empty);
  for (int i = 0; i < 100; ++i) b.desk.recycle(b.desk.make_wait());
}

TEST_CASE("desk: a wait put aside for its next use keeps neither its channel nor that one's heir") {
  harbour h;
  clerk a(h);
  {
    const channel_handle c = h.make({.undelivered = h.make()});
    wait_ptr w = a.begin(*c, false, 1);
    CHECK(a.desk.withdraw(*w));
    a.desk.recycle(std::move(w));
  }
  CHECK(h.space.size() == 0);
}

// -- what it sends and receives ----------------------------------------------------------------------------------------

TEST_CASE("desk: what could not be sent is still there, and goes with the channel's orphan policy") {
  harbour h;
  const channel_handle full = h.make(0);
  const channel_handle c = h.with_orphans(orphan_policy::error);
  clerk a(h);
  clerk b(h);
  write(a.desk.outgoing(), 5);
  CHECK(a.desk.send(*full) == status::full);
  CHECK(number_in(a.desk.outgoing()) == 5);
  CHECK(a.desk.send(*c) == status::done);
  CHECK(a.desk.outgoing().bytes.empty());
  a.send(*c, 6);
  CHECK(b.receive(*c) == received{status::done, 5, a.home.id});
  a.end();
  CHECK(b.receive(*c).how == status::orphaned);
}

TEST_CASE("desk: release, close and destroy are those of its interpreter") {
  harbour h;
  const channel_handle c = h.make();
  clerk a(h);
  a.send(*c, 1);
  a.receive(*c);
  a.desk.release(*c, false, true);
  CHECK(c->ends().receivers.empty());
  CHECK(c->ends().senders == std::vector<interpreter_id>{a.home.id});
  CHECK(a.desk.close(*c));
  CHECK_FALSE(a.desk.close(*c));
  CHECK(a.desk.destroy(*c));
  CHECK_FALSE(a.desk.destroy(*c));
}

TEST_CASE("desk: items of any size follow each other through the same buffers") {
  harbour h;
  const channel_handle buffered = h.make();
  const channel_handle direct = h.make(0);
  clerk a(h);
  clerk b(h);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{4097}, std::size_t{2},
                                 std::size_t{1} << 20U, std::size_t{3}}) {
    for (const bool meets : {false, true}) {
      a.desk.outgoing().bytes.put_bytes(std::string(size, 'q'));
      basic_channel& c = meets ? *direct : *buffered;
      wait_ptr w;
      if (meets) {
        w = b.begin(c, false, 1);
        CHECK(a.desk.send(c) == status::done);
        b.desk.withdraw(*w);
        CHECK(w->fired_case().item.bytes.size() == size);
      } else {
        CHECK(a.desk.send(c) == status::done);
        CHECK(b.desk.receive(c) == status::done);
        CHECK(b.desk.received().left() == size);
      }
    }
  }
}
