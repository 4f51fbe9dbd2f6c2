// Finalizers of native interpreters: when they run, in which order, and what they may do.
#include <doctest/doctest.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>
#include <stdexcept>

#include <atoll/native.hpp>

#include "tests/guests/native_host.hpp"

using namespace Atoll;
using Atoll::testing::native_pair;

namespace {

using strings = std::vector<std::string>;

struct thing {
  explicit thing(std::string n) : name(std::move(n)) {}

  std::string name;
  handle<thing> other;
};

/// A native interpreter that keeps a list of what happened.
struct place {
  native_pair pair{native_interface().function("thing", [](native_context& c) { return c.make<thing>("sent"); })};
  strings happened;

  native_context& context() { return pair.guest().context(); }
  handle<thing> make(const std::string& name) { return context().make<thing>(name); }
  /// Says the object's name when it runs.
  native_finalizer says(const handle<thing>& o, std::optional<int> priority = std::nullopt) {
    return context()
        .finalizer(
            o, [this](native_context&, const handle<thing>& h) { happened.push_back(h->name); }, priority)
        .value();
  }
  native_finalizer says(const std::string& text, int priority) {
    return context().finalizer([this, text](native_context&) { happened.push_back(text); }, priority).value();
  }
  void exit() { pair.guest().run_exit_handlers(); }
  void close() { pair.guest().close(); }
};

errc code_of(const result<native_finalizer>& r) { return r ? errc::ok : r.error().code; }

} // namespace

TEST_CASE("native finalizers: letting the last handle go runs it once with the object whole, later calls do nothing") {
  place p;
  handle<thing> a = p.make("a");
  native_finalizer f = p.says(a);
  handle<thing> copy = a;
  a = {};
  CHECK(p.happened.empty());
  copy = {};
  CHECK(p.happened == strings{"a"});
  CHECK(p.pair.objects().live() == 0);
  CHECK_FALSE(*f.run());
  CHECK_FALSE(f.cancel());
  p.exit();
  p.close();
  CHECK(p.happened == strings{"a"});
  CHECK(p.pair.host.finalizers == 1);
}

TEST_CASE("native finalizers: the last credit of another interpreter coming home runs it") {
  place p;
  {
    const native_results sent = p.pair.call("thing");
    // The object is found through the export table, as a message would.
    handle<thing> h;
    p.pair.host.exports().for_each(
        [&](const object_id&, guest_word word, std::uint64_t) { h = handle<thing>::of(object_of(word)); });
    REQUIRE(h);
    p.says(h);
    h = {};
    CHECK(p.happened.empty());
  }
  p.pair.settle();
  CHECK(p.happened == strings{"sent"});
}

TEST_CASE("native finalizers: running one by hand disarms it, its object lives on") {
  place p;
  handle<thing> a = p.make("a");
  native_finalizer f = p.says(a, 5);
  CHECK(*f.run());
  CHECK_FALSE(*f.run());
  p.exit();
  a = {};
  CHECK(p.happened == strings{"a"});
  CHECK(p.pair.host.finalizers == 0); // by hand is the caller's business
}

TEST_CASE("native finalizers: cancelling one disarms it and lets go of what its function holds") {
  place p;
  handle<thing> a = p.make("a");
  handle<thing> held = p.make("held");
  native_finalizer f =
      p.context()
          .finalizer(a, [held, &p](native_context&, const handle<thing>&) { p.happened.push_back("no"); })
          .value();
  held = {};
  CHECK(p.pair.objects().live() == 2);
  CHECK(f.cancel());
  CHECK(p.pair.objects().live() == 1);
  CHECK_FALSE(f.cancel());
  a = {};
  p.close();
  CHECK(p.happened.empty());
}

TEST_CASE("native finalizers: at exit the highest priority is first, ties newest first, none without a priority") {
  place p;
  // Objects that live to the end (c, d...), and two that die before it (a, b).
  handle<thing> a = p.make("a");
  handle<thing> b = p.make("b");
  // No handle here may outlive close().
  const auto keep = [&](const char* name, std::optional<int> priority) {
    auto& kept = p.context().state<std::vector<handle<thing>>>();
    kept.push_back(p.make(name));
    p.says(kept.back(), priority);
  };
  p.says(a);
  a = {};
  native_finalizer b_again = p.says(b);
  CHECK(*b_again.run());
  CHECK_FALSE(*b_again.run());
  b = {};
  keep("c", std::nullopt);
  keep("d10", 1);
  keep("d01", 0);
  keep("d02", 0);
  keep("d03", 0);
  p.says("e", -10);
  keep("f-1", -1);
  p.exit();
  CHECK(p.happened == strings{"a", "b", "d10", "d03", "d02", "d01"});
  p.close();
  CHECK(p.happened == strings{"a", "b", "d10", "d03", "d02", "d01", "f-1", "e"});
}

TEST_CASE("native finalizers: any whole number is a priority") {
  place p;
  p.says("least", std::numeric_limits<int>::min());
  p.says("most", std::numeric_limits<int>::max());
  p.exit();
  CHECK(p.happened == strings{"most"});
  p.close();
  CHECK(p.happened == strings{"most", "least"});
}

TEST_CASE("native finalizers: exit handlers come first, also those that a finalizer adds") {
  place p;
  p.says("low", 0);
  REQUIRE(p.context().finalizer(
      [&](native_context& c) {
        p.happened.push_back("high");
        CHECK(c.at_exit([&](native_context&) { p.happened.push_back("handler from a finalizer"); }));
      },
      1));
  REQUIRE(p.context().at_exit([&](native_context&) { p.happened.push_back("handler"); }));
  p.exit();
  CHECK(p.happened == strings{"handler", "high", "handler from a finalizer", "low"});
  CHECK(p.pair.host.has_exited);
}

TEST_CASE("native finalizers: one that fails does not stop the rest, is counted and is in the log") {
  place p;
  handle<thing> a = p.make("a");
  p.says("after", 1);
  REQUIRE(p.context().finalizer([](native_context&) { throw std::runtime_error("broken"); }, 2));
  REQUIRE(p.context().finalizer([](native_context&) { throw 1; }, 3));
  REQUIRE(
      p.context().finalizer(a, [](native_context&, const handle<thing>&) { throw std::runtime_error("died badly"); }));
  p.says(a);
  a = {};
  CHECK(p.pair.objects().live() == 0);
  p.exit();
  CHECK(p.happened == strings{"a", "after"});
  CHECK(p.pair.host.finalizers == 5);
  CHECK(p.pair.host.finalizer_failures == strings{"died badly", "an exception that is no std::exception", "broken"});
  CHECK(p.pair.host.logged
        == strings{"in a finalizer: died badly", "in a finalizer: an exception that is no std::exception",
                   "in a finalizer: broken"});
}

TEST_CASE("native finalizers: run by hand its failure is the caller's") {
  place p;
  native_finalizer f = p.context().finalizer([](native_context&) { throw std::runtime_error("broken"); }, 0).value();
  const result<bool> ran = f.run();
  REQUIRE_FALSE(ran);
  CHECK(ran.error().message == "broken");
  CHECK_FALSE(*f.run());
  p.exit();
  CHECK(p.pair.host.finalizers == 0);
}

TEST_CASE("native finalizers: one made during the run is next by its priority, one cancelled then does not run") {
  place p;
  native_finalizer doomed = p.says("doomed", 2);
  p.says("last", 1);
  REQUIRE(p.context().finalizer(
      [&](native_context&) {
        p.says("made, high", 9);
        p.says("made, low", 0);
        p.says("made, for close", -1);
        CHECK(doomed.cancel());
        CHECK(p.pair.guest().context().make<thing>("garbage"));
      },
      5));
  p.exit();
  CHECK(p.happened == strings{"made, high", "last", "made, low"});
  p.close();
  CHECK(p.happened.back() == "made, for close");
}

TEST_CASE("native finalizers: objects that die during the run take their finalizers out of it") {
  place p;
  handle<thing> a = p.make("a");
  p.says(a, 1);
  p.says("end", 0);
  REQUIRE(p.context().finalizer(
      [&](native_context&) {
        p.happened.push_back("drops a");
        a = {};
        p.happened.push_back("dropped");
      },
      2));
  p.exit();
  CHECK(p.happened == strings{"drops a", "a", "dropped", "end"});
}

TEST_CASE("native finalizers: an object may be brought back to life, its finalizer has run") {
  place p;
  handle<thing> back;
  handle<thing> a = p.make("a");
  REQUIRE(p.context().finalizer(a, [&](native_context&, const handle<thing>& h) { back = h; }));
  a = {};
  REQUIRE(back);
  CHECK(back->name == "a");
  CHECK(p.pair.objects().live() == 1);
  p.says(back); // and may have a new one
  back = {};
  CHECK(p.happened == strings{"a"});
  CHECK(p.pair.objects().live() == 0);
}

TEST_CASE("native finalizers: all of a dying object run, the newest first, unless one before cancelled them") {
  place p;
  handle<thing> a = p.make("a");
  handle<thing> back;
  p.says(a);
  native_finalizer doomed = p.says(a);
  native_finalizer by_hand =
      p.context().finalizer(a, [&](native_context&, const handle<thing>&) { p.happened.push_back("by hand"); }).value();
  REQUIRE(p.context().finalizer(a, [&](native_context&, const handle<thing>& h) {
    back = h;
    CHECK(doomed.cancel());
    CHECK(*by_hand.run());
    p.happened.push_back("newest");
  }));
  a = {};
  CHECK(p.happened == strings{"by hand", "newest", "a"});
  CHECK(back);
}

TEST_CASE("native finalizers: a long chain of objects dies without recursion, each with its finalizer") {
  place p;
  handle<thing> first;
  constexpr int length = 100000;
  int ran = 0;
  for (int i = 0; i < length; ++i) {
    handle<thing> next = p.make("link");
    next->other = first;
    REQUIRE(p.context().finalizer(next, [&ran](native_context&, const handle<thing>&) { ++ran; }));
    first = std::move(next);
  }
  first = {};
  CHECK(ran == length);
  CHECK(p.pair.objects().live() == 0);
}

TEST_CASE("native finalizers: one whose object waits to die cannot be run by hand any more, it runs by itself") {
  place p;
  handle<thing> outer = p.make("outer");
  outer->other = p.make("inner");
  native_finalizer inner = p.says(outer->other);
  // The outer object's finalizer lets the inner one go: it waits behind this one.
  REQUIRE(p.context().finalizer(outer, [&](native_context&, const handle<thing>& h) {
    h->other = {};
    CHECK(p.happened.empty());
    CHECK_FALSE(*inner.run());
  }));
  outer = {};
  CHECK(p.happened == strings{"inner"});
  CHECK(p.pair.objects().live() == 0);
}

TEST_CASE("native finalizers: what cannot have one is refused with a clear error") {
  place p;
  place other;
  const auto ignore = [](native_context&, const handle<thing>&) {};
  const auto refused = p.context().finalizer(handle<thing>(), ignore);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::invalid_argument);
  CHECK(refused.error().message == "finalizer: an object expected, got an empty handle");

  handle<thing> elsewhere = other.make("elsewhere");
  const auto foreign = p.context().finalizer(elsewhere, ignore);
  REQUIRE_FALSE(foreign);
  CHECK(foreign.error().message == "finalizer: an object of this interpreter expected");

  handle<thing> a = p.make("a");
  CHECK(code_of(p.context().finalizer(a, nullptr)) == errc::invalid_argument);
  CHECK(code_of(p.context().finalizer(nullptr, 1)) == errc::invalid_argument);
  CHECK_FALSE(p.context().at_exit(nullptr));

  REQUIRE(p.context().finalizer(a, [&](native_context& c, const handle<thing>& h) {
    const auto again = c.finalizer(h, ignore);
    REQUIRE_FALSE(again);
    CHECK(again.error().message == "finalizer: the object is dying");
    p.happened.push_back("refused");
  }));
  a = {};
  CHECK(p.happened == strings{"refused"});
}

TEST_CASE("native finalizers: during teardown finalizers still run by priority, exit handlers are refused") {
  place p;
  p.exit();
  const result<void> late = p.context().at_exit([](native_context&) {});
  REQUIRE_FALSE(late);
  CHECK(late.error().code == errc::runtime_finalizing);
  REQUIRE(p.context().finalizer(
      [&](native_context&) {
        p.happened.push_back("after the exit handlers");
        p.says("made while closing", -3);
        handle<thing> never = p.make("never");
        p.context().state<handle<thing>>() = never;
        p.says(never);
      },
      1));
  p.close();
  CHECK(p.happened == strings{"after the exit handlers", "made while closing"});
  CHECK(code_of(p.context().finalizer([](native_context&) {}, 1)) == errc::runtime_finalizing);
}

TEST_CASE("native finalizers: nothing runs in an interpreter that was killed") {
  place p;
  handle<thing> a = p.make("a");
  p.context().state<handle<thing>>() = a;
  p.says(a, 1);
  p.says("last", -1);
  a = {};
  p.pair.guest().interrupt(errc::killed);
  p.close();
  CHECK(p.happened.empty());
}

TEST_CASE("native finalizers: a kill stops the run behind the one that it finds at work, at exit and at close") {
  for (const bool at_exit : {true, false}) {
    CAPTURE(at_exit);
    place p;
    const int priority = at_exit ? 1 : -1;
    REQUIRE(p.context().finalizer(
        [&](native_context&) {
          p.happened.push_back("at work");
          p.pair.host.wanted.kill = true; // from another thread, as the shell tells it
        },
        priority));
    p.says("next", priority - 1);
    if (at_exit) {
      REQUIRE(p.context().at_exit([&](native_context&) { p.happened.push_back("handler"); }));
      p.exit();
      CHECK(p.pair.host.has_exited);
      CHECK(p.happened.front() == "handler");
      CHECK(p.happened.size() == 2);
    }
    p.close();
    CHECK(p.happened.back() == "at work");
  }
}

TEST_CASE("native finalizers: from priority 0 on they run while every peer is there, the others behind newer peers") {
  strings happened; // of one worker
  strings noted;
  native_interface offered;
  offered.function("note", [&](const std::string& priority) { noted.push_back(priority); });
  offered.function("prepare", [&](native_context& c, std::uint32_t peer) {
    for (const int priority : {-1, 0, 1})
      CHECK(c.finalizer(
          [&, peer, priority](native_context& again) {
            const auto sent = again.send(interpreter_id{peer}, "note", std::to_string(priority));
            happened.push_back(std::to_string(priority)
                               + (sent ? " sent" : std::string(" ") + name_of(sent.error().code)));
          },
          priority));
  });
  system_config config;
  config.workers = 1;
  config.languages["native"] = native(offered);
  Atoll::system s(config);
  const auto older = s.spawn<native>({.name = "older"});
  const auto newer = s.spawn<native>({.name = "newer"});
  REQUIRE(older->call("prepare", static_cast<std::int64_t>(number(newer->id()))).get());
  const finalization_report r = s.finalize();
  CHECK(fmt::format("{}", fmt::join(happened, ", ")) == "1 sent, 0 sent, -1 interpreter_gone");
  CHECK(noted == strings{"1", "0"});
  CHECK(r.dead_letters == 0);
  CHECK(r.finalizers_run == 3);
  CHECK(r.verdict == finalization_report::verdict_kind::clean);
}
