#include "runtime/code.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace Atoll;

namespace {

struct tool_data {
  std::vector<int>* log;
  int number;
  std::unique_ptr<code_object> also_drops;
};

void free_tool_data(void* p) {
  std::unique_ptr<tool_data> d(static_cast<tool_data*>(p));
  d->log->push_back(d->number);
}

void* make(std::vector<int>& log, int n, std::unique_ptr<code_object> drops = nullptr) {
  return new tool_data{&log, n, std::move(drops)};
}

void* extra_of(const code_object& code, code_object::index i) {
  void* extra = &extra;
  CHECK(code.get_extra(i, extra));
  return extra;
}

} // namespace

TEST_CASE("code: 255 indices are given out, the next is an error and changes nothing") {
  code_extra_registry r;
  for (std::size_t i = 0; i < code_extra_registry::max_indices; ++i) CHECK(r.request_code_extra_index(nullptr) == i);
  const auto one_more = r.request_code_extra_index(nullptr);
  REQUIRE(!one_more);
  CHECK(one_more.error().code == errc::invalid_argument);
  CHECK(r.indices() == 255);
  code_object code(r);
  int x = 0;
  CHECK(code.set_extra(r, 254, &x));
  CHECK_FALSE(code.set_extra(r, 255, &x));
  CHECK(extra_of(code, 254) == &x);
}

TEST_CASE("code: an index that was not requested cannot be set, and reads as null") {
  code_extra_registry r;
  code_object code(r);
  int x = 0;
  const auto set = code.set_extra(r, 0, &x);
  REQUIRE(!set);
  CHECK(set.error().code == errc::invalid_argument);
  CHECK(extra_of(code, 0) == nullptr);
  CHECK(extra_of(code, 200) == nullptr);
  // Requested later, it serves code that was there before.
  REQUIRE(r.request_code_extra_index(nullptr));
  CHECK(extra_of(code, 0) == nullptr);
  CHECK(code.set_extra(r, 0, &x));
  CHECK(extra_of(code, 0) == &x);
}

TEST_CASE("code: an index of one interpreter means nothing in another") {
  code_extra_registry a;
  code_extra_registry b;
  REQUIRE(a.request_code_extra_index(nullptr));
  code_object in_b(b);
  CHECK_FALSE(in_b.set_extra(b, 0, &a));
}

TEST_CASE("code: overwriting frees the old value first, destruction frees every slot") {
  std::vector<int> log;
  code_extra_registry r;
  const auto i = r.request_code_extra_index(free_tool_data).value();
  const auto j = r.request_code_extra_index(free_tool_data).value();
  const auto plain = r.request_code_extra_index(nullptr).value();
  {
    code_object code(r);
    int unowned = 0;
    CHECK(code.set_extra(r, plain, &unowned));
    CHECK(code.set_extra(r, i, make(log, 1)));
    CHECK(code.set_extra(r, i, make(log, 2)));
    CHECK(log == std::vector{1});
    CHECK(code.set_extra(r, j, make(log, 3)));
    CHECK(code.set_extra(r, j, nullptr));
    CHECK(log == std::vector{1, 3});
    CHECK(code.set_extra(r, j, make(log, 4)));
  }
  std::sort(log.begin(), log.end());
  CHECK(log == std::vector{1, 2, 3, 4});
}

TEST_CASE("code: a value may look at its slot while it is freed, and finds it empty") {
  struct probe {
    code_object* code;
    void* seen;
  };
  code_extra_registry r;
  const auto i = r.request_code_extra_index([](void* p) {
                    auto* self = static_cast<probe*>(p);
                    self->seen = self;
                    CHECK(self->code->get_extra(0, self->seen));
                  }).value();
  code_object code(r);
  probe first{&code, nullptr};
  CHECK(code.set_extra(r, i, &first));
  CHECK(code.set_extra(r, i, nullptr));
  CHECK(first.seen == nullptr);
}

TEST_CASE("code: a hundred thousand code objects that keep each other die without recursion, each once") {
  std::vector<int> log;
  code_extra_registry r;
  const auto i = r.request_code_extra_index(free_tool_data).value();
  auto head = std::make_unique<code_object>(r);
  constexpr int n = 100'000;
  for (int k = 0; k < n; ++k) {
    auto next = std::make_unique<code_object>(r);
    CHECK(next->set_extra(r, i, make(log, k, std::move(head))));
    head = std::move(next);
  }
  head.reset();
  REQUIRE(log.size() == n);
  CHECK(log.front() == n - 1);
  CHECK(log.back() == 0);
}

TEST_CASE("code: a set with another interpreter's registry is an error and changes nothing") {
  std::vector<int> log;
  code_extra_registry a;
  code_extra_registry b;
  const auto i = a.request_code_extra_index(free_tool_data).value();
  REQUIRE(b.request_code_extra_index(free_tool_data).value() == i);
  code_object in_a(a);
  REQUIRE(in_a.set_extra(a, i, make(log, 1)));
  int x = 0;
  const auto set = in_a.set_extra(b, i, &x);
  REQUIRE(!set);
  CHECK(set.error().code == errc::invalid_argument);
  CHECK(set.error().message.find("another interpreter's") != std::string::npos);
  CHECK(log.empty());
  CHECK(static_cast<tool_data*>(extra_of(in_a, i))->number == 1);
}

TEST_CASE("code: an unregistered index takes no value, keeps those it has, and is given out when the last is gone") {
  std::vector<int> log;
  code_extra_registry r;
  const auto kept = r.request_code_extra_index(nullptr).value();
  const auto i = r.request_code_extra_index(free_tool_data).value();
  auto code = std::make_unique<code_object>(r);
  REQUIRE(code->set_extra(r, i, make(log, 1)));
  REQUIRE(r.unregister_code_extra_index(i));
  CHECK_FALSE(r.unregister_code_extra_index(i));
  CHECK_FALSE(r.unregister_code_extra_index(77));
  CHECK_FALSE(code->set_extra(r, i, nullptr));
  CHECK(static_cast<tool_data*>(extra_of(*code, i))->number == 1);
  CHECK(r.indices() == 2);
  CHECK(r.request_code_extra_index(nullptr).value() == 2); // not i: a value is left
  code.reset();
  CHECK(log == std::vector{1});
  CHECK(r.indices() == 2);
  CHECK(r.request_code_extra_index(nullptr).value() == i);
  REQUIRE(r.unregister_code_extra_index(kept)); // without values: at once
  CHECK(r.request_code_extra_index(nullptr).value() == kept);
}

TEST_CASE("code: of 255 indices one that was unregistered may be requested again") {
  code_extra_registry r;
  for (std::size_t i = 0; i < code_extra_registry::max_indices; ++i) REQUIRE(r.request_code_extra_index(nullptr));
  REQUIRE(r.unregister_code_extra_index(100));
  CHECK(r.request_code_extra_index(nullptr).value() == 100);
  CHECK_FALSE(r.request_code_extra_index(nullptr));
}

TEST_CASE("code: a free function that throws is told of, and the others run, then and later") {
  static int freed = 0;
  freed = 0;
  code_extra_registry r;
  std::vector<std::string> told;
  r.on_failure = [&](std::string_view what) { told.emplace_back(what); };
  const auto bad = r.request_code_extra_index([](void*) { throw std::runtime_error("no"); }).value();
  const auto worse = r.request_code_extra_index([](void*) { throw 5; }).value();
  const auto good = r.request_code_extra_index([](void*) { ++freed; }).value();
  int x = 0;
  for (int round = 1; round <= 2; ++round) {
    code_object code(r);
    CHECK(code.set_extra(r, bad, &x));
    CHECK(code.set_extra(r, good, &x));
    CHECK(code.set_extra(r, bad, &x)); // throws for the old value
    CHECK(code.set_extra(r, worse, &x));
  }
  CHECK(freed == 2);
  CHECK(told.size() == 6);
  CHECK(told.front() == "no");
  CHECK(r.values() == 0);
}

TEST_CASE("code: a free function may set a slot of other code, and request an index") {
  static code_extra_registry* registry = nullptr;
  static code_object* other = nullptr;
  static code_extra_registry::index counter;
  code_extra_registry r;
  registry = &r;
  code_object survivor(r);
  other = &survivor;
  counter = r.request_code_extra_index(nullptr).value();
  const auto i = r.request_code_extra_index([](void* p) {
                    CHECK(registry->request_code_extra_index(nullptr));
                    CHECK(other->set_extra(*registry, counter, p));
                  }).value();
  int x = 0;
  {
    code_object code(r);
    CHECK(code.set_extra(r, i, &x));
  }
  CHECK(extra_of(survivor, counter) == &x);
  CHECK(r.indices() == 3);
}
