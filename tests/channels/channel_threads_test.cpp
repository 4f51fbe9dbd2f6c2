// Channels with threads at their ends, and the lock by itself. What is sent is received once, whatever happens meanwhile.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "channels/channel_desk.hpp"
#include "channels/spin_mutex.hpp"
#include "channels/thread_wait.hpp"
#include "tests/channels/parties.hpp"
#include "tests/seeds.hpp"

using namespace Atoll;
using namespace Atoll::test;
using status = channel_status;

namespace {

void in_threads(int n, const std::function<void(int)>& body) {
  std::vector<std::thread> all;
  for (int i = 0; i < n; ++i) all.emplace_back([&, i] { body(i); });
  for (auto& t : all) t.join();
}

/// Spins, so as to be there in time, but not for long: the others may have no core.
template <class F>
void until(F&& condition) {
  for (int i = 0; !condition(); ++i)
    if (i > 2000) std::this_thread::yield();
}

/// False: nobody has taken it within this time.
bool await_for(thread_wait& w, std::chrono::microseconds time) {
  return w.await(std::chrono::steady_clock::now() + time);
}

/// What became of all numbers, by count.
struct account {
  std::atomic<long> made{0};
  std::atomic<long> back{0}; // not sent: their senders have them
  std::atomic<long> received{0};
  std::atomic<long> sum{0}; // of those made, less those back and received
  std::atomic<long> broken{0};

  void make(channel_item& into, std::int64_t n) {
    write(into, n);
    ++made;
    sum += n;
  }
  void take(channel_item& item, std::atomic<long>& as) {
    ++as;
    sum -= number_in(item);
    item.bytes.clear();
  }
  void take(wire_reader item) {
    ++received;
    sum -= number_in(item);
  }
  /// A wait that is over, with the guest still there: each item is back, was sent, or was received.
  void settle(channel_wait& w, bool fired) {
    for (std::size_t i = 0; i < w.size(); ++i) {
      channel_case& c = w.at(i);
      const bool done = fired && i == w.fired() && w.status() == status::done;
      if (c.sends == done && !c.item.bytes.empty()) ++broken; // sent and here, or received and not fired
      if (!c.sends && done && c.item.bytes.empty()) ++broken;
      if (c.sends && !done) take(c.item, back);
      if (!c.sends && done) take(c.item, received);
    }
  }
  void check(harbour& h, const std::vector<channel_handle>& channels) {
    long left = 0;
    for (const channel_handle& c : channels)
      for (const std::int64_t n : h.drain(*c)) {
        ++left;
        sum -= n;
      }
    CHECK(broken == 0);
    CHECK(made == back + received + left);
    CHECK(sum == 0);
    CHECK(received > 0);
    for (const channel_handle& c : channels) {
      CHECK(c->figures().senders_waiting == 0);
      CHECK(c->figures().receivers_waiting == 0);
    }
  }
};

/// Adds one to three cases over the channels.
void add_cases(channel_wait& w, const std::vector<channel_handle>& channels, std::mt19937_64& random, account& all) {
  for (std::uint64_t n = 1 + random() % 3; n > 0; --n) {
    const bool sends = random() % 2 == 0;
    channel_case& c = w.add(channels[random() % channels.size()].pointer(), sends);
    if (sends) all.make(c.item, static_cast<std::int64_t>(random() % 1000));
  }
}

std::vector<channel_handle> some_channels(harbour& h, const channel_handle& heir) {
  std::vector<channel_handle> all;
  for (const std::size_t capacity : {std::size_t{0}, std::size_t{1}, std::size_t{5}})
    all.push_back(h.make({.capacity = capacity, .stay_open = true, .undelivered = heir}));
  return all;
}

channel_handle heir_of_all(harbour& h) {
  return h.make({.capacity = channel_options::unbounded, .stay_open = true, .undelivered = {}});
}

} // namespace

// -- the lock ----------------------------------------------------------------------------------------------------------

TEST_CASE("spin mutex: one at a time, and what one wrote the next one sees") {
  spin_mutex m;
  long n = 0;
  in_threads(4, [&](int) {
    for (int i = 0; i < 20000; ++i) {
      const std::lock_guard lock(m);
      ++n;
    }
  });
  CHECK(n == 80000);
}

TEST_CASE("spin mutex: held for longer than anybody spins, everybody gets it in the end") {
  spin_mutex m;
  long n = 0;
  in_threads(5, [&](int) {
    for (int i = 0; i < 60; ++i) {
      {
        const std::lock_guard lock(m);
        const long before = n;
        std::this_thread::sleep_for(std::chrono::microseconds(50)); // the others go to sleep
        n = before + 1;
      }
      for (int k = 0; k < 20; ++k) { // and are overtaken when they wake
        const std::lock_guard lock(m);
        ++n;
      }
    }
  });
  CHECK(n == 5 * 60 * 21);
}

TEST_CASE("spin mutex: try_lock says whether it was free") {
  spin_mutex m;
  CHECK(m.try_lock());
  std::thread([&] { CHECK_FALSE(m.try_lock()); }).join();
  m.unlock();
  CHECK(m.try_lock());
  m.unlock();
}

// -- host threads ------------------------------------------------------------------------------------------------------

TEST_CASE("threads: many senders and receivers, each item once and each sender's in order") {
  harbour h;
  for (const std::size_t capacity : {std::size_t{0}, std::size_t{3}}) {
    constexpr int senders = 2;
    constexpr std::int64_t each = 4000;
    const channel_handle c = h.make(capacity);
    std::atomic<int> sending{senders};
    std::atomic<long> got{0};
    std::atomic<long> disorder{0};
    in_threads(senders + 2, [&](int i) {
      const interpreter_id me{static_cast<std::uint64_t>(i) + 1};
      std::array<std::int64_t, senders> last{};
      last.fill(-1);
      for (std::int64_t n = 0;; ++n) {
        if (i < senders && n == each) break;
        const boost::intrusive_ptr<thread_wait> w(new thread_wait(me));
        channel_case& one = w->add(c.pointer(), i < senders);
        if (i < senders) write(one.item, n * senders + i);
        if (!h.decide(*w)) {
          while (!await_for(*w, std::chrono::seconds(10))) ++disorder; // forgotten
          w->finish();
        }
        if (w->status() != status::done) break;
        if (i < senders) continue;
        ++got;
        const std::int64_t number = number_in(one.item);
        std::int64_t& before = last[static_cast<std::size_t>(number % senders)];
        if (number <= before) ++disorder;
        before = number;
      }
      if (i < senders && --sending == 0) h.close(*c);
    });
    CHECK(got == senders * each);
    CHECK(disorder == 0);
  }
}

TEST_CASE("threads: selects that time out, and channels that close under them") {
  const auto seeds = testing::seeds::from_environment(1, 3);
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    INFO("replay: ATOLL_SEED=", seed);
    harbour h;
    account all;
    const channel_handle heir = heir_of_all(h);
    std::vector<channel_handle> channels = some_channels(h, heir);
    in_threads(4, [&](int i) {
      std::mt19937_64 random(seed * 10 + static_cast<std::uint64_t>(i));
      for (int n = 0; n < 1500; ++n) {
        const boost::intrusive_ptr<thread_wait> w(new thread_wait(interpreter_id{static_cast<std::uint64_t>(i) + 1}));
        add_cases(*w, channels, random, all);
        bool fired = true;
        if (!h.decide(*w, random() % 8 != 0, random())) {
          if (w->is_open() && random() % 4 != 0) std::this_thread::yield();
          if (await_for(*w, std::chrono::microseconds(random() % 60)))
            w->finish();
          else
            fired = !w->withdraw() && w->status() != status::empty;
        }
        all.settle(*w, fired);
        if (i == 0 && n == 1200) h.close(*channels[0]);
        if (i == 1 && n == 1300) h.destroy(*channels[2]);
      }
    });
    channels.push_back(heir);
    all.check(h, channels);
  }
}

// -- interpreters ------------------------------------------------------------------------------------------------------

namespace {

/// An interpreter with a few tasks that select, on a thread.
class worker {
public:
  worker(harbour& h, account& all, const std::vector<channel_handle>& channels, std::uint64_t seed)
      : home_(std::make_unique<resident>(h.d)),
        desk_(std::make_unique<channel_desk>(home_->id, home_->box, h.d.channels())),
        all_(all),
        channels_(channels),
        random_(seed) {}

  void turn() {
    desk_->take_ready([] { return true; }, [this](guest_word task) { resume(task, false); });
    for (guest_word task = 0; task < tasks_.size(); ++task) {
      switch (random_() % 6) {
      case 0: at_once(); break;
      case 1:
        if (tasks_[task]) resume(task, true); // it times out
        break;
      case 2: desk_->release(*channels_[random_() % channels_.size()], true, random_() % 2 == 0); break;
      default:
        if (!tasks_[task]) begin(task);
      }
    }
    if (random_() % 4 != 0) desk_->flush();
  }
  void end() {
    desk_->close();
    home_->alive = false;
    home_->where.leave(home_->id, {});
    home_->box->close();
    channel_desk::drop_ready(*home_->box);
    dispose_leftovers(*home_->box, home_->where);
    desk_.reset();
    for (auto& t : tasks_) t.reset();
    home_.reset();
  }

private:
  void at_once() {
    basic_channel& c = *channels_[random_() % channels_.size()];
    if (random_() % 2 == 0) {
      all_.make(desk_->outgoing(), static_cast<std::int64_t>(random_() % 1000));
      if (desk_->send(c) != status::done) all_.take(desk_->outgoing(), all_.back);
    } else if (desk_->receive(c) == status::done) {
      all_.take(desk_->received());
    }
  }
  void begin(guest_word task) {
    tasks_[task] = desk_->make_wait();
    add_cases(*tasks_[task], channels_, random_, all_);
    if (desk_->decide(*tasks_[task], task, random_())) over(task, true);
  }
  void resume(guest_word task, bool late) {
    guest_wait& w = *tasks_[task];
    bool fired = true;
    if (late)
      fired = !desk_->withdraw(w);
    else
      desk_->finish(w);
    over(task, fired);
  }
  void over(guest_word task, bool fired) {
    all_.settle(*tasks_[task], fired);
    desk_->recycle(std::move(tasks_[task]));
    tasks_[task].reset();
  }

  std::unique_ptr<resident> home_;
  std::unique_ptr<channel_desk> desk_;
  account& all_;
  const std::vector<channel_handle>& channels_;
  std::mt19937_64 random_;
  std::array<boost::intrusive_ptr<guest_wait>, 4> tasks_;
};

} // namespace

TEST_CASE("threads: interpreters select, time out and end beside each other, and no item is lost") {
  const auto seeds = testing::seeds::from_environment(1, 4);
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    INFO("replay: ATOLL_SEED=", seed);
    harbour h;
    account all;
    const channel_handle heir = heir_of_all(h);
    std::vector<channel_handle> channels = some_channels(h, heir);
    in_threads(3, [&](int i) {
      std::mt19937_64 random(seed * 10 + static_cast<std::uint64_t>(i));
      for (int lives = 0; lives < 500; ++lives) {
        worker one(h, all, channels, random());
        for (std::uint64_t turns = random() % 40; turns > 0; --turns) one.turn();
        one.end();
      }
    });
    for (const channel_handle& c : channels) {
      CHECK(c->ends().senders.empty());
      CHECK(c->ends().receivers.empty());
    }
    CHECK(heir->ends().senders.empty());
    channels.push_back(heir);
    all.check(h, channels);
  }
}

TEST_CASE("threads: an interpreter ends while another tells it, and its inbox is nobody's any more") {
  harbour h;
  const channel_handle c = h.make({.stay_open = true, .undelivered = {}});
  constexpr int rounds = 500;
  std::atomic<int> begun{0};
  std::atomic<int> sent{0};
  std::deque<resident> homes; // who tells one calls its waker, which an interpreter's outlives: that is its actor
  in_threads(2, [&](int i) {
    if (i == 0) {
      for (int n = 0; n < rounds; ++n) {
        resident& home = homes.emplace_back(h.d);
        channel_desk desk(home.id, home.box, h.d.channels());
        auto w = desk.make_wait();
        w->add(c.pointer(), false);
        desk.decide(*w, 1, 1);
        begun = n + 1;
        until([&] { return !w->is_open(); });
        w.reset();
        desk.close();
        home.die();
        if (n % 2 == 0)
          until([&] { return home.box->has_ready() || sent > n; }); // the other is in the middle of it, or through
        channel_desk::drop_ready(*home.box);
        home.box.reset();
      }
    } else {
      for (int n = 0; n < rounds; ++n) {
        until([&] { return begun == n + 1; });
        if (h.send(*c, ann, n) == status::done) ++sent;
      }
    }
  });
  CHECK(sent == rounds);
}

TEST_CASE("threads: handles are copied, found and let go of, and the channel ends once") {
  harbour h;
  for (int round = 0; round < 300; ++round) {
    channel_handle c = h.make();
    h.send(*c, ann, 1);
    const auto w = h.sender(*h.make(0), ann, 1);
    const channel_number id = c->id();
    std::atomic<int> ready{0};
    std::vector<channel_handle> mine(3, c);
    c = {};
    in_threads(3, [&](int i) {
      channel_handle own = std::move(mine[static_cast<std::size_t>(i)]);
      ++ready;
      until([&] { return ready == 3; });
      channel_handle copy = own;
      h.space.hold(own);
      own = {};
      channel_handle found = h.space.find(id);
      h.space.drop_held(id);
      copy = {};
    });
    CHECK_FALSE(h.space.find(id));
    CHECK(h.space.size() == 0);
  }
}
