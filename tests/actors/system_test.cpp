// Whole runtimes with C++ probes for guests: births, calls, references, ends.
#include "actors/system.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "actors/core.hpp"
#include "tests/actors/probe_guest.hpp"
#include "tests/in_a_process.hpp"

using namespace Atoll;
using test::probe;
using test::probe_functions;

namespace {

/// Runs `main_start` in a main interpreter whose children have `functions`, and finalizes.
struct program {
  probe_functions main_functions;
  probe_functions child_functions;
  system_config config;

  finalization_report run(std::function<void(probe&)> main_start) {
    main_functions["start"] = [start = std::move(main_start)](probe& p, const incoming&) { start(p); };
    config.workers = 2;
    config.languages["main"] = [this](host& h) { return std::make_unique<probe>(h, main_functions); };
    config.languages["child"] = [this](host& h) { return std::make_unique<probe>(h, child_functions); };
    Atoll::system runtime(config);
    const auto ended = runtime.run_main({.name = "main", .language = "main"}, {}, {});
    CHECK(ended.has_value());
    return runtime.finalize();
  }
};

interpreter_id spawn(probe& p, const char* code, std::function<void(const outcome&)> then, std::string name = {}) {
  const auto id = p.outside().spawn({.name = std::move(name), .language = "child"}, {source_kind::code, code, {}}, {},
                                    p.await(std::move(then)));
  REQUIRE(id.has_value());
  return *id;
}

wire_writer& call(probe& p, interpreter_id to, std::string_view name, std::function<void(const outcome&)> then) {
  wire_writer& w = p.outside().open_message(to, record_kind::call);
  w.put_u64(p.outside().open_call(p.await(std::move(then))));
  w.put_text(name);
  return w;
}

} // namespace

TEST_CASE("a program whose main waits for nothing ends at once, cleanly") {
  program p;
  const finalization_report r = p.run([](probe&) {});
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
  REQUIRE(r.interpreters.size() == 1);
  CHECK(r.interpreters[0].outcome == end_kind::exited);
  CHECK(r.phases.size() == 6);
}

TEST_CASE("an interpreter that takes long to dispose of its last messages is in the report all the same") {
  // The job left in the inbox is destroyed after the interpreter has left the directory, before it hands in its report.
  struct slow final : job {
    void run(host&) override { CHECK(false); }
    void abandon(const error&) noexcept override { std::this_thread::sleep_for(std::chrono::milliseconds(60)); }
  };
  Atoll::system* runtime = nullptr;
  const probe_functions functions{{"start", [&](probe& main, const incoming&) {
                                     main.hooks["close"] = [&] {
                                       runtime->inside().post(main_interpreter, std::make_unique<slow>());
                                     };
                                   }}};
  system_config config;
  config.languages["main"] = [&](host& h) { return std::make_unique<probe>(h, functions); };
  Atoll::system owner(config);
  runtime = &owner;
  CHECK(owner.run_main({.name = "main", .language = "main"}, {}, {}));
  const finalization_report r = owner.finalize();
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
  REQUIRE(r.interpreters.size() == 1);
  CHECK(r.interpreters[0].outcome == end_kind::exited);
}

TEST_CASE("a call to a child is answered with what it returned") {
  program p;
  p.child_functions["twice"] = [](probe& c, const incoming& m) {
    wire_reader in = m.args;
    c.answer(m, (in.get_u8() - static_cast<int>(wire_tag::small_int) + small_int_min) * 2);
  };
  std::int64_t got = 0;
  const finalization_report r = p.run([&](probe& main) {
    spawn(main, "", [&](const outcome& o) { CHECK(o.what == outcome::kind::values); });
    call(main, interpreter_id{2}, "twice", [&](const outcome& o) {
      CHECK(o.what == outcome::kind::values);
      wire_reader in = o.values;
      got = in.get_u8() - static_cast<int>(wire_tag::small_int) + small_int_min;
    }).put_int(21);
    main.outside().commit();
  });
  CHECK(got == 42);
  CHECK(r.interpreters.size() == 2);
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("a child that fails to start answers its parent with the error, and is reported as failed") {
  program p;
  errc code{};
  const finalization_report r = p.run([&](probe& main) {
    spawn(main, "fail", [&](const outcome& o) {
      REQUIRE(o.what == outcome::kind::failed);
      code = o.failure->code;
    });
  });
  CHECK(code == errc::load_error);
  REQUIRE(r.interpreters.size() == 2);
  CHECK(r.interpreters[1].outcome == end_kind::failed);
}

TEST_CASE("5000 references to a busy owner's objects, dropped, are all released") {
  program p;
  std::atomic<int> dropped{0};
  p.child_functions["give"] = [&](probe& owner, const incoming& m) {
    wire_writer& w = owner.outside().open_reply(m.request);
    for (guest_word i = 1; i <= 5000; ++i) owner.put_own(w, i);
    owner.outside().commit();
  };
  p.child_functions["compute"] = [&](probe& owner, const incoming&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    owner.ready = [&owner, &dropped] {
      dropped = static_cast<int>(owner.dropped.size());
      return false;
    };
  };
  const finalization_report r = p.run([&](probe& main) {
    spawn(
        main, "", [](const outcome&) {}, "owner");
    call(main, interpreter_id{2}, "give", [&main](const outcome& o) {
      main.take(o.values);
      CHECK(main.held.size() == 5000);
      wire_writer& w = main.outside().open_message(interpreter_id{2}, record_kind::send);
      w.put_text("compute");
      main.outside().commit();
      for (const auto i : main.held) main.outside().imports().drop_use(i);
      main.held.clear();
    });
    main.outside().commit();
  });
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
  CHECK(r.exported == 5000);
  CHECK(r.released == 5000);
  CHECK(dropped == 5000);
}

TEST_CASE("a call to an interpreter that was killed fails with interpreter_gone, before and after its death") {
  program p;
  p.child_functions["hang"] = [](probe&, const incoming&) {};
  int gone = 0;
  const finalization_report r = p.run([&](probe& main) {
    spawn(main, "", [](const outcome&) {});
    const auto count = [&](const outcome& o) {
      REQUIRE(o.what == outcome::kind::failed);
      CHECK(o.failure->code == errc::interpreter_gone);
      ++gone;
    };
    call(main, interpreter_id{2}, "hang", [&, count](const outcome& o) {
      count(o);
      call(main, interpreter_id{2}, "hang", count);
      if (main.outside().commit() == send_status::gone) {
        main.outside().rollback();
        main.waiting_for.clear();
        ++gone;
      }
    });
    main.outside().commit();
    main.outside().set_timer(main.outside().now() + std::chrono::milliseconds(20),
                             main.await([&](const outcome&) { main.outside().kill(interpreter_id{2}); }));
  });
  CHECK(gone == 2);
  REQUIRE(r.interpreters.size() == 2);
  CHECK(r.interpreters[1].outcome == end_kind::killed);
}

TEST_CASE("a monitor is told once, also when the interpreter is gone already") {
  program p;
  int downs = 0;
  p.run([&](probe& main) {
    spawn(main, "", [](const outcome&) {});
    main.outside().monitor(interpreter_id{2}, main.await([&](const outcome& o) {
      CHECK(o.what == outcome::kind::down);
      CHECK(o.reason == "killed");
      ++downs;
      main.outside().monitor(interpreter_id{2}, main.await([&](const outcome& again) {
        CHECK(again.reason == "gone");
        ++downs;
      }));
    }));
    main.outside().set_timer(main.outside().now() + std::chrono::milliseconds(5),
                             main.await([&](const outcome&) { main.outside().kill(interpreter_id{2}); }));
  });
  CHECK(downs == 2);
}

TEST_CASE("what a holder never dropped is settled at the end, without a leak") {
  program p;
  p.child_functions["give"] = [&](probe& owner, const incoming& m) {
    owner.put_own(owner.outside().open_reply(m.request), 1);
    owner.outside().commit();
  };
  const finalization_report r = p.run([&](probe& main) {
    spawn(main, "", [](const outcome&) {});
    call(main, interpreter_id{2}, "give", [&main](const outcome& o) { main.take(o.values); });
    main.outside().commit();
  });
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
  CHECK(r.exported == 1);
  CHECK(r.released == 1);
}

TEST_CASE("an exit handler calls a peer that is still alive") {
  program p;
  std::atomic<int> answered{0};
  p.child_functions["last"] = [](probe& c, const incoming& m) { c.answer(m, 7); };
  const finalization_report r = p.run([&](probe& main) {
    spawn(main, "", [](const outcome&) {});
    main.hooks["exit"] = [&] {
      call(main, interpreter_id{2}, "last",
           [&](const outcome& o) { answered += o.what == outcome::kind::values ? 1 : 0; });
      main.outside().commit();
    };
  });
  CHECK(answered == 1);
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
}

namespace {

/// In a process of its own, which ends with _exit: the abandoned state and its thread stay behind on purpose.
bool abandons_in_time() {
  static std::atomic<bool> release{false};
  program p;
  p.config.deadline = std::chrono::milliseconds(300);
  p.child_functions["block"] = [](probe&, const incoming&) {
    while (!release) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  const auto start = clock_type::now();
  const finalization_report r = p.run([&](probe& main) {
    spawn(main, "", [&](const outcome&) {
      main.outside().open_message(interpreter_id{2}, record_kind::send).put_text("block");
      main.outside().commit();
      main.outside().set_timer(main.outside().now() + std::chrono::milliseconds(20), main.await([](const outcome&) {}));
    });
  });
  return clock_type::now() - start < std::chrono::milliseconds(900)
         && r.verdict == finalization_report::verdict_kind::forced && r.interpreters.size() == 2
         && r.interpreters[1].outcome == end_kind::abandoned;
}

} // namespace

TEST_CASE("a guest that never returns is abandoned, and the deadline holds") {
  CHECK(test::in_a_process([] { return abandons_in_time() ? 0 : 1; }) == 0);
}
