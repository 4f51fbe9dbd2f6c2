// Two runtimes in one process: they know nothing of each other, and end in any order.
#include <doctest/doctest.h>

#include <atomic>
#include <optional>
#include <thread>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "tests/actors/outside.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using test::code_of;

namespace {

struct box {
  int get() const { return 3; }
};

/// A runtime with an interpreter of each language and a thread that calls both.
class loaded {
public:
  loaded() {
    native_interface offered;
    offered.add(native_class<box>("box").method("get", &box::get)).function("touch", [](int x) { return x; });
    system_config config;
    config.workers = 2;
    config.languages["native"] = native(offered);
    config.languages["lua"] = lua();
    config.log = [](std::string_view) {};
    runtime.emplace(config);
    compiled = *runtime->spawn<native>({.name = "same name"});
    script = *runtime->spawn<lua>({}, code(R"(
      local atoll = require "atoll"
      atoll.every(0.001, function() end)
      return {touch = function(x) return x end, give = function() return atoll.ref({}) end}
    )"));
    caller_ = std::thread([this] {
      while (!over_) {
        note(compiled.call<int>("touch", 1).get());
        note(script.call<int>("touch", 1).get());
        (void)script.call<ref<>>("give");
      }
    });
  }
  ~loaded() {
    over_ = true;
    caller_.join();
  }
  /// As it should end: nothing forced, and from then on it answers that it has ended.
  void end() {
    CHECK(runtime->finalize().verdict != finalization_report::verdict_kind::forced);
    CHECK(code_of(script.call<int>("touch", 1).get()) == errc::runtime_finalized);
    runtime.reset();
    CHECK(unexpected == 0);
  }
  bool works() { return compiled.call<int>("touch", 5).get() == 5 && script.call<int>("touch", 6).get() == 6; }

  std::optional<Atoll::system> runtime;
  interpreter_handle compiled;
  interpreter_handle script;
  std::atomic<int> unexpected{0};

private:
  void note(const result<int>& r) {
    const errc code = code_of(r);
    if (code != errc::ok && code != errc::runtime_finalizing && code != errc::runtime_finalized
        && code != errc::interpreter_gone)
      unexpected = static_cast<int>(code);
  }
  std::atomic<bool> over_{false};
  std::thread caller_;
};

} // namespace

TEST_CASE("two runtimes under load: the one that is left works on, whichever ends first") {
  for (int i = 0; i < 10; ++i) {
    loaded first;
    loaded second;
    loaded& early = i % 2 == 0 ? first : second;
    loaded& late = i % 2 == 0 ? second : first;
    CHECK(early.works());
    early.end();
    CHECK(late.works());
    late.end();
  }
}

TEST_CASE("two runtimes under load end at the same time, each in a thread") {
  for (int i = 0; i < 20; ++i) {
    loaded first;
    loaded second;
    std::thread other([&] { first.end(); });
    second.end();
    other.join();
  }
}

TEST_CASE("a runtime may be destroyed by another thread than the one that made it, which lives on") {
  for (int i = 0; i < 20; ++i) {
    std::optional<loaded> made(std::in_place);
    std::thread([&] { made.reset(); }).join();
  }
}

TEST_CASE("two runtimes: what belongs to one is no value in the other") {
  loaded first;
  loaded second;
  const auto made = first.compiled.make<box>().get();
  REQUIRE(made);
  const auto items = first.runtime->make_channel<int>();
  REQUIRE(items);
  CHECK(code_of(second.compiled.send("touch", *made)) == errc::not_shareable);
  CHECK(code_of(second.compiled.send("touch", *items)) == errc::not_shareable);
  CHECK(second.works());
  CHECK(made->call(&box::get).get() == 3);
}
