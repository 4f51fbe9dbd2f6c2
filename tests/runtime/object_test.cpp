#include "runtime/object.hpp"

#include <doctest/doctest.h>

#include <stdexcept>
#include <vector>

using namespace Atoll;

namespace {

struct counted {
  explicit counted(int& n) : alive(n) { ++alive; }
  ~counted() { --alive; }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  int& alive;
  handle<counted> next;
};

} // namespace

TEST_CASE("object: the last handle destroys it and gives its memory back") {
  heap memory;
  object_space space(memory);
  int alive = 0;
  {
    handle<counted> a(space.create<counted>(alive));
    handle<counted> b = a;
    handle<counted> c = std::move(a);
    CHECK_FALSE(a);
    CHECK(b == c);
    b = {};
    CHECK(alive == 1);
    CHECK(space.live() == 1);
    const handle<counted>& same = c;
    c = same;
    CHECK(alive == 1);
  }
  CHECK(alive == 0);
  CHECK(space.live() == 0);
  CHECK(memory.bytes_in_use() == 0);
}

TEST_CASE("object: a list of a million nodes is freed without recursion") {
  heap memory;
  object_space space(memory);
  int alive = 0;
  handle<counted> head;
  for (int i = 0; i < 1'000'000; ++i) {
    handle<counted> node(space.create<counted>(alive));
    node->next = std::move(head);
    head = std::move(node);
  }
  CHECK(alive == 1'000'000);
  head = {};
  CHECK(alive == 0);
  CHECK(memory.bytes_in_use() == 0);
}

TEST_CASE("object: close destroys what is left once, circles and a long list included") {
  heap memory;
  int alive = 0;
  object_space space(memory);
  {
    handle<counted> a(space.create<counted>(alive));
    handle<counted> b(space.create<counted>(alive));
    a->next = b;
    b->next = a;
    handle<counted> self(space.create<counted>(alive));
    self->next = self;
    for (int i = 0; i < 100'000; ++i) {
      handle<counted> node(space.create<counted>(alive));
      node->next = std::move(a->next);
      a->next = std::move(node);
    }
  }
  CHECK(alive == 100'003);
  space.close();
  CHECK(alive == 0);
  CHECK(space.live() == 0);
  CHECK(memory.bytes_in_use() == 0);
  space.close();
}

TEST_CASE("object: an object knows its type, a handle of another type stays empty") {
  heap memory;
  object_space space(memory);
  handle<int> i(space.create<int>(7));
  CHECK(content_of<int>(i.header()) != nullptr);
  CHECK(content_of<long>(i.header()) == nullptr);
  CHECK_FALSE(handle<long>::of(i.header()));
  CHECK(handle<int>::of(object_of(word_of(i.header()))) == i);
  CHECK(i.header().cls->name == "object");
  space.class_of<int>("number");
  CHECK(i.header().cls->name == "number");
}

TEST_CASE("object: a constructor that throws leaves nothing behind") {
  struct thrower {
    thrower() { throw std::runtime_error("no"); }
  };
  heap memory;
  object_space space(memory);
  CHECK_THROWS_AS(space.create<thrower>(), std::runtime_error);
  CHECK(space.live() == 0);
  CHECK(memory.bytes_in_use() == 0);
}

TEST_CASE("object: over the heap's limit creation throws bad_alloc and changes nothing") {
  heap memory(4096);
  object_space space(memory);
  int alive = 0;
  std::vector<handle<counted>> all;
  CHECK_THROWS_AS(for (;;) all.emplace_back(space.create<counted>(alive)), std::bad_alloc);
  CHECK(static_cast<std::size_t>(alive) == all.size());
  all.pop_back();
  CHECK_NOTHROW(all.emplace_back(space.create<counted>(alive)));
  all.clear();
  CHECK(memory.bytes_in_use() == 0);
}
