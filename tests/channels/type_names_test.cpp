// The names of types as numbers: the same for everybody, and bounded.
#include "channels/type_names.hpp"

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

using namespace Atoll;

TEST_CASE("type names: a name has one number and a number its name, unknown ones are objects") {
  type_names t;
  const type_id account = t.id_of("account");
  CHECK(t.name_of(account) == "account");
  CHECK(t.id_of(std::string("account")) == account);
  CHECK(t.id_of("Account") != account);
  CHECK(t.id_of("object") == object_type);
  CHECK(t.id_of("") == object_type);
  CHECK(t.name_of(object_type) == "object");
  CHECK(t.name_of(type_id{999}) == "object");
}

TEST_CASE("type names: long names are cut, between characters") {
  type_names t;
  CHECK(t.name_of(t.id_of(std::string(1000, 'x'))) == std::string(64, 'x'));
  CHECK(t.id_of(std::string(64, 'x')) == t.id_of(std::string(65, 'x')));
  const std::string accents = "a"
                              "\xC3\xA9";
  std::string name(63, 'x');
  name += accents.substr(1) + "tail";
  CHECK(t.name_of(t.id_of(name)) == std::string(63, 'x'));
  CHECK(t.name_of(t.id_of(std::string(70, '\x80'))).size() == 64);
}

TEST_CASE("type names: when all numbers are taken the rest are objects, and the others stay what they are") {
  type_names t;
  std::vector<type_id> ids;
  for (std::size_t n = 1; n < type_names::count_max; ++n) ids.push_back(t.id_of("t" + std::to_string(n)));
  CHECK(t.name_of(ids.back()) == "t65535");
  CHECK(t.id_of("one more") == object_type);
  CHECK(t.id_of("t1") == ids.front());
  CHECK(t.name_of(ids.front()) == "t1");
}

TEST_CASE("type names: threads that name the same types get the same numbers") {
  type_names t;
  constexpr std::size_t count = 500;
  std::vector<std::vector<type_id>> got(4);
  std::vector<std::thread> threads;
  for (auto& mine : got)
    threads.emplace_back([&t, &mine] {
      for (std::size_t n = 0; n < count; ++n) {
        mine.push_back(t.id_of("t" + std::to_string(n)));
        if (t.name_of(mine.back()) != "t" + std::to_string(n)) mine.clear();
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(got[0].size() == count);
  for (const auto& mine : got) CHECK(mine == got[0]);
}
