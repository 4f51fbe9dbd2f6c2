// Shared memory in whole runtimes: host threads, native and Lua interpreters, and the end of any of them.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "actors/core.hpp"
#include "tests/actors/outside.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::code_of;
using test::soon;

namespace {

native_interface keeper() {
  struct shelf {
    std::vector<buffer> kept;
  };
  native_interface f;
  f.function("make", [](native_context& c, std::size_t n) { return c.make_buffer(n); });
  f.function("make_and_move", [](native_context& c, std::size_t n) {
    return c.make_buffer(n).and_then([](const buffer& b) { return b.hand_over(); });
  });
  f.function("keep", [](native_context& c, buffer b) { c.state<shelf>().kept.push_back(std::move(b)); });
  f.function("drop", [](native_context& c) { c.state<shelf>().kept.clear(); });
  f.function("upper", [](const buffer& b) -> result<void> {
    auto view = b.edit();
    if (!view) return tl::unexpected<error>(view.error());
    for (char* at = view->data(); at != view->data() + view->size(); ++at) *at = static_cast<char>(std::toupper(*at));
    return {};
  });
  f.function("count", [](int n) { return n; });
  return f;
}

struct runtime_under_test {
  explicit runtime_under_test(std::size_t memory = 0) {
    config.workers = 2;
    config.memory = memory;
    config.log = [](std::string_view) {};
    config.languages["native"] = native(keeper());
    config.languages["lua"] = lua();
    sys.emplace(config);
  }
  interpreter_handle spawn_native(std::string name) { return sys->spawn<native>({.name = std::move(name)}).value(); }
  buffer_space& space() { return *sys->inside().where().buffers(); }
  /// Everything has come back.
  bool none_left() {
    return soon([&] { return space().blocks() == 0; });
  }

  system_config config;
  std::optional<Atoll::system> sys;
};

std::string text_of(const buffer& b) {
  const auto view = b.look();
  return view ? std::string(view->bytes()) : name_of(view.error().code);
}

void write(const buffer& b, std::string_view text) {
  const auto view = b.edit();
  REQUIRE(view);
  std::memcpy(view->data(), text.data(), text.size());
}

double heap_bytes(const interpreter_handle& w) { return w.stats().get().value().at("heap_bytes"); }

} // namespace

TEST_CASE("a host thread and a native interpreter see the same bytes, whoever owns them") {
  runtime_under_test t;
  const interpreter_handle n = t.spawn_native("n");
  {
    const buffer mine = t.sys->make_buffer(5).value();
    write(mine, "hello");
    CHECK(n.call<void>("upper", mine).get());
    CHECK(text_of(mine) == "HELLO");
    CHECK(code_of(n.call<void>("upper", mine.read_only()).get()) == errc::read_only);
    CHECK(mine.describe() == "buffer 1 of the host program: 5 bytes");

    const buffer theirs = n.call<buffer>("make", 3).get().value();
    write(theirs, "abc");
    CHECK(n.call<void>("upper", theirs.slice(1, 2).value()).get());
    CHECK(text_of(theirs) == "aBC");
    CHECK(theirs.describe() == "buffer 2 of interpreter 2 'n': 3 bytes");
  }
  CHECK(t.none_left());
  CHECK(t.sys->finalize().verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("a native function that wants something else says that it got a buffer") {
  runtime_under_test t;
  const buffer b = t.sys->make_buffer(5).value();
  const auto wrong = t.spawn_native("n").call<int>("count", b).get();
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().message.find("got buffer <buffer 1 of the host program: 5 bytes>") != std::string::npos);
}

TEST_CASE("the last handle of a host thread gives the block back to its owner's heap") {
  runtime_under_test t;
  const interpreter_handle n = t.spawn_native("n");
  buffer b = n.call<buffer>("make", 1 << 20).get().value();
  CHECK(heap_bytes(n) >= 1 << 20);
  std::thread([last = std::exchange(b, {})] {}).join();
  CHECK(soon([&] { return heap_bytes(n) < 1 << 20; }));
  CHECK(t.space().blocks() == 0);
}

TEST_CASE("a buffer moves from the host program to an interpreter and back") {
  runtime_under_test t;
  const interpreter_handle n = t.spawn_native("n");
  const buffer mine = t.sys->make_buffer(1 << 20).value();
  CHECK(n.call<void>("keep", mine.hand_over().value()).get());
  CHECK(text_of(mine) == "buffer_moved");
  CHECK(code_of(n.call<void>("keep", mine).get()) == errc::buffer_moved);
  CHECK(heap_bytes(n) >= 1 << 20);
  CHECK(n.call<void>("drop").get());
  CHECK(soon([&] { return heap_bytes(n) < 1 << 20; }));

  const buffer given = n.call<buffer>("make_and_move", 4).get().value();
  CHECK(given.describe() == "buffer 2 of the host program: 4 bytes");
  n.kill();
  CHECK(soon([&] { return n.state() == run_state::gone; }));
  write(given, "mine");
  CHECK(text_of(given) == "mine");
}

TEST_CASE("an interpreter's limit refuses a block that moves in, and the host program keeps it") {
  runtime_under_test t(1 << 20);
  const interpreter_handle n = t.spawn_native("n");
  const buffer mine = t.sys->make_buffer(2 << 20).value();
  CHECK(code_of(n.call<void>("keep", mine.hand_over().value()).get()) == errc::out_of_memory);
  write(mine, "kept");
  CHECK(text_of(mine.slice(0, 4).value()) == "kept");
  CHECK(code_of(n.call<buffer>("make", 2 << 20).get()) == errc::out_of_memory);
  CHECK(n.call<void>("keep", mine).get());
}

TEST_CASE("who holds a buffer of an interpreter that ended hears whose it was") {
  runtime_under_test t;
  const interpreter_handle n = t.spawn_native("n");
  const buffer b = n.call<buffer>("make", 4).get().value();
  n.kill();
  CHECK(soon([&] { return !b.look(); }));
  CHECK(b.look().error().code == errc::interpreter_gone);
  CHECK(b.look().error().message == "interpreter 2 'n' is gone, and buffer 1 with it");
}

TEST_CASE("buffers that are held, kept or on their way when interpreters are killed come back") {
  runtime_under_test t;
  for (int round = 0; round < 30; ++round) {
    const interpreter_handle n = t.spawn_native({});
    const interpreter_handle l =
        t.sys->spawn<lua>({}, code("local kept = {}; return {keep = function(b) kept[#kept + 1] = b end}")).value();
    const buffer mine = t.sys->make_buffer(64).value();
    const buffer moved = t.sys->make_buffer(64).value();
    for (int i = 0; i < 10; ++i) {
      CHECK(n.send("keep", mine));
      CHECK(l.send("keep", mine.slice(1, 2).value()));
    }
    CHECK((round % 2 == 0 ? n : l).send("keep", moved.hand_over().value()));
    n.kill();
    l.kill();
  }
  CHECK(t.none_left());
  CHECK(t.sys->finalize().verdict == finalization_report::verdict_kind::clean);
}

TEST_CASE("an owner is killed while host threads read its buffer, and each copy is whole or refused") {
  runtime_under_test t;
  for (int round = 0; round < 20; ++round) {
    const interpreter_handle n = t.spawn_native({});
    const buffer b = n.call<buffer>("make", 100000).get().value();
    write(b, std::string(100000, 'x'));
    std::atomic<int> copies{0};
    std::atomic<int> broken{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < 2; ++i)
      readers.emplace_back([&, mine = b] {
        while (const auto view = mine.look()) {
          if (std::string(view->bytes()) != std::string(100000, 'x')) ++broken;
          ++copies;
        }
      });
    while (copies.load() < 4) std::this_thread::yield();
    n.kill();
    for (std::thread& r : readers) r.join();
    CHECK(broken.load() == 0);
  }
  CHECK(t.none_left());
}

TEST_CASE("at finalization everybody's blocks are released, and handles that outlive the runtime say so") {
  buffer mine;
  buffer theirs;
  {
    runtime_under_test t;
    const interpreter_handle n = t.spawn_native("n");
    const interpreter_handle l =
        t.sys
            ->spawn<lua>({.name = "l"}, code("local atoll = require 'atoll'; local kept = {atoll.buffer(100)}\n"
                                             "return {keep = function(b) kept[#kept + 1] = b; return kept[1] end}"))
            .value();
    mine = t.sys->make_buffer(4).value();
    theirs = n.call<buffer>("make", 4).get().value();
    const buffer lua_owned = l.call<buffer>("keep", mine).get().value();
    CHECK(n.call<void>("keep", lua_owned).get());
    CHECK(l.call<buffer>("keep", theirs).get());
    CHECK(n.call<void>("keep", mine).get());
    CHECK(t.sys->finalize().verdict == finalization_report::verdict_kind::clean);
    CHECK(text_of(theirs) == "interpreter_gone");
    CHECK(text_of(mine) == "runtime_finalized");
    CHECK(mine.look().error().message == "the runtime has been finalized, and buffer 2 of the host program with it");
    CHECK(code_of(t.sys->make_buffer(1)) == errc::runtime_finalized);
    CHECK(t.space().in_flight() == 0);
    CHECK(t.space().blocks() == 3); // by the three handles here
  }
  CHECK(text_of(mine) == "runtime_finalized");
}

TEST_CASE("arguments of an interpreter that has no memory to start come back") {
  runtime_under_test t;
  const buffer mine = t.sys->make_buffer(64).value();
  CHECK_FALSE(t.sys->spawn<lua>({.memory = 1000}, code("return {}"), mine, mine.hand_over().value()));
  CHECK(soon([&] { return t.space().in_flight() == 0; }));
  CHECK(text_of(mine) == std::string(64, '\0'));
}
