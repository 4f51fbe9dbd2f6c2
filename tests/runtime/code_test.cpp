#include "runtime/code.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
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
  CHECK(code.set_extra(254, &x));
  CHECK_FALSE(code.set_extra(255, &x));
  CHECK(extra_of(code, 254) == &x);
}

TEST_CASE("code: an index that was not requested cannot be set, and reads as null") {
  code_extra_registry r;
  code_object code(r);
  int x = 0;
  const auto set = code.set_extra(0, &x);
  REQUIRE(!set);
  CHECK(set.error().code == errc::invalid_argument);
  CHECK(extra_of(code, 0) == nullptr);
  CHECK(extra_of(code, 200) == nullptr);
  // Requested later, it serves code that was there before.
  REQUIRE(r.request_code_extra_index(nullptr));
  CHECK(extra_of(code, 0) == nullptr);
  CHECK(code.set_extra(0, &x));
  CHECK(extra_of(code, 0) == &x);
}

TEST_CASE("code: an index of one interpreter means nothing in another") {
  code_extra_registry a;
  code_extra_registry b;
  REQUIRE(a.request_code_extra_index(nullptr));
  code_object in_b(b);
  CHECK_FALSE(in_b.set_extra(0, &a));
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
    CHECK(code.set_extra(plain, &unowned));
    CHECK(code.set_extra(i, make(log, 1)));
    CHECK(code.set_extra(i, make(log, 2)));
    CHECK(log == std::vector{1});
    CHECK(code.set_extra(j, make(log, 3)));
    CHECK(code.set_extra(j, nullptr));
    CHECK(log == std::vector{1, 3});
    CHECK(code.set_extra(j, make(log, 4)));
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
  CHECK(code.set_extra(i, &first));
  CHECK(code.set_extra(i, nullptr));
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
    CHECK(next->set_extra(i, make(log, k, std::move(head))));
    head = std::move(next);
  }
  head.reset();
  REQUIRE(log.size() == n);
  CHECK(log.front() == n - 1);
  CHECK(log.back() == 0);
}
