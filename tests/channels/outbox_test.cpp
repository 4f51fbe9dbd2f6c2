// What a sender has for others: batches, order, taking back, and receivers that are gone.
#include "channels/outbox.hpp"

#include <doctest/doctest.h>

#include <string>

#include "tests/channels/residents.hpp"

using namespace Atoll;
using test::letter;
using test::resident;
using test::too_long;

namespace {

constexpr interpreter_id nobody{999};

struct told final : record_visitor {
  void on_reference(const wire_ref& r) override { references.push_back(r); }
  void on_connection(std::uint64_t c) override { connections.push_back(c); }
  void on_call(call_id c) override { calls.push_back(c); }
  std::vector<wire_ref> references;
  std::vector<std::uint64_t> connections;
  std::vector<call_id> calls;
};

send_status post(outbox& out, interpreter_id to, std::int64_t value) {
  wire_writer& w = out.open(to, record_kind::send);
  w.put_text("");
  w.put_int(value);
  return out.commit();
}

wire_ref some_ref(std::uint32_t credit, std::uint32_t slot = 1) {
  return {{interpreter_id{50}, slot, 1}, credit, credit == 0 ? interpreter_id{51} : interpreter_id{}};
}

} // namespace

TEST_CASE("outbox: nothing goes out before the flush, then one envelope for each receiver") {
  directory d;
  resident a(d);
  resident b(d);
  outbox out(interpreter_id{50}, d);
  CHECK(out.empty());
  for (int i = 0; i < 10; ++i) {
    CHECK(post(out, a.id, i) == send_status::sent);
    CHECK(post(out, b.id, i) == send_status::sent);
  }
  CHECK_FALSE(out.empty());
  CHECK(a.box->backlog() == 0);
  out.flush();
  CHECK(out.empty());
  CHECK(out.messages() == 20);
  CHECK(a.bell.times == 1);
  const envelope_ptr e = a.box->take();
  REQUIRE(e != nullptr);
  CHECK(e->count() == 10);
  CHECK(e->from() == interpreter_id{50});
  CHECK(a.box->take() == nullptr);
  CHECK(b.read().size() == 10);
}

TEST_CASE("outbox: a full envelope goes out at once, and order holds across it") {
  directory d;
  resident a(d);
  outbox out(interpreter_id{50}, d);
  const std::string text(3000, 'x');
  for (int i = 0; i < 20; ++i) {
    wire_writer& w = out.open(a.id, record_kind::send);
    w.put_text(std::to_string(i));
    w.put_string(text);
    CHECK(out.commit() == send_status::sent);
  }
  CHECK(a.box->backlog() > 0);
  CHECK(a.box->backlog() < 20);
  out.flush();
  const std::vector<letter> got = a.read();
  REQUIRE(got.size() == 20);
  for (int i = 0; i < 20; ++i) CHECK(got[static_cast<std::size_t>(i)].in().get_text() == std::to_string(i));
}

TEST_CASE("outbox: a receiver over its mark is reported as crowded, and gets the message") {
  directory d;
  resident a(d, {}, 2);
  outbox out(interpreter_id{50}, d);
  for (int i = 0; i < 3; ++i) CHECK(post(out, a.id, i) == send_status::sent);
  out.flush();
  CHECK(post(out, a.id, 3) == send_status::crowded);
  out.flush();
  CHECK(a.read().size() == 4);
}

TEST_CASE("outbox: a record taken back never happened, and tells its references, calls and connections") {
  directory d;
  resident a(d);
  outbox out(interpreter_id{50}, d);
  CHECK(post(out, a.id, 1) == send_status::sent);
  wire_writer& w = out.open(a.id, record_kind::invoke);
  w.put_u64(77);
  w.put_u8(0);
  w.put_target(some_ref(1));
  w.put_text("method");
  w.put_reference(some_ref(8, 2));
  w.put_reference(some_ref(0, 3));
  w.put_connection(5);
  told back;
  out.rollback(back);
  CHECK(back.calls == std::vector<call_id>{77});
  REQUIRE(back.references.size() == 3);
  CHECK(back.references[0].credit == 1);
  CHECK(back.references[1].credit == 8);
  CHECK(back.references[2].lender == interpreter_id{51});
  CHECK(back.connections == std::vector<std::uint64_t>{5});
  CHECK(post(out, a.id, 2) == send_status::sent);
  out.flush();
  CHECK(a.read().size() == 2);
  CHECK(out.messages() == 2);
}

TEST_CASE("outbox: taking back the only record leaves nothing to send") {
  directory d;
  resident a(d);
  outbox out(interpreter_id{50}, d);
  out.open(a.id, record_kind::send).put_text("f");
  told back;
  out.rollback(back);
  CHECK(out.empty());
  out.flush();
  CHECK(a.bell.times == 0);
}

TEST_CASE("outbox: a record taken back before its body was written tells nothing") {
  directory d;
  resident a(d);
  outbox out(interpreter_id{50}, d);
  for (const record_kind kind : {record_kind::send, record_kind::call, record_kind::invoke, record_kind::reply}) {
    out.open(a.id, kind);
    told back;
    out.rollback(back);
    CHECK(back.references.empty());
  }
  CHECK(post(out, a.id, 1) == send_status::sent);
  out.flush();
  CHECK(a.read().size() == 1);
}

TEST_CASE("outbox: a message to nobody is gone, and is still open to be taken back") {
  directory d;
  outbox out(interpreter_id{50}, d);
  wire_writer& w = out.open(nobody, record_kind::call);
  w.put_u64(3);
  w.put_text("f");
  w.put_reference(some_ref(4));
  CHECK(out.commit() == send_status::gone);
  told back;
  out.rollback(back);
  CHECK(back.calls == std::vector<call_id>{3});
  CHECK(back.references.size() == 1);
  CHECK(out.empty());
  CHECK(out.messages() == 0);
}

TEST_CASE("outbox: a receiver that dies is gone for the next message, also when it was known") {
  directory d;
  resident a(d);
  outbox out(interpreter_id{50}, d);
  CHECK(post(out, a.id, 1) == send_status::sent);
  out.flush();
  a.die();
  told back;
  out.open(a.id, record_kind::send).put_text("");
  CHECK(out.commit() == send_status::gone);
  out.rollback(back);
  CHECK(out.receiver(a.id) == nullptr);
}

TEST_CASE("outbox: an interpreter born after a message to its id was gone gets the next one") {
  directory d;
  outbox out(interpreter_id{50}, d);
  told back;
  out.open(interpreter_id{1}, record_kind::send).put_text("");
  CHECK(out.commit() == send_status::gone);
  out.rollback(back);
  resident a(d);
  CHECK(a.id == interpreter_id{1});
  CHECK(post(out, a.id, 1) == send_status::sent);
  out.flush();
  CHECK(a.read().size() == 1);
}

TEST_CASE("outbox: without memory a record is not sent, and taking it back tells what was written whole") {
  directory d;
  resident a(d);
  outbox out(interpreter_id{50}, d);
  CHECK(post(out, a.id, 1) == send_status::sent);
  wire_writer& w = out.open(a.id, record_kind::call);
  w.put_u64(12);
  w.put_text("f");
  w.put_reference(some_ref(9));
  w.put_string(too_long());
  w.put_reference(some_ref(10)); // never written: its writer must see failed() and keep it
  CHECK(out.commit() == send_status::no_memory);
  told back;
  out.rollback(back);
  CHECK(back.calls == std::vector<call_id>{12});
  REQUIRE(back.references.size() == 1);
  CHECK(back.references[0].credit == 9);
  CHECK(post(out, a.id, 2) == send_status::sent);
  out.flush();
  const auto got = a.read();
  REQUIRE(got.size() == 2);
  CHECK(got[1].in().get_text().empty());
}

TEST_CASE("outbox: what was committed goes out when the outbox is destroyed") {
  directory d;
  resident a(d);
  {
    outbox out(interpreter_id{50}, d);
    post(out, a.id, 1);
  }
  CHECK(a.read().size() == 1);
}

TEST_CASE("outbox: a sender to thousands of short-lived receivers forgets the dead") {
  directory d;
  outbox out(interpreter_id{50}, d);
  std::vector<inbox_ptr> boxes;
  for (int i = 0; i < 1000; ++i) {
    resident a(d);
    CHECK(post(out, a.id, i) == send_status::sent);
    out.flush();
    CHECK(a.read().size() == 1);
    boxes.push_back(a.box);
    a.die();
  }
  out.flush();
  std::size_t known = 0;
  for (const auto& b : boxes) known += b->use_count() > 1 ? 1 : 0;
  CHECK(known <= 257);
}
