// An interpreter's incoming queue: order, the end, and waiting for room.
#include "channels/inbox.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "tests/channels/residents.hpp"

using namespace Atoll;
using test::counting_waker;
using test::numbers;

namespace {

constexpr interpreter_id me{1};

struct fixture {
  explicit fixture(std::size_t high_water = 100) : box(new inbox(me, high_water)) { box->set_waker(bell); }
  counting_waker bell;
  inbox_ptr box;
};

std::int64_t number_in(envelope& e) {
  wire_reader in = e.reader();
  record r = next_record(in);
  r.body.get_text();
  const std::uint8_t tag = r.body.get_u8();
  if (tag >= static_cast<std::uint8_t>(wire_tag::small_int))
    return tag - static_cast<int>(wire_tag::small_int) + small_int_min;
  return r.body.get_i32();
}

} // namespace

TEST_CASE("inbox: many pushes wake a sleeping owner once") {
  fixture f;
  for (int i = 0; i < 5; ++i) CHECK(f.box->push(numbers(interpreter_id{2}, i)));
  CHECK(f.bell.times == 1);
  CHECK(f.box->wake());
  CHECK(f.bell.times == 1);
}

TEST_CASE("inbox: a wake without a message gives a turn") {
  fixture f;
  CHECK(f.box->wake());
  CHECK(f.bell.times == 1);
  CHECK(f.box->take() == nullptr);
}

TEST_CASE("inbox: envelopes come out in the order pushed") {
  fixture f;
  for (int i = 0; i < 50; ++i) CHECK(f.box->push(numbers(interpreter_id{2}, i)));
  for (int i = 0; i < 50; ++i) {
    const envelope_ptr e = f.box->take();
    REQUIRE(e != nullptr);
    CHECK(number_in(*e) == i);
  }
  CHECK(f.box->take() == nullptr);
}

TEST_CASE("inbox: its backlog counts the messages pushed and not handled") {
  fixture f;
  CHECK(f.box->push(numbers(interpreter_id{2}, 0, 3)));
  CHECK(f.box->push(numbers(interpreter_id{2}, 0, 2)));
  CHECK(f.box->backlog() == 5);
  const envelope_ptr e = f.box->take();
  CHECK(f.box->backlog() == 5);
  f.box->handled(e->count());
  CHECK(f.box->backlog() == 2);
}

TEST_CASE("inbox: it is crowded above its high-water mark, not at it") {
  fixture f(3);
  CHECK(f.box->push(numbers(interpreter_id{2}, 0, 3)));
  CHECK_FALSE(f.box->crowded());
  CHECK(f.box->push(numbers(interpreter_id{2}, 0)));
  CHECK(f.box->crowded());
}

TEST_CASE("inbox: a sender that waits for room is named once, when half of the mark is free") {
  fixture f(4);
  for (int i = 0; i < 6; ++i) CHECK(f.box->push(numbers(interpreter_id{2}, i)));
  CHECK_FALSE(f.box->await_room(interpreter_id{2}));
  CHECK(f.box->handled(3).empty());
  const auto told = f.box->handled(1);
  REQUIRE(told.size() == 1);
  CHECK(told[0] == interpreter_id{2});
  CHECK(f.box->handled(1).empty());
}

TEST_CASE("inbox: who asks for room when there is room hears so at once") {
  fixture f(4);
  CHECK(f.box->await_room(interpreter_id{2}));
  CHECK(f.box->push(numbers(interpreter_id{2}, 0)));
  CHECK(f.box->await_room(interpreter_id{2}));
  CHECK(f.box->handled(1).empty());
}

TEST_CASE("inbox: with a mark of 0 a sender waits until everything is handled") {
  fixture f(0);
  CHECK(f.box->push(numbers(interpreter_id{2}, 0, 2)));
  CHECK(f.box->crowded());
  CHECK_FALSE(f.box->await_room(interpreter_id{2}));
  CHECK(f.box->handled(1).empty());
  CHECK(f.box->handled(1).size() == 1);
}

TEST_CASE("inbox: after its end nobody waits for room") {
  fixture f(1);
  CHECK(f.box->push(numbers(interpreter_id{2}, 0, 5)));
  CHECK_FALSE(f.box->await_room(interpreter_id{2}));
  f.box->close();
  CHECK(f.box->await_room(interpreter_id{3}));
  REQUIRE(f.box->take_crowd().size() == 1);
  CHECK(f.box->take_crowd().empty());
}

TEST_CASE("inbox: what was pushed before and after its end is given back exactly once") {
  fixture f;
  CHECK(f.box->push(numbers(interpreter_id{2}, 1)));
  f.box->close();
  CHECK_FALSE(f.box->push(numbers(interpreter_id{2}, 2)));
  CHECK_FALSE(f.box->wake());
  CHECK(number_in(*f.box->take_leftover()) == 1);
  CHECK(number_in(*f.box->take_leftover()) == 2);
  CHECK(f.box->take_leftover() == nullptr);
  CHECK(f.bell.times == 1);
}

TEST_CASE("inbox: it outlives its owner as a closed shell while senders know it") {
  std::vector<inbox_ptr> senders_know;
  {
    const fixture f;
    senders_know.push_back(f.box);
    f.box->close();
  }
  inbox* const known = senders_know.front().get();
  CHECK_FALSE(known->push(numbers(interpreter_id{2}, 1)));
  CHECK(known->take_leftover() != nullptr);
}

namespace {

/// An owner whose turns are run by threads, and senders that wait for room.
class station final : public waker {
public:
  explicit station(std::size_t high_water, int close_after = 0)
      : box(new inbox(me, high_water)), close_after_(close_after) {
    box->set_waker(*this);
    for (int i = 0; i < 2; ++i) workers_.emplace_back([this] { work(); });
  }
  ~station() {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (auto& t : workers_) t.join();
  }

  void schedule() noexcept override {
    {
      const std::scoped_lock lock(mutex_);
      ++tokens_;
    }
    changed_.notify_all();
  }

  /// False when nobody told the sender of room in five seconds.
  bool wait_for_room(interpreter_id sender) {
    if (box->await_room(sender)) return true;
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(5),
                             [&] { return told_[sender]-- > 0 || (++told_[sender], false); });
  }

  inbox_ptr box;
  // The owner's turn only.
  std::map<interpreter_id, std::int64_t> next;
  long taken = 0;
  long out_of_order = 0;

private:
  void work() {
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return tokens_ > 0 || stopping_; });
        if (tokens_ == 0) return;
        --tokens_;
      }
      turn();
    }
  }
  void turn() {
    box->turn().begin();
    do {
      while (const envelope_ptr e = box->take()) {
        if (number_in(*e) != next[e->from()]) ++out_of_order;
        next[e->from()] = number_in(*e) + 1;
        ++taken;
        tell(box->handled(e->count()));
        if (close_after_ > 0 && taken == close_after_) {
          box->close();
          tell(box->take_crowd());
          return;
        }
      }
    } while (!box->turn().end());
  }
  void tell(const std::vector<interpreter_id>& senders) {
    if (senders.empty()) return;
    {
      const std::scoped_lock lock(mutex_);
      for (const interpreter_id who : senders) ++told_[who];
    }
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int tokens_ = 0;
  bool stopping_ = false;
  std::map<interpreter_id, int> told_;
  int close_after_;
  std::vector<std::thread> workers_;
};

} // namespace

TEST_CASE("inbox: threads that wait for room are all told of it, and everything arrives in order") {
  for (const std::size_t high_water : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{16}}) {
    CAPTURE(high_water);
    constexpr int producers = 3;
    constexpr int each = 3000;
    std::atomic<int> forgotten{0};
    {
      station s(high_water);
      std::vector<std::thread> threads;
      for (int p = 0; p < producers; ++p)
        threads.emplace_back([&s, &forgotten, p] {
          const interpreter_id sender{static_cast<std::uint64_t>(p) + 2};
          for (int k = 0; k < each && forgotten == 0; ++k) {
            if (!s.box->push(numbers(sender, k))) ++forgotten;
            if (s.box->crowded() && !s.wait_for_room(sender)) ++forgotten;
          }
        });
      for (auto& t : threads) t.join();
      while (!s.box->turn().idle()) std::this_thread::yield();
      CHECK(forgotten == 0);
      CHECK(s.taken == producers * each);
      CHECK(s.out_of_order == 0);
      CHECK(s.box->backlog() == 0);
    }
  }
}

TEST_CASE("inbox: closed in the middle of the traffic, each envelope is either taken or left over, once") {
  for (int round = 0; round < 20; ++round) {
    constexpr int producers = 3;
    constexpr int each = 300;
    std::atomic<int> left_over{0};
    std::atomic<int> forgotten{0};
    long taken = 0;
    {
      station s(4, 50 + round * 20);
      std::vector<std::thread> threads;
      for (int p = 0; p < producers; ++p)
        threads.emplace_back([&, p] {
          const interpreter_id sender{static_cast<std::uint64_t>(p) + 2};
          for (int k = 0; k < each; ++k) {
            if (!s.box->push(numbers(sender, k)))
              while (s.box->take_leftover()) ++left_over;
            if (s.box->crowded() && !s.wait_for_room(sender)) ++forgotten;
          }
        });
      for (auto& t : threads) t.join();
      while (!s.box->turn().is_closed()) std::this_thread::yield();
      while (s.box->take_leftover()) ++left_over;
      taken = s.taken;
    }
    CHECK(forgotten == 0);
    CHECK(taken == 50 + round * 20);
    CHECK(taken + left_over == producers * each);
  }
}

// -- what became ready -------------------------------------------------------------------------------------------------

namespace {

struct numbered_link : ready_link {
  int number = 0;
};

std::vector<int> take_all(inbox& box) {
  ready_list all;
  box.take_ready(all);
  std::vector<int> order;
  while (ready_link* one = all.take()) order.push_back(static_cast<numbered_link*>(one)->number);
  return order;
}

} // namespace

TEST_CASE("inbox: what became ready comes out once, in the order pushed, behind what was taken before") {
  fixture f;
  std::vector<numbered_link> links(6);
  for (int i = 0; i < 6; ++i) links[static_cast<std::size_t>(i)].number = i;
  CHECK_FALSE(f.box->has_ready());
  ready_list all;
  f.box->take_ready(all);
  CHECK(all.empty());
  for (std::size_t i = 0; i < 3; ++i) CHECK(f.box->push_ready(links[i]));
  CHECK(f.box->has_ready());
  f.box->take_ready(all);
  CHECK_FALSE(f.box->has_ready());
  for (std::size_t i = 3; i < 6; ++i) CHECK(f.box->push_ready(links[i]));
  f.box->take_ready(all);
  for (int i = 0; i < 6; ++i) CHECK(static_cast<numbered_link*>(all.take())->number == i);
  CHECK(all.take() == nullptr);
  CHECK(f.bell.times == 1); // one turn for them all
}

TEST_CASE("inbox: what becomes ready after its end is taken by whoever brought it") {
  fixture f;
  std::vector<numbered_link> links(2);
  links[1].number = 1;
  CHECK(f.box->push_ready(links[0]));
  f.box->close();
  CHECK_FALSE(f.box->push_ready(links[1]));
  CHECK(take_all(*f.box) == std::vector<int>{0, 1});
  CHECK(take_all(*f.box).empty());
}

TEST_CASE("inbox: pushed by several threads, each thing that is ready is taken once, and each thread's in order") {
  fixture f;
  constexpr int threads = 3;
  constexpr int each = 5000;
  std::vector<numbered_link> links(threads * each);
  std::atomic<int> pushing{threads};
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t)
    all.emplace_back([&, t] {
      for (int i = 0; i < each; ++i) {
        numbered_link& one = links[static_cast<std::size_t>(t * each + i)];
        one.number = t * each + i;
        (void)f.box->push_ready(one);
      }
      --pushing;
    });
  std::vector<int> next(threads, 0);
  int taken = 0;
  int disorder = 0;
  for (bool last = false; !last;) {
    last = pushing == 0;
    for (const int n : take_all(*f.box)) {
      if (next[static_cast<std::size_t>(n / each)]++ != n % each) ++disorder;
      ++taken;
    }
  }
  for (auto& t : all) t.join();
  CHECK(taken == threads * each);
  CHECK(disorder == 0);
}
