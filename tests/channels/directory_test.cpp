// Who lives here, under which name, and what the dead still pin.
#include "channels/directory.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "tests/channels/residents.hpp"

using namespace Atoll;
using test::resident;

TEST_CASE("directory: ids grow from 1 and are never given twice, also by many threads at once") {
  directory d;
  CHECK(d.next_id() == main_interpreter);
  std::vector<std::vector<interpreter_id>> got(4);
  std::vector<std::thread> threads;
  for (auto& mine : got)
    threads.emplace_back([&d, &mine] {
      for (int i = 0; i < 2000; ++i) mine.push_back(d.next_id());
    });
  for (auto& t : threads) t.join();
  std::set<interpreter_id> all;
  for (const auto& mine : got) {
    CHECK(std::is_sorted(mine.begin(), mine.end()));
    all.insert(mine.begin(), mine.end());
  }
  CHECK(all.size() == 8000);
  CHECK(*all.begin() == interpreter_id{2});
}

TEST_CASE("directory: an id is not reused after its bearer is gone") {
  directory d;
  interpreter_id first{};
  {
    const resident a(d);
    first = a.id;
  }
  const resident b(d);
  CHECK(b.id > first);
  CHECK(d.find(first) == nullptr);
  CHECK_FALSE(d.look_up(first).has_value());
}

TEST_CASE("directory: a name has one living bearer, and is free again when it is gone") {
  directory d;
  resident a(d, "db");
  resident b(d, "db");
  CHECK(a.entered);
  CHECK_FALSE(b.entered);
  CHECK(d.find("db")->id == a.id);
  CHECK(d.find(b.id) == nullptr);
  a.die();
  CHECK_FALSE(d.find("db").has_value());
  resident c(d, "db");
  CHECK(c.entered);
  CHECK(d.find("db")->id == c.id);
}

TEST_CASE("directory: the loser of a name takes nothing with it when it leaves") {
  directory d;
  resident a(d, "db");
  { const resident b(d, "db"); }
  CHECK(d.find("db")->id == a.id);
}

TEST_CASE("directory: many may live without a name") {
  directory d;
  const resident a(d);
  const resident b(d);
  CHECK(a.entered);
  CHECK(b.entered);
  CHECK(d.size() == 2);
  CHECK_FALSE(d.find("").has_value());
}

TEST_CASE("directory: the host and the broker have inboxes, but are not listed or counted") {
  directory d;
  const resident a(d);
  d.enter(host_interpreter, {}, host_interpreter, new inbox(host_interpreter, 1));
  d.enter(net_interpreter, {}, host_interpreter, new inbox(net_interpreter, 1));
  CHECK(d.size() == 1);
  REQUIRE(d.list().size() == 1);
  CHECK(d.list()[0].id == a.id);
  CHECK(d.find(net_interpreter) != nullptr);
}

TEST_CASE("directory: states change for the living alone") {
  directory d;
  resident a(d);
  CHECK(d.look_up(a.id)->state == run_state::starting);
  d.set_state(a.id, run_state::running);
  CHECK(d.look_up(a.id)->state == run_state::running);
  a.die();
  d.set_state(a.id, run_state::running);
  CHECK_FALSE(d.look_up(a.id).has_value());
}

TEST_CASE("directory: a tombstone stands until the last loan on it came back, and is handed out once") {
  directory d;
  resident holder(d);
  const object_id x{interpreter_id{90}, 1, 1};
  const object_id y{interpreter_id{90}, 2, 1};
  holder.die({{x, 5, 3, {}}, {y, 1, 1, {interpreter_id{91}}}});
  CHECK(d.tombstones() == 2);
  CHECK_FALSE(d.return_loan(holder.id, x, 2).has_value());
  for (const tombstone& t : d.all_pinned()) CHECK(t.loans_out == 1);
  CHECK(d.all_pinned().size() == 2);
  const auto stone = d.return_loan(holder.id, y, 1);
  REQUIRE(stone.has_value());
  CHECK(stone->owed.size() == 1);
  CHECK(d.return_loan(holder.id, x, 1)->credit == 5);
  CHECK(d.tombstones() == 0);
  CHECK_FALSE(d.return_loan(holder.id, x, 1).has_value());
}

TEST_CASE("directory: loans for strangers, or of objects nobody pins, mean nothing") {
  directory d;
  resident holder(d);
  const object_id x{interpreter_id{90}, 1, 1};
  holder.die({{x, 5, 1, {}}});
  CHECK_FALSE(d.return_loan(interpreter_id{77}, x, 1).has_value());
  CHECK_FALSE(d.return_loan(holder.id, {interpreter_id{90}, 1, 2}, 1).has_value());
  CHECK(d.tombstones() == 1);
}
