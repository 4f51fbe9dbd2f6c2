// The interpreter's shell without CAF and threads: births, messages, stops and deaths, timers, room, loans.
#include <doctest/doctest.h>

#include "tests/actors/shell_world.hpp"

using namespace Atoll;
using test::probe;
using test::shell_world;
using namespace std::chrono_literals;

namespace {

constexpr credit_policy tiny{.grant = 4, .low = 1, .cap = 16};
using answer = std::function<void(const outcome&)>;

void ignore(const outcome&) {}

interpreter_id spawn(probe& p, const char* language, answer then = ignore, std::string name = {},
                     const char* code = "") {
  const auto id = p.outside().spawn({.name = std::move(name), .language = language}, {source_kind::code, code, {}}, {},
                                    p.await(std::move(then)));
  REQUIRE(id.has_value());
  return *id;
}

/// Opens a call; values may follow, then commit().
wire_writer& open_call(probe& p, interpreter_id to, std::string_view name, answer then) {
  wire_writer& w = p.outside().open_message(to, record_kind::call);
  w.put_u64(p.outside().open_call(p.await(std::move(then))));
  w.put_text(name);
  return w;
}

send_status call(probe& p, interpreter_id to, std::string_view name, answer then) {
  open_call(p, to, name, std::move(then));
  const send_status sent = p.outside().commit();
  if (sent > send_status::crowded) p.outside().rollback();
  return sent;
}

wire_writer& open_send(probe& p, interpreter_id to, std::string_view name) {
  wire_writer& w = p.outside().open_message(to, record_kind::send);
  w.put_text(name);
  return w;
}

send_status send(probe& p, interpreter_id to, std::string_view name) {
  open_send(p, to, name);
  const send_status sent = p.outside().commit();
  if (sent > send_status::crowded) p.outside().rollback();
  return sent;
}

/// Passes a held reference on.
send_status pass_on(probe& p, std::size_t held, interpreter_id to, std::string_view name = "keep") {
  put_imported(open_send(p, to, name), p.outside().imports(), p.held.at(held));
  const send_status sent = p.outside().commit();
  if (sent > send_status::crowded) p.outside().rollback();
  return sent;
}

send_status send_own(probe& p, guest_word object, interpreter_id to, std::string_view name = "keep") {
  wire_writer& w = open_send(p, to, name);
  p.put_own(w, object);
  const send_status sent = p.outside().commit();
  if (sent > send_status::crowded) p.outside().rollback();
  return sent;
}

void drop_all(probe& p) {
  for (const auto i : p.held) p.outside().imports().drop_use(i);
  p.held.clear();
}

/// A world whose probes keep the references they are sent, and answer "give" with object 1.
struct village : shell_world {
  explicit village(interpreter_config config = {}, std::uint64_t seed = 1) : shell_world(seed, config) {
    test::probe_functions& f = scripts["probe"];
    f["keep"] = [](probe& p, const incoming& m) {
      p.take(m.args);
      p.answer(m, 0);
    };
    f["give"] = [](probe& p, const incoming& m) {
      p.put_own(p.outside().open_reply(m.request), 1);
      p.outside().commit();
    };
    f["hang"] = [](probe&, const incoming&) {};
  }
  interpreter_id born(std::string name = {}) {
    const interpreter_id id = start("probe", std::move(name));
    run();
    return id;
  }
};

/// A probe whose exit handlers end when it is told to.
class late final : public guest {
public:
  late(host& outside, const test::probe_functions& functions) : outside_(outside), inner_(outside, functions) {}
  probe& inner() { return inner_; }
  void start(request_id r, const source& s, wire_reader a) override { inner_.start(r, s, a); }
  void deliver(const incoming& m) override {
    if (m.name == "leave") return outside_.exited();
    inner_.deliver(m);
  }
  void resume(guest_word t, const outcome& o) override { inner_.resume(t, o); }
  bool run_ready() override { return inner_.run_ready(); }
  void drop(guest_word o) override { inner_.drop(o); }
  std::string describe(guest_word o) override { return inner_.describe(o); }
  bool waiting() const override { return inner_.waiting(); }
  std::size_t tasks() const override { return inner_.tasks(); }
  void run_exit_handlers() override {}
  void interrupt(errc c) override { inner_.interrupt(c); }
  void drop_imports() override { inner_.drop_imports(); }
  void close() override { inner_.close(); }
  void tick() noexcept override {}

private:
  host& outside_;
  probe inner_;
};

void add_late(village& v) {
  v.languages["late"] = [&v](host& h) { return std::make_unique<late>(h, v.scripts["probe"]); };
}

} // namespace

// -- birth --------------------------------------------------------------------------------------------------------------

TEST_CASE("shell: a start is answered, and the interpreter runs") {
  village v;
  const interpreter_id a = v.start("probe", "a");
  CHECK(v.where().look_up(a)->state == run_state::starting);
  v.run();
  CHECK(v.where().look_up(a)->state == run_state::running);
  const auto got = v.host_letters();
  REQUIRE(got.size() == 1);
  CHECK(got[0].kind == record_kind::reply);
}

TEST_CASE("shell: a child that cannot start fails, and its parent hears why") {
  village v;
  const auto a = v.born();
  errc code{};
  v.in(a, [&](probe& p) {
    spawn(
        p, "probe",
        [&](const outcome& o) {
          REQUIRE(o.what == outcome::kind::failed);
          code = o.failure->code;
        },
        {}, "fail");
  });
  CHECK(code == errc::load_error);
  REQUIRE(v.reports.size() == 1);
  CHECK(v.reports[0].outcome == end_kind::failed);
}

TEST_CASE("shell: a failed answer does not end the callee, however the request numbers are reused") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  int failed = 0;
  for (int i = 0; i < 3; ++i)
    v.in(a, [&](probe& p) {
      call(p, b, "unknown", [&](const outcome& o) { failed += o.what == outcome::kind::failed; });
    });
  CHECK(failed == 3);
  CHECK(v.alive(b));
}

TEST_CASE("shell: a spawn whose arguments cannot cross never happened") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  v.in(b, [&](probe& p) { send_own(p, 1, a); });
  v.in(a, [&](probe& p) {
    const auto child = p.outside().spawn(
        {.language = "probe"}, {},
        [&p](wire_writer& w) {
          put_imported(w, p.outside().imports(), p.held[0]);
          return false;
        },
        p.await([](const outcome&) { FAIL("nobody waits"); }));
    REQUIRE_FALSE(child.has_value());
    CHECK(child.error().code == errc::not_shareable);
    drop_all(p);
  });
  CHECK(v.living().size() == 2);
  CHECK(v.find(b)->exports_live() == 0);
}

TEST_CASE("shell: references among a child's arguments are its own") {
  village v({.credit = tiny});
  const auto a = v.born();
  interpreter_id child{};
  v.in(a, [&](probe& p) {
    child = *p.outside().spawn(
        {.language = "probe"}, {},
        [&p](wire_writer& w) {
          p.put_own(w, 9);
          return true;
        },
        p.await(ignore));
  });
  CHECK(v.at(child).held.size() == 1);
  CHECK(v.find(a)->exports_live() == 1);
  v.kill(child);
  v.run();
  CHECK(v.at(a).dropped == std::vector<guest_word>{9});
}

TEST_CASE("shell: a name is free again when its bearer has ended") {
  village v;
  const auto a = v.born("db");
  v.in(a, [&](probe& p) {
    CHECK(p.outside().spawn({.name = "db", .language = "probe"}, {}, {}, p.await(ignore)).error().code
          == errc::name_taken);
  });
  v.kill(a);
  v.run();
  CHECK(v.where().find("db") == std::nullopt);
  v.born("db");
  CHECK(v.where().find("db").has_value());
}

TEST_CASE("shell: a call that overtakes the start of its receiver is answered after the start") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  // a spawns and goes on computing; b finds the child by its name before a's turn is over.
  int answered = 0;
  const auto child = v.create({.name = "db", .language = "probe"}, a);
  v.in(b, [&](probe& p) {
    const auto db = p.outside().find("db");
    REQUIRE(db.has_value());
    call(p, db->id, "keep", [&](const outcome& o) {
      CHECK(o.what == outcome::kind::values);
      ++answered;
    });
    call(p, db->id, "unknown", [&](const outcome& o) {
      REQUIRE(o.what == outcome::kind::failed);
      CHECK(o.failure->code == errc::unknown_function);
      CHECK(answered == 1);
      ++answered;
    });
  });
  CHECK(answered == 0);
  v.in(a, [&](probe& p) {
    wire_writer& w = p.outside().open_message(*child, record_kind::start);
    w.put_u64(p.outside().open_call(p.await(ignore)));
    w.put_u8(0);
    w.put_text("");
    w.put_text("");
    p.outside().commit();
  });
  CHECK(answered == 2);
}

TEST_CASE("shell: what overtook a start that never came is answered and given back at the end") {
  village v;
  const auto a = v.born();
  const auto child = v.create({.language = "probe"}, a);
  int gone = 0;
  v.in(a, [&](probe& p) {
    wire_writer& w = open_call(p, *child, "keep", [&](const outcome& o) {
      REQUIRE(o.what == outcome::kind::failed);
      CHECK(o.failure->code == errc::interpreter_gone);
      ++gone;
    });
    p.put_own(w, 5);
    p.outside().commit();
  });
  v.kill(*child);
  v.run();
  CHECK(gone == 1);
  CHECK(v.at(a).dropped == std::vector<guest_word>{5});
}

// -- messages -----------------------------------------------------------------------------------------------------------

TEST_CASE("shell: messages of one sender come in the order sent, also in turns of one message") {
  for (const std::size_t budget : {std::size_t{1}, std::size_t{3}, std::size_t{4096}}) {
    village v({.turn_messages = budget});
    std::vector<int> got;
    v.scripts["probe"]["n"] = [&](probe&, const incoming& m) {
      wire_reader in = m.args;
      got.push_back(in.get_u8());
    };
    const auto a = v.born();
    const auto b = v.born();
    v.in(a, [&](probe& p) {
      for (int i = 0; i < 20; ++i) {
        open_send(p, b, "n").put_int(i);
        p.outside().commit();
      }
    });
    CHECK(got.size() == 20);
    CHECK(std::is_sorted(got.begin(), got.end()));
  }
}

TEST_CASE("shell: a call is answered once, and an answer nobody waits for is thrown away with its credit") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) {
    wire_writer& w = p.outside().open_message(b, record_kind::call);
    const call_id c = p.outside().open_call(p.await([](const outcome&) { FAIL("forgotten"); }));
    w.put_u64(c);
    w.put_text("give");
    p.outside().commit();
    p.outside().forget_call(c);
  });
  CHECK(v.at(b).dropped == std::vector<guest_word>{1});
  CHECK(v.find(a)->imports().size() == 0);
}

TEST_CASE("shell: a second answer to the same request is nothing, and costs no credit") {
  village v;
  v.scripts["probe"]["twice"] = [](probe& p, const incoming& m) {
    p.answer(m, 1);
    p.put_own(p.outside().open_reply(m.request), 8);
    p.outside().commit();
  };
  const auto a = v.born();
  const auto b = v.born();
  int answers = 0;
  v.in(a, [&](probe& p) { call(p, b, "twice", [&](const outcome&) { ++answers; }); });
  CHECK(answers == 1);
  // The second went to the host program, as number 0.
  CHECK(v.find(b)->exports_live() == 1);
}

TEST_CASE("shell: an answer that cannot cross is taken back, and an error goes instead") {
  village v;
  v.scripts["probe"]["bad"] = [](probe& p, const incoming& m) {
    p.put_own(p.outside().open_reply(m.request), 8);
    p.outside().rollback();
    p.outside().reply_error(m.request, {errc::not_shareable, "no", {}, {}, {}, {}});
  };
  v.scripts["probe"]["large"] = [](probe& p, const incoming& m) {
    wire_writer& w = p.outside().open_reply(m.request);
    p.put_own(w, 9);
    w.put_string({"", std::size_t{1} << 33U});
    CHECK(p.outside().commit() == send_status::no_memory);
    p.outside().rollback();
    p.outside().reply_error(m.request, {errc::out_of_memory, "no", {}, {}, {}, {}});
  };
  const auto a = v.born();
  const auto b = v.born();
  std::vector<errc> codes;
  v.in(a, [&](probe& p) {
    call(p, b, "bad", [&](const outcome& o) { codes.push_back(o.failure->code); });
    call(p, b, "large", [&](const outcome& o) { codes.push_back(o.failure->code); });
  });
  CHECK(codes == std::vector<errc>{errc::not_shareable, errc::out_of_memory});
  CHECK(v.at(b).dropped.size() == 2);
}

TEST_CASE("shell: an answer to a caller that is gone keeps nothing back") {
  village v;
  request_id open = no_request;
  v.scripts["probe"]["later"] = [&](probe&, const incoming& m) { open = m.request; };
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { call(p, b, "later", ignore); });
  v.kill(a);
  v.run();
  v.in(b, [&](probe& p) {
    p.put_own(p.outside().open_reply(open), 4);
    CHECK(p.outside().commit() == send_status::sent);
  });
  CHECK(v.at(b).dropped == std::vector<guest_word>{4});
}

TEST_CASE("shell: a message to oneself arrives in a later round of the turn") {
  village v;
  const auto a = v.born();
  v.in(a, [&](probe& p) { send_own(p, 3, a); });
  CHECK(v.at(a).came_home == 1);
  CHECK(v.at(a).dropped == std::vector<guest_word>{3});
}

TEST_CASE("shell: a message that was taken back gives its reference back") {
  village v({.credit = tiny});
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { send_own(p, 1, b); });
  v.in(b, [&](probe& p) {
    for (int i = 0; i < 20; ++i) {
      put_imported(open_send(p, a, "keep"), p.outside().imports(), p.held[0]);
      p.outside().rollback();
    }
    CHECK(p.outside().imports().loans_of(p.held[0]) == 0);
    drop_all(p);
  });
  CHECK(v.at(a).dropped == std::vector<guest_word>{1});
}

TEST_CASE("shell: an object is called by its holder, and is let go when the holder is") {
  village v({.credit = tiny});
  int called = 0;
  v.scripts["probe"]["poke"] = [&](probe& p, const incoming& m) {
    CHECK(m.target == 6);
    CHECK(m.kind == record_kind::invoke);
    ++called;
    p.answer(m, 1);
  };
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { send_own(p, 6, b); });
  v.in(b, [&](probe& p) {
    for (int i = 0; i < 10; ++i) {
      wire_writer& w = p.outside().open_message(a, record_kind::invoke);
      w.put_u64(p.outside().open_call(p.await([&](const outcome& o) { CHECK(o.what == outcome::kind::values); })));
      w.put_u8(0);
      put_imported_target(w, p.outside().imports(), p.held[0]);
      w.put_text("poke");
      p.outside().commit();
    }
    drop_all(p);
  });
  CHECK(called == 10);
  CHECK(v.at(a).dropped == std::vector<guest_word>{6});
  CHECK(v.at(b).waiting_for.empty());
}

TEST_CASE("shell: a call on an object the owner no longer knows fails with reference_released") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  errc code{};
  v.in(b, [&](probe& p) {
    wire_writer& w = p.outside().open_message(a, record_kind::invoke);
    w.put_u64(p.outside().open_call(p.await([&](const outcome& o) { code = o.failure->code; })));
    w.put_u8(0);
    w.put_target({{a, 17, 1}, 1, {}});
    w.put_text("poke");
    p.put_own(w, 7);
    p.outside().commit();
  });
  CHECK(code == errc::reference_released);
  CHECK(v.at(b).dropped == std::vector<guest_word>{7}); // what the call carried came home
}

TEST_CASE("shell: after the imports are dropped, messages are refused and what they carry goes home") {
  village v({.credit = tiny});
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { send_own(p, 1, b); });
  v.post(b, [](interpreter& i) { i.drop_imports(); });
  v.run();
  CHECK(v.at(a).dropped == std::vector<guest_word>{1});
  errc code{};
  v.in(a, [&](probe& p) {
    p.put_own(open_call(p, b, "keep", [&](const outcome& o) { code = o.failure->code; }), 2);
    p.outside().commit();
  });
  CHECK(code == errc::interpreter_gone);
  CHECK(v.at(a).dropped == std::vector<guest_word>{1, 2});
}

TEST_CASE("shell: waiting calls and timers fail when they are told to") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  int failed = 0;
  v.in(a, [&](probe& p) {
    const answer count = [&](const outcome& o) {
      REQUIRE(o.what == outcome::kind::failed);
      CHECK(o.failure->code == errc::runtime_finalizing);
      ++failed;
    };
    call(p, b, "hang", count);
    p.outside().set_timer(v.now() + 10s, p.await(count));
  });
  v.post(a, [](interpreter& i) { i.fail_waiting(errc::runtime_finalizing); });
  v.run();
  CHECK(failed == 2);
  v.advance(20s);
  CHECK(failed == 2);
}

// -- the end ------------------------------------------------------------------------------------------------------------

TEST_CASE("shell: a stop ends the children first, and then answers") {
  village v;
  const auto a = v.born();
  std::vector<interpreter_id> born;
  v.in(a, [&](probe& p) {
    born.push_back(spawn(p, "probe"));
    born.push_back(spawn(p, "probe"));
  });
  v.in(born[0], [&](probe& p) { born.push_back(spawn(p, "probe")); });
  v.host_letters();
  v.stop(a);
  v.run();
  REQUIRE(v.reports.size() == 4);
  CHECK(v.reports[3].id == a);
  for (const auto& r : v.reports) CHECK(r.outcome == end_kind::stopped);
  const auto order = [&](interpreter_id id) { return v.report(id) - v.reports.data(); };
  CHECK(order(born[2]) < order(born[0]));
  const auto got = v.host_letters();
  REQUIRE(got.size() == 1);
  CHECK(got[0].kind == record_kind::reply);
}

TEST_CASE("shell: exit handlers run before the guest is closed, once, also when stopped twice") {
  village v;
  const auto a = v.born();
  std::vector<std::string> log;
  v.at(a).hooks["exit"] = [&] { log.emplace_back("exit"); };
  v.at(a).hooks["close"] = [&] { log.emplace_back("close"); };
  v.host_letters();
  v.stop(a, 0, 5);
  v.stop(a, 0, 6);
  v.run();
  CHECK(log == std::vector<std::string>{"exit", "close"});
  CHECK(v.host_letters().size() == 2);
}

TEST_CASE("shell: a stop whose deadline passes kills, and is answered") {
  village v;
  add_late(v);
  const auto a = v.start("late");
  v.run();
  v.host_letters();
  v.stop(a, 100);
  v.run();
  v.advance(99ms);
  CHECK(v.alive(a));
  CHECK(v.where().look_up(a)->state == run_state::stopping);
  v.advance(1ms);
  CHECK_FALSE(v.alive(a));
  CHECK(v.reports[0].outcome == end_kind::killed);
  CHECK(v.host_letters().size() == 1);
}

TEST_CASE("shell: an earlier deadline of a second stop counts") {
  village v;
  add_late(v);
  const auto a = v.start("late");
  v.run();
  v.stop(a, 1000);
  v.run();
  v.stop(a, 10);
  v.run();
  v.advance(10ms);
  CHECK_FALSE(v.alive(a));
}

TEST_CASE("shell: a child that hangs in its exit handlers does not outlive its parent's deadline") {
  village v;
  add_late(v);
  const auto a = v.born();
  interpreter_id child{};
  v.in(a, [&](probe& p) { child = spawn(p, "late"); });
  v.stop(a, 50);
  v.run();
  CHECK(v.alive(child));
  v.advance(50ms);
  CHECK(v.living().empty());
}

TEST_CASE("shell: exit handlers that end later end the stop later") {
  village v;
  add_late(v);
  const auto a = v.start("late");
  const auto b = v.born();
  v.stop(a);
  v.run();
  CHECK(v.alive(a));
  v.in(b, [&](probe& p) { send(p, a, "leave"); });
  CHECK_FALSE(v.alive(a));
  CHECK(v.reports[0].outcome == end_kind::stopped);
}

TEST_CASE("shell: who waits for the exit handlers is told, also when a kill came instead") {
  village v;
  add_late(v);
  const auto a = v.start("late");
  v.run();
  int done = 0;
  v.post(a, [&](interpreter& i) { i.run_exit_handlers([&] { ++done; }); });
  v.run();
  CHECK(done == 0);
  v.kill(a);
  v.run();
  CHECK(done == 1);
}

TEST_CASE("shell: an interpreter that is stopping spawns nobody") {
  village v;
  add_late(v);
  const auto a = v.start("late");
  v.run();
  v.stop(a);
  v.run();
  v.post(a, [](interpreter& i) { CHECK_FALSE(i.spawn({.language = "probe"}, {}, {}, 1).has_value()); });
  v.run();
}

TEST_CASE("shell: stopping children counts those that die on the way") {
  village v;
  add_late(v);
  const auto a = v.born();
  interpreter_id child{};
  v.in(a, [&](probe& p) {
    child = spawn(p, "late");
    spawn(p, "probe");
  });
  v.stop(a);
  v.run();
  CHECK(v.alive(a));
  v.kill(child);
  v.run();
  CHECK_FALSE(v.alive(a));
  CHECK(v.reports.back().outcome == end_kind::stopped);
}

TEST_CASE("shell: a kill answers what is open, tells the monitors, and ends the children") {
  village v;
  const auto a = v.born();
  const auto b = v.born("victim");
  interpreter_id child{};
  v.in(b, [&](probe& p) { child = spawn(p, "probe"); });
  std::vector<std::string> log;
  v.in(a, [&](probe& p) {
    call(p, b, "hang", [&](const outcome& o) {
      CHECK(o.failure->code == errc::interpreter_gone);
      CHECK(o.failure->message.find("killed") != std::string::npos);
      log.emplace_back("gone");
    });
    p.outside().monitor(b, p.await([&](const outcome& o) {
      CHECK(o.down_id == b);
      CHECK(o.name == "victim");
      log.emplace_back(o.reason);
    }));
  });
  v.kill(b);
  v.run();
  CHECK(log == std::vector<std::string>{"gone", "killed"});
  CHECK(v.report(child)->outcome == end_kind::killed);
  CHECK(v.report(b)->outcome == end_kind::killed);
}

TEST_CASE("shell: one killed before its start answers its parent") {
  village v;
  const auto a = v.born();
  errc code{};
  v.post(a, [&](interpreter&) {
    probe& p = v.at(a);
    const auto child = spawn(p, "probe", [&](const outcome& o) { code = o.failure->code; });
    p.outside().kill(child);
  });
  v.run();
  CHECK(code == errc::interpreter_gone);
  CHECK(v.living() == std::vector<interpreter_id>{a});
}

TEST_CASE("shell: an interrupt reaches the guest and ends nothing") {
  village v;
  const auto a = v.born();
  int interrupted = 0;
  v.at(a).hooks["interrupt"] = [&] { ++interrupted; };
  v.control(a, {.interrupt = true});
  v.run();
  v.control(a, {});
  v.run();
  CHECK(interrupted == 1);
  CHECK(v.alive(a));
}

TEST_CASE("shell: what an ended interpreter had not read yet is disposed of, also the rest of an envelope") {
  village v({.credit = tiny, .turn_messages = 3});
  const auto a = v.born();
  const auto b = v.born();
  v.scripts["probe"]["die"] = [&](probe&, const incoming&) { v.kill(b); };
  int gone = 0;
  v.in(a, [&](probe& p) {
    send_own(p, 1, b);
    send(p, b, "die");
    for (guest_word o = 2; o <= 6; ++o) send_own(p, o, b);
    call(p, b, "keep", [&](const outcome& o) { gone += o.what == outcome::kind::failed; });
  });
  CHECK(gone == 1);
  auto dropped = v.at(a).dropped;
  std::sort(dropped.begin(), dropped.end());
  CHECK(dropped == std::vector<guest_word>{1, 2, 3, 4, 5, 6});
}

TEST_CASE("shell: a guest that sends and lets go while it closes is heard") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { send_own(p, 1, b); });
  v.at(b).hooks["close"] = [&] {
    probe& p = v.at(b);
    pass_on(p, 0, a);
    drop_all(p);
  };
  v.kill(b);
  v.run();
  CHECK(v.at(a).came_home == 1);
  CHECK(v.at(a).dropped == std::vector<guest_word>{1});
}

TEST_CASE("shell: the last words of a guest to itself are answered to nobody") {
  village v({.credit = tiny});
  const auto a = v.born();
  const auto b = v.born();
  v.in(a, [&](probe& p) { send_own(p, 1, b); });
  v.at(b).hooks["close"] = [&] {
    probe& p = v.at(b);
    for (int i = 0; i < 6; ++i) pass_on(p, 0, b);
    call(p, b, "keep", [](const outcome&) { FAIL("closed"); });
  };
  v.kill(b);
  v.run();
  CHECK(v.at(a).dropped == std::vector<guest_word>{1});
  CHECK(v.where().tombstones() == 0);
}

TEST_CASE("shell: the last turn of main is told to the runtime once") {
  village v;
  const auto main = v.born();
  CHECK(main == main_interpreter);
  CHECK(v.main_done_told == 1);
  v.in(main, [](probe&) {});
  CHECK(v.main_done_told == 1);
}

// -- time ---------------------------------------------------------------------------------------------------------------

TEST_CASE("shell: timers go off in the order of their times, equal ones as they were set, and never early") {
  village v;
  const auto a = v.born();
  std::vector<int> log;
  const time_point start = v.now();
  v.in(a, [&](probe& p) {
    const auto at = [&](std::chrono::milliseconds when, int n) {
      return p.outside().set_timer(start + when, p.await([&log, &v, start, when, n](const outcome& o) {
        CHECK(o.what == outcome::kind::timer);
        CHECK(v.now() >= start + when);
        log.push_back(n);
      }));
    };
    at(30ms, 5);
    at(10ms, 1);
    at(20ms, 3);
    at(10ms, 2);
    p.outside().cancel_timer(at(15ms, 99));
    at(20ms, 4);
  });
  v.advance(9ms);
  CHECK(log.empty());
  v.advance(1ms);
  CHECK(log == std::vector<int>{1, 2});
  v.advance(100ms);
  CHECK(log == std::vector<int>{1, 2, 3, 4, 5});
}

TEST_CASE("shell: a timer cancelled by one that went off at the same time does not go off") {
  village v;
  const auto a = v.born();
  int fired = 0;
  v.in(a, [&](probe& p) {
    auto second = std::make_shared<std::uint64_t>();
    p.outside().set_timer(v.now() + 1ms, p.await([&, second](const outcome&) {
      ++fired;
      v.at(a).outside().cancel_timer(*second);
    }));
    *second = p.outside().set_timer(v.now() + 1ms, p.await([&](const outcome&) { fired += 100; }));
  });
  v.advance(5ms);
  CHECK(fired == 1);
}

TEST_CASE("shell: an earlier timer set later is not kept waiting") {
  village v;
  const auto a = v.born();
  int fired = 0;
  v.in(a, [&](probe& p) { p.outside().set_timer(v.now() + 1h, p.await([&](const outcome&) { fired += 10; })); });
  v.in(a, [&](probe& p) { p.outside().set_timer(v.now() + 1ms, p.await([&](const outcome&) { ++fired; })); });
  v.advance(1ms);
  CHECK(fired == 1);
  v.advance(1h);
  CHECK(fired == 11);
}

TEST_CASE("shell: a timer that sets itself again for now lets others work between") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  int fired = 0;
  std::function<void(const outcome&)> again = [&](const outcome&) {
    probe& p = v.at(a);
    if (++fired < 100) p.outside().set_timer(v.now(), p.await(again));
  };
  v.post(a, [&](interpreter&) { again({}); });
  v.run();
  CHECK(fired < 10);
  bool answered = false;
  v.in(b, [&](probe& p) { call(p, a, "keep", [&](const outcome&) { answered = true; }); });
  CHECK(answered);
  CHECK(fired < 10);
  v.advance(1ms);
  CHECK(fired == 100);
}

// -- monitors -----------------------------------------------------------------------------------------------------------

TEST_CASE("shell: each monitor is told once, of the living and of the dead, and not after demonitor") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  const auto c = v.born();
  int downs = 0;
  const answer count = [&](const outcome& o) {
    CHECK(o.what == outcome::kind::down);
    ++downs;
  };
  v.in(a, [&](probe& p) {
    p.outside().monitor(b, p.await(count));
    p.outside().monitor(b, p.await(count));
    const guest_word over = p.await([](const outcome&) { FAIL("demonitored"); });
    p.outside().monitor(b, over);
    p.outside().demonitor(b, over);
  });
  v.in(c, [&](probe& p) { p.outside().monitor(b, p.await(count)); });
  v.stop(b);
  v.run();
  CHECK(downs == 3);
  v.in(a, [&](probe& p) {
    p.outside().monitor(b, p.await(count));
    p.outside().monitor(interpreter_id{777}, p.await(count));
  });
  CHECK(downs == 5);
}

TEST_CASE("shell: a monitor sent in the moment of the death is told") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  int downs = 0;
  v.kill(b);
  v.post(a, [&](interpreter&) { v.at(a).outside().monitor(b, v.at(a).await([&](const outcome&) { ++downs; })); });
  v.run();
  CHECK(downs == 1);
}

// -- room ---------------------------------------------------------------------------------------------------------------

TEST_CASE("shell: a sender over the mark is told of room when the receiver has read") {
  village v({.high_water = 4});
  int read = 0;
  v.scripts["probe"]["n"] = [&](probe&, const incoming&) { ++read; };
  const auto a = v.born();
  const auto b = v.born();
  int room = 0;
  v.post(a, [&](interpreter&) {
    probe& p = v.at(a);
    for (int i = 0; i < 6; ++i) send(p, b, "n");
    p.outside().await_room(b, p.await([&](const outcome& o) {
      CHECK(o.what == outcome::kind::room);
      CHECK(read >= 6);
      ++room;
    }));
    CHECK(v.find(b)->box().crowded());
    CHECK(send(p, b, "n") == send_status::crowded);
  });
  v.run();
  CHECK(room == 1);
  CHECK(read == 7);
}

TEST_CASE("shell: who waits for room of the dead, or of one that has room, is told at once") {
  village v({.high_water = 4});
  const auto a = v.born();
  const auto b = v.born();
  int room = 0;
  const answer count = [&](const outcome&) { ++room; };
  v.in(a, [&](probe& p) { p.outside().await_room(b, p.await(count)); });
  CHECK(room == 1);
  v.in(a, [&](probe& p) { p.outside().await_room(interpreter_id{555}, p.await(count)); });
  CHECK(room == 2);
  v.post(a, [&](interpreter&) {
    probe& p = v.at(a);
    for (int i = 0; i < 9; ++i) send(p, b, "keep");
    p.outside().await_room(b, p.await(count));
    v.kill(b);
  });
  v.run();
  CHECK(room == 3);
}

TEST_CASE("shell: two that flood each other and wait for room both go on") {
  village v({.high_water = 2, .turn_messages = 2});
  int read = 0;
  v.scripts["probe"]["n"] = [&](probe&, const incoming&) { ++read; };
  const auto a = v.born();
  const auto b = v.born();
  std::map<interpreter_id, int> left{{a, 200}, {b, 200}};
  std::function<void(interpreter_id, interpreter_id)> flood = [&](interpreter_id from, interpreter_id to) {
    probe& p = v.at(from);
    while (left[from] > 0) {
      --left[from];
      if (send(p, to, "n") != send_status::crowded) continue;
      return p.outside().await_room(to, p.await([&flood, from, to](const outcome&) { flood(from, to); }));
    }
  };
  v.post(a, [&](interpreter&) { flood(a, b); });
  v.post(b, [&](interpreter&) { flood(b, a); });
  v.run();
  CHECK(read == 400);
}

// -- loans --------------------------------------------------------------------------------------------------------------

namespace {

/// One object travels a -> b -> c -> d and back with tiny credit, and everybody lets go.
/// `before(k)` is called before step k; the steps answer how many there are.
int travel(village& v, const std::vector<interpreter_id>& who, const std::function<void(int)>& before) {
  int k = 0;
  const auto act = [&](interpreter_id id, const std::function<void(probe&)>& what) {
    before(k++);
    v.post(id, [&v, id, what](interpreter&) { what(v.at(id)); });
    v.step(); // not to the end: messages stay on their way
    v.step();
  };
  const auto hand_on = [&](interpreter_id from, interpreter_id to) {
    act(from, [=](probe& p) {
      if (!p.held.empty()) pass_on(p, p.held.size() - 1, to);
    });
  };
  act(who[0], [&](probe& p) { send_own(p, 1, who[1]); });
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 1; i < who.size(); ++i) {
      hand_on(who[i], who[i % (who.size() - 1) + 1]);
      hand_on(who[i], who[0]);
    }
    v.run();
    hand_on(who[1], who[2]);
    hand_on(who[2], who[3]);
    hand_on(who[3], who[1]);
  }
  for (std::size_t i = 1; i < who.size(); ++i) act(who[i], [](probe& p) { drop_all(p); });
  v.run();
  return k;
}

} // namespace

TEST_CASE("shell: an object lent on among three with tiny credit is released, once") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    village v({.credit = tiny}, seed);
    const std::vector<interpreter_id> who{v.born(), v.born(), v.born(), v.born()};
    travel(v, who, [](int) {});
    for (std::size_t i = 1; i < who.size(); ++i) v.in(who[i], [](probe& p) { drop_all(p); });
    CHECK(v.at(who[0]).dropped == std::vector<guest_word>{1});
    CHECK(v.find(who[0])->exports_live() == 0);
    for (const auto id : who) CHECK(v.find(id)->imports().size() == 0);
  }
}

TEST_CASE("shell: owner, lenders and borrowers may each die at every step, and nothing stays behind") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    for (std::size_t victim = 0; victim < 4; ++victim) {
      for (int when = 0;; ++when) {
        CAPTURE(seed);
        CAPTURE(victim);
        CAPTURE(when);
        village v({.credit = tiny}, seed);
        const std::vector<interpreter_id> who{v.born(), v.born(), v.born(), v.born()};
        const int steps = travel(v, who, [&](int k) {
          if (k == when) v.kill(who[victim]);
        });
        for (const auto id : who)
          if (v.alive(id)) v.in(id, [](probe& p) { drop_all(p); });
        for (const auto id : who) {
          if (!v.alive(id)) continue;
          CHECK(v.find(id)->imports().size() == 0);
          CHECK(v.find(id)->exports_live() == 0);
        }
        if (victim != 0 && when > 0) CHECK(v.at(who[0]).dropped.size() == 1);
        CHECK(v.where().tombstones() == 0);
        if (when >= steps) break;
      }
    }
  }
}

TEST_CASE("shell: the borrower lives on what the dead lender left, and its release ends the tombstone") {
  village v({.credit = {.grant = 1, .low = 1, .cap = 16}});
  const auto owner = v.born();
  const auto lender = v.born();
  const auto borrower = v.born();
  v.in(owner, [&](probe& p) { send_own(p, 1, lender); });
  // The owner is kept from answering: the loan stays open.
  v.post(lender, [&](interpreter&) { pass_on(v.at(lender), 0, borrower); });
  v.step();
  v.kill(lender);
  v.run();
  CHECK(v.find(owner)->exports_live() == 1);
  CHECK(v.at(owner).dropped.empty());
  CHECK(v.at(borrower).held.size() == 1);
  v.in(borrower, [](probe& p) { drop_all(p); });
  CHECK(v.at(owner).dropped == std::vector<guest_word>{1});
  CHECK(v.where().tombstones() == 0);
}

TEST_CASE("shell: connections that nobody reads any more are closed") {
  village v;
  const auto a = v.born();
  const auto b = v.born();
  v.post(a, [&](interpreter&) {
    open_send(v.at(a), b, "keep").put_connection(12);
    v.at(a).outside().commit();
  });
  v.step();
  v.kill(b);
  v.run();
  CHECK(v.closed_connections == std::vector<std::uint64_t>{12});
}
