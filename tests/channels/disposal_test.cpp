// Messages that nobody will read: for every kind of record, what it carried goes where it belongs.
#include "channels/disposal.hpp"

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <string>

#include "runtime/job.hpp"
#include "tests/channels/residents.hpp"

using namespace Atoll;
using test::letter;
using test::resident;

namespace {

/// An owner of objects, a lender, a sender, and a receiver that dies with the sender's message unread.
struct scene {
  directory d;
  resident owner{d};
  resident lender{d};
  resident sender{d};
  resident dead{d};
  outbox out{sender.id, d};
  std::vector<std::uint64_t> closed;

  scene() {
    d.close_connection = [this](std::uint64_t c) { closed.push_back(c); };
  }

  wire_ref credit(std::uint32_t n, std::uint32_t slot = 1) const { return {{owner.id, slot, 3}, n, {}}; }
  wire_ref loan(std::uint32_t slot = 1) const { return {{owner.id, slot, 3}, 0, lender.id}; }

  wire_writer& open(record_kind kind) { return out.open(dead.id, kind); }
  /// Sends what was opened to the living, who then dies.
  void unread() {
    CHECK(out.commit() == send_status::sent);
    out.flush();
    dead.die();
  }
  /// While it still lives, the one who will be dead sends a loan of its own.
  void dead_lends(const object_id& id, interpreter_id to) {
    outbox own(dead.id, d);
    wire_writer& w = own.open(to, record_kind::send);
    w.put_text("f");
    w.put_reference({id, 0, dead.id});
    CHECK(own.commit() == send_status::sent);
    own.flush();
  }

  /// What came home to the owner, by slot.
  std::map<std::uint32_t, std::uint64_t> decrefs(resident& whose) {
    std::map<std::uint32_t, std::uint64_t> all;
    for (const letter& l : whose.read()) {
      if (l.kind != record_kind::decref) continue;
      wire_reader in = l.in();
      for (std::uint32_t n = in.get_u32(); n > 0; --n) {
        const decref_run run = in.get_decrefs(whose.id);
        CHECK(run.generation == 3);
        for (std::uint32_t k = 0; k < run.count; ++k) all[run.slot + k] += run.credit;
      }
    }
    return all;
  }
  std::uint64_t loans_back() {
    std::uint64_t n = 0;
    for (const letter& l : lender.read()) {
      if (l.kind != record_kind::loan_return) continue;
      wire_reader in = l.in();
      CHECK(in.get_object_id().owner == owner.id);
      n += in.get_u32();
    }
    return n;
  }
  /// The calls that were answered interpreter_gone.
  std::vector<call_id> gone_answers() {
    std::vector<call_id> all;
    for (const letter& l : sender.read()) {
      if (l.kind != record_kind::reply_error) continue;
      wire_reader in = l.in();
      all.push_back(in.get_u64());
      const error e = in.get_error();
      CHECK(e.code == errc::interpreter_gone);
      CHECK(e.interpreter == dead.id);
    }
    return all;
  }
  void put_cargo(wire_writer& w) {
    w.put_reference(credit(5));
    w.put_tag(wire_tag::table);
    w.put_u32(1);
    w.put_u32(0);
    w.put_reference(loan());
    w.put_connection(44);
  }
  void check_cargo() {
    CHECK(decrefs(owner) == std::map<std::uint32_t, std::uint64_t>{{1, 5}});
    CHECK(loans_back() == 1);
    CHECK(closed == std::vector<std::uint64_t>{44});
  }
};

struct noted_job final : job {
  explicit noted_job(std::vector<std::string>& log) : log_(log) {}
  ~noted_job() override { log_.emplace_back("deleted"); }
  void run(host&) override { log_.emplace_back("ran"); }
  void abandon(const error& why) noexcept override { log_.emplace_back(name_of(why.code)); }
  std::vector<std::string>& log_;
};

} // namespace

TEST_CASE("disposal: a send returns its credit and loans, and closes its connections") {
  scene s;
  wire_writer& w = s.open(record_kind::send);
  w.put_text("f");
  s.put_cargo(w);
  s.unread();
  s.check_cargo();
  CHECK(s.gone_answers().empty());
  CHECK(s.d.dead_letters() == 1);
}

TEST_CASE("disposal: a call, an eval and a start are answered, and return what they carried") {
  for (const record_kind kind : {record_kind::call, record_kind::eval, record_kind::start}) {
    scene s;
    wire_writer& w = s.open(kind);
    w.put_u64(12);
    if (kind == record_kind::start) {
      w.put_u8(0);
      w.put_text("code");
    }
    w.put_text("name");
    s.put_cargo(w);
    s.unread();
    s.check_cargo();
    CHECK(s.gone_answers() == std::vector<call_id>{12});
  }
}

TEST_CASE("disposal: an invoke returns its target's credit too, and is answered when it is a call") {
  for (const call_id call : {call_id{0}, call_id{9}}) {
    scene s;
    wire_writer& w = s.open(record_kind::invoke);
    w.put_u64(call);
    w.put_u8(0);
    w.put_target(s.credit(1, 7));
    w.put_text("method");
    w.put_reference(s.credit(2, 8));
    s.unread();
    CHECK(s.decrefs(s.owner) == std::map<std::uint32_t, std::uint64_t>{{7, 1}, {8, 2}});
    CHECK(s.gone_answers().size() == (call != 0 ? 1 : 0));
  }
}

TEST_CASE("disposal: an invoke on a borrowed target returns the loan") {
  scene s;
  wire_writer& w = s.open(record_kind::invoke);
  w.put_u64(0);
  w.put_u8(0);
  w.put_target(s.loan());
  w.put_text("method");
  s.unread();
  CHECK(s.loans_back() == 1);
}

TEST_CASE("disposal: a reply returns what it carried and answers nobody") {
  scene s;
  wire_writer& w = s.open(record_kind::reply);
  w.put_u64(12);
  s.put_cargo(w);
  s.unread();
  s.check_cargo();
  CHECK(s.sender.read().empty());
}

TEST_CASE("disposal: an error reply, a decref, a room, a down and a demonitor to the dead mean nothing") {
  scene s;
  wire_writer& a = s.open(record_kind::reply_error);
  a.put_u64(1);
  a.put_error({});
  CHECK(s.out.commit() == send_status::sent);
  wire_writer& b = s.open(record_kind::decref);
  b.put_u32(1);
  const decref_run one{{}, 1, 1, 1, 1};
  b.put_decrefs(&one, 1);
  CHECK(s.out.commit() == send_status::sent);
  s.open(record_kind::room);
  CHECK(s.out.commit() == send_status::sent);
  s.open(record_kind::demonitor).put_u64(3);
  CHECK(s.out.commit() == send_status::sent);
  wire_writer& w = s.open(record_kind::down);
  w.put_u64(1);
  w.put_u64(2);
  w.put_text("");
  w.put_text("");
  w.put_error({});
  s.unread();
  CHECK(s.sender.read().empty());
  CHECK(s.owner.read().empty());
  CHECK(s.lender.read().empty());
  CHECK(s.d.dead_letters() == 0);
}

TEST_CASE("disposal: a credit request is answered with nothing, so that the holder knows the owner is gone") {
  scene s;
  const object_id id{s.dead.id, 4, 2};
  put_object_id(s.open(record_kind::credit_request), id);
  s.unread();
  const auto got = s.sender.read();
  REQUIRE(got.size() == 1);
  CHECK(got[0].kind == record_kind::credit_grant);
  wire_reader in = got[0].in();
  CHECK(in.get_object_id() == id);
  CHECK(in.get_u32() == 0);
}

TEST_CASE("disposal: a grant for a dead holder goes back to its owner") {
  scene s;
  outbox from_owner(s.owner.id, s.d);
  wire_writer& w = from_owner.open(s.dead.id, record_kind::credit_grant);
  put_object_id(w, s.credit(1).id);
  w.put_u32(20);
  CHECK(from_owner.commit() == send_status::sent);
  from_owner.flush();
  s.dead.die();
  CHECK(s.decrefs(s.owner) == std::map<std::uint32_t, std::uint64_t>{{1, 20}});
}

TEST_CASE("disposal: a loan returned to a dead lender ends at its tombstone, whose credit then goes home") {
  scene s;
  for (int i = 0; i < 2; ++i) {
    wire_writer& w = s.open(record_kind::loan_return);
    put_object_id(w, s.credit(1).id);
    w.put_u32(1);
    CHECK(s.out.commit() == send_status::sent);
  }
  s.out.flush();
  s.dead.die({{s.credit(1).id, 6, 3, {s.lender.id}}});
  CHECK(s.d.tombstones() == 1);
  CHECK(s.owner.read().empty());
  {
    outbox out(s.sender.id, s.d);
    return_loan(s.dead.id, s.credit(1).id, 1, out, s.d);
  }
  CHECK(s.d.tombstones() == 0);
  CHECK(s.decrefs(s.owner) == std::map<std::uint32_t, std::uint64_t>{{1, 6}});
  CHECK(s.loans_back() == 1); // what the dead itself had borrowed
}

TEST_CASE("disposal: a monitor is told that the interpreter is gone") {
  scene s;
  s.open(record_kind::monitor).put_u64(31);
  s.unread();
  const auto got = s.sender.read();
  REQUIRE(got.size() == 1);
  CHECK(got[0].kind == record_kind::down);
  wire_reader in = got[0].in();
  CHECK(in.get_u64() == 31);
  CHECK(in.get_u64() == number(s.dead.id));
  in.get_text();
  CHECK(in.get_text() == "gone");
  CHECK(in.get_error().code == errc::interpreter_gone);
  CHECK_FALSE(in.failed());
}

TEST_CASE("disposal: a stop and a stats request are answered") {
  scene s;
  s.open(record_kind::stats).put_u64(5);
  CHECK(s.out.commit() == send_status::sent);
  wire_writer& w = s.open(record_kind::stop);
  w.put_u64(6);
  w.put_u64(100);
  s.unread();
  CHECK(s.gone_answers() == std::vector<call_id>{5, 6});
}

TEST_CASE("disposal: a job is abandoned and deleted, and never runs") {
  scene s;
  std::vector<std::string> log;
  s.open(record_kind::job).put_u64(reinterpret_cast<std::uint64_t>(new noted_job(log)));
  s.unread();
  CHECK(log == std::vector<std::string>{"interpreter_gone", "deleted"});
}

TEST_CASE("disposal: under a lock, jobs are kept until the lock is let go") {
  scene s;
  std::vector<std::string> log;
  {
    const deferred_jobs outer;
    {
      const deferred_jobs inner;
      s.open(record_kind::job).put_u64(reinterpret_cast<std::uint64_t>(new noted_job(log)));
      s.unread();
    }
    CHECK(log.empty());
  }
  CHECK(log == std::vector<std::string>{"interpreter_gone", "deleted"});
}

TEST_CASE("disposal: an accepted connection that finds its listener's interpreter gone is closed") {
  scene s;
  wire_writer& w = s.open(record_kind::net_accepted);
  w.put_u64(1);
  w.put_u64(63);
  w.put_text("peer");
  s.unread();
  CHECK(s.closed == std::vector<std::uint64_t>{63});
}

TEST_CASE("disposal: bytes that are no message end it, without harm to what came before") {
  scene s;
  envelope_writer w(s.sender.id);
  const std::size_t start = open_record(w, record_kind::send);
  w.put_text("");
  w.put_reference(s.credit(4));
  close_record(w, start);
  w.count_record();
  w.put_u8(1);
  w.put_u32(1000); // a length beyond the end
  CHECK(s.dead.box->push(w.take()));
  s.dead.die();
  CHECK(s.decrefs(s.owner) == std::map<std::uint32_t, std::uint64_t>{{1, 4}});
}

TEST_CASE("disposal: a message to somebody who died between the commit and the flush is disposed of by its sender") {
  scene s;
  wire_writer& w = s.open(record_kind::call);
  w.put_u64(8);
  w.put_text("f");
  s.put_cargo(w);
  CHECK(s.out.commit() == send_status::sent);
  s.dead.die();
  s.out.flush();
  s.check_cargo();
  CHECK(s.gone_answers() == std::vector<call_id>{8});
}

TEST_CASE("disposal: with owner, lender and sender dead as well, it ends and tells nobody") {
  scene s;
  wire_writer& w = s.open(record_kind::call);
  w.put_u64(8);
  w.put_text("f");
  s.put_cargo(w);
  CHECK(s.out.commit() == send_status::sent);
  s.out.flush();
  s.owner.die();
  s.lender.die();
  s.sender.die();
  s.dead.die();
  CHECK(s.d.size() == 0);
  CHECK(s.closed.size() == 1);
}

TEST_CASE("disposal: two dead in a row, the second holding the loan the first one owes") {
  // lender -> dead -> sender: the dead borrowed from the lender and lent on; both it and the sender die.
  scene s;
  const object_id id = s.credit(1).id;
  s.dead_lends(id, s.sender.id); // in a message that lies unread in the sender's inbox
  s.dead.die({{id, 0, 1, {s.lender.id}}});
  CHECK(s.lender.read().empty());
  s.sender.die();
  CHECK(s.d.tombstones() == 0);
  CHECK(s.loans_back() == 1);
}

TEST_CASE("disposal: a chain of dead lenders is paid back to its living end") {
  scene s;
  const object_id id = s.credit(1).id;
  std::vector<std::unique_ptr<resident>> chain;
  for (int i = 0; i < 100; ++i) chain.push_back(std::make_unique<resident>(s.d));
  interpreter_id owed = s.lender.id;
  for (auto& link : chain) {
    link->die({{id, 1, 1, {owed}}});
    owed = link->id;
  }
  CHECK(s.d.tombstones() == 100);
  {
    outbox out(s.sender.id, s.d);
    return_loan(owed, id, 1, out, s.d);
  }
  CHECK(s.d.tombstones() == 0);
  CHECK(s.loans_back() == 1);
  CHECK(s.decrefs(s.owner)[1] == 100);
}

TEST_CASE("disposal: a message to oneself in the last turn is disposed of, and its loan finds the own tombstone") {
  scene s;
  const object_id id = s.credit(1).id;
  s.dead_lends(id, s.dead.id);
  s.dead.die({{id, 1, 1, {}}});
  CHECK(s.d.tombstones() == 0);
  CHECK(s.decrefs(s.owner)[1] == 1);
}
