// A wait by itself: which of several ready cases is taken, and what each state of it means.
#include "channels/channel_wait.hpp"

#include <doctest/doctest.h>

#include <random>

#include "tests/channels/parties.hpp"

using namespace Atoll;
using namespace Atoll::test;
using status = channel_status;

namespace {

/// How far the counts are from being all alike.
double chi_square(const std::vector<int>& counts) {
  double sum = 0;
  for (const int n : counts) sum += n;
  const double expected = sum / static_cast<double>(counts.size());
  double all = 0;
  for (const int n : counts) all += (n - expected) * (n - expected) / expected;
  return all;
}

/// Selects many times over `ready` cases that are ready, every third a send, among others that are not; answers how often
/// each was taken.
std::vector<int> choices(std::size_t ready, std::size_t blocked, bool counted_randoms) {
  harbour h;
  std::mt19937_64 random(17);
  std::vector<channel_handle> channels;
  for (std::size_t i = 0; i < ready + blocked; ++i) {
    channels.push_back(h.make(2));
    if (i < ready) h.send(*channels.back(), ann, 1); // one item, room for one
  }
  std::vector<int> counts(ready, 0);
  for (int n = 0; n < 4000; ++n) {
    noted_wait_ptr w(new noted_wait(bob));
    std::vector<std::size_t> where;
    for (std::size_t i = 0; i < channels.size(); ++i) {
      // Blocked ones lie between the ready ones.
      const std::size_t k =
          i % 2 == 0 && i / 2 < blocked ? ready + i / 2 : where.size() - std::min(blocked, (i + 1) / 2);
      where.push_back(k);
      channel_case& c = w->add(channels[k].pointer(), k < ready && k % 3 == 2);
      if (c.sends) write(c.item, 1);
    }
    REQUIRE(h.decide(*w, true, counted_randoms ? static_cast<std::uint64_t>(n) : random()));
    const std::size_t k = where[w->fired()];
    REQUIRE(k < ready);
    ++counts[k];
    k % 3 == 2 ? (void)h.receive(*channels[k]) : (void)h.send(*channels[k], ann, 1); // as it was
  }
  return counts;
}

} // namespace

TEST_CASE("wait: of several ready cases each has the same chance, wherever it stands") {
  for (const bool counted : {false, true})
    for (const std::size_t ready : {std::size_t{2}, std::size_t{3}, std::size_t{7}, std::size_t{16}}) {
      CAPTURE(ready);
      CAPTURE(counted);
      // Of ready - 1 degrees of freedom; beyond these bounds once in a million.
      const double bound = 12 + 3.0 * static_cast<double>(ready);
      CHECK(chi_square(choices(ready, 0, counted)) < bound);
      CHECK(chi_square(choices(ready, 3, counted)) < bound);
    }
}

TEST_CASE("wait: a closed channel is a ready case among others") {
  harbour h;
  const channel_handle closed = h.make();
  h.close(*closed);
  const channel_handle c = h.make();
  std::vector<int> counts(2, 0);
  for (std::uint64_t n = 0; n < 1000; ++n) {
    noted_wait_ptr w(new noted_wait(bob));
    w->add(closed.pointer(), false);
    w->add(c.pointer(), true);
    REQUIRE(h.decide(*w, true, n));
    ++counts[w->fired()];
    CHECK(w->status() == (w->fired() == 0 ? status::closed : status::done));
    if (w->fired() == 1) h.receive(*c);
  }
  CHECK(chi_square(counts) < 24);
}

TEST_CASE("wait: the same channel twice in a select is locked once, and one case takes effect") {
  harbour h;
  const channel_handle c = h.make(1);
  noted_wait_ptr w(new noted_wait(bob));
  w->add(c.pointer(), false);
  w->add(c.pointer(), false);
  CHECK_FALSE(h.decide(*w));
  CHECK(c->figures().receivers_waiting == 2);
  h.send(*c, ann, 1);
  h.send(*c, ann, 2);
  CHECK(w->told == 1);
  CHECK(w->fired() == 0);
  CHECK(number_in(w->at(0).item) == 1);
  CHECK(w->at(1).item.bytes.empty());
  w->finish();
  CHECK_FALSE(w->at(1).linked);
  CHECK(c->size() == 1);
}

TEST_CASE("wait: fired through one channel, its entry in another is passed over") {
  harbour h;
  const channel_handle a = h.make(0);
  const channel_handle b = h.make(0);
  noted_wait_ptr w(new noted_wait(bob));
  w->add(a.pointer(), false);
  write(w->add(b.pointer(), true).item, 9);
  CHECK_FALSE(h.decide(*w));
  h.send(*a, ann, 1);
  CHECK(w->at(1).linked); // nobody has met it yet
  CHECK(b->figures().senders_waiting == 0);
  CHECK(h.receive(*b).how == status::empty);
  CHECK_FALSE(w->at(1).linked);
  CHECK(number_in(w->at(1).item) == 9);
  w->finish();
  CHECK(w->told == 1);
}

TEST_CASE("wait: an impatient one takes what is ready, and does not wait for what is not") {
  harbour h;
  const channel_handle a = h.make(0);
  const channel_handle b = h.make();
  noted_wait_ptr w(new noted_wait(bob));
  w->add(a.pointer(), false);
  w->add(b.pointer(), false);
  CHECK_FALSE(h.decide(*w, false));
  CHECK_FALSE(w->is_open());
  CHECK_FALSE(w->at(0).linked);
  h.send(*b, ann, 3);
  CHECK(h.decide(*w, false));
  CHECK(w->fired() == 1);
  CHECK(number_in(w->fired_case().item) == 3);
}

TEST_CASE("wait: reset, it serves again") {
  harbour h;
  const channel_handle a = h.make(0);
  noted_wait_ptr w = h.receiver(*a, bob);
  CHECK(w->withdraw());
  w->reset();
  CHECK(w->size() == 0);
  CHECK(w->status() == status::empty);
  write(w->add(a.pointer(), true).item, 4);
  CHECK_FALSE(h.decide(*w));
  CHECK(h.receive(*a).number == 4);
  CHECK(w->told == 1);
}

TEST_CASE("wait: more cases than a small select has, over channels in any order") {
  harbour h;
  std::vector<channel_handle> channels;
  for (int i = 0; i < 40; ++i) channels.push_back(h.make(0));
  noted_wait_ptr w(new noted_wait(bob));
  for (std::size_t i = 0; i < 40; ++i) w->add(channels[(i * 17) % 40].pointer(), false);
  CHECK_FALSE(h.decide(*w));
  h.send(*channels[23], ann, 5);
  w->finish();
  CHECK(w->fired_case().where == channels[23].pointer());
  for (const channel_handle& c : channels) CHECK(c->figures().receivers_waiting == 0);
}
