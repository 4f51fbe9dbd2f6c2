#include "runtime/value.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "runtime/value_cast.hpp"
#include "runtime/value_codec.hpp"
#include "tests/runtime/random_values.hpp"
#include "tests/runtime/wire_buffer.hpp"
#include "tests/seeds.hpp"

using namespace Atoll;
using Atoll::testing::buffer_value;
using Atoll::testing::number_codec;
using Atoll::testing::number_holder;
using Atoll::testing::random_graph;
using Atoll::testing::seeds;
using Atoll::testing::wire_buffer;

namespace {

table list(std::initializer_list<value> items) {
  table t;
  for (const value& v : items) t.append(v);
  return t;
}

value round_trip(const value& v) {
  number_codec codec;
  wire_buffer b;
  REQUIRE(encode_values(b, codec, std::span(&v, 1)));
  result<std::vector<value>> back = decode_values(b.reader(), codec);
  REQUIRE(back);
  REQUIRE(back->size() == 1);
  return back->front();
}

table nested(int depth) {
  table outer;
  table t = outer;
  for (int i = 1; i < depth; ++i) {
    table inner = outer.sibling();
    t.append(inner);
    t = inner;
  }
  return outer;
}

} // namespace

// -- values and tables ---------------------------------------------------------------------------------------------------

TEST_CASE("value: C++ types become the kind one expects") {
  CHECK(value().is_nil());
  CHECK(value(true).type() == value::kind::boolean);
  CHECK(value(1).type() == value::kind::integer);
  CHECK(value(std::uint8_t{200}) == value(200));
  CHECK(value(1.0f).type() == value::kind::number);
  CHECK(value("text").type() == value::kind::string);
  CHECK(value(std::string_view("a\0b", 3)).if_string()->size() == 3);
  CHECK(value(std::numeric_limits<std::uint64_t>::max()).type() == value::kind::number);
}

TEST_CASE("value: kinds are not mixed by equality, and NaN equals its copy") {
  CHECK_FALSE(value(1) == value(1.0));
  CHECK_FALSE(value() == value(false));
  CHECK(value(std::nan("")) == value(std::nan("")));
  CHECK_FALSE(value("a") == value("b"));
}

TEST_CASE("value: copies of a table name the same table, siblings do not keep each other alive") {
  table a;
  table b = a.sibling();
  a.append(b);
  b.append(a);
  table copy = a;
  copy.append(3);
  CHECK(a.items().size() == 2);
  CHECK(copy.same(a));
  // What is read out of a table is a handle of its own: the rest may go.
  value inner = a.items().front();
  a = b = copy = table();
  REQUIRE(inner.if_table() != nullptr);
  CHECK(inner.if_table()->items().front().if_table()->items().size() == 2);
}

TEST_CASE("value: a table that contains itself dies with its last handle") {
  number_codec codec;
  {
    table t;
    t.append(t);
    t.set("me", t);
    t.append(codec.make(1));
    CHECK(codec.alive == 1);
  }
  CHECK(codec.alive == 0);
}

TEST_CASE("value: clear breaks a cycle through tables of different pools") {
  number_codec codec;
  {
    table a;
    table b;
    a.append(b);
    b.append(a);
    b.append(codec.make(1));
    a.clear();
  }
  CHECK(codec.alive == 0);
}

TEST_CASE("value: set replaces, and ignores keys no table can have") {
  table t;
  t.set("k", 1);
  t.set("k", 2);
  t.set(value(), 3);
  t.set(std::nan(""), 4);
  CHECK(t.size() == 1);
  CHECK(t.get("k") == value(2));
  CHECK(t.get("other").is_nil());
}

TEST_CASE("value: a chain of a million tables dies without recursion") {
  table head;
  for (int i = 0; i < 1'000'000; ++i) {
    table next;
    next.append(std::move(head));
    head = std::move(next);
  }
  head = table();
}

TEST_CASE("value: equality does not mind the order of pairs") {
  table a;
  table b;
  for (int i = 0; i < 50; ++i) {
    a.set(i, i * 2);
    b.set(49 - i, (49 - i) * 2);
  }
  CHECK(value(a) == value(b));
  b.set(7, "other");
  CHECK_FALSE(value(a) == value(b));
}

TEST_CASE("value: equality unrolls cycles") {
  table one;
  one.append(one);
  table two;
  table other = two.sibling();
  two.append(other);
  other.append(two);
  CHECK(value(one) == value(two));
  other.append(1);
  CHECK_FALSE(value(one) == value(two));
}

TEST_CASE("value: equality and text of tables that share much stay small") {
  table a;
  for (int i = 0; i < 100; ++i) {
    table next = a.sibling();
    next.append(a);
    next.append(a);
    a = next;
  }
  CHECK(value(a) == round_trip(a));
  CHECK(to_string(a).size() < 1000);
}

TEST_CASE("value: text shows what there is") {
  table t = list({1, 2.0, "a\n\"", true, value()});
  t.set("self", t);
  CHECK(to_string(t) == R"({1, 2.0, "a\x0a\"", true, nil, ["self"] = <table 1>})");
  CHECK(to_string(error{errc::timeout, "late", {}, {}, {}, {}}) == "<timeout: late>");
  CHECK(to_string(interpreter_id{4}) == "<interpreter 4>");
  CHECK(to_string(std::string(100, 'x')).ends_with("... (100 bytes)"));
}

// -- encoding ------------------------------------------------------------------------------------------------------------

TEST_CASE("codec: scalars come back as they went") {
  for (const value& v :
       {value(), value(false), value(true), value(-33), value(96), value(std::numeric_limits<std::int64_t>::min()),
        value(-0.0), value(std::numeric_limits<double>::infinity()), value(""), value(std::string(64, '\0')),
        value(interpreter_id{9})})
    CHECK(round_trip(v) == v);
  CHECK(std::signbit(*round_trip(-0.0).if_number()));
  const value e = round_trip(error{errc::killed, "m", "t", interpreter_id{2}, "n", {}});
  REQUIRE(e.if_error() != nullptr);
  CHECK(e.if_error()->traceback == "t");
}

TEST_CASE("codec: tables that are shared stay shared, over all values of a message") {
  number_codec codec;
  table shared = list({1});
  const std::vector<value> values{list({shared, shared}), shared};
  wire_buffer b;
  REQUIRE(encode_values(b, codec, values));
  const auto back = decode_values(b.reader(), codec);
  REQUIRE(back);
  const table& pair = *(*back)[0].if_table();
  CHECK(pair.items()[0].if_table()->same(*pair.items()[1].if_table()));
  CHECK(pair.items()[0].if_table()->same(*(*back)[1].if_table()));
}

TEST_CASE("codec: a packed object is a table with a class, stays one, and is shared as one") {
  number_codec codec;
  table packed = list({1, value(), codec.make(2)});
  packed.set_packed_class("vector");
  const std::vector<value> values{list({packed}), packed};
  wire_buffer b;
  REQUIRE(encode_values(b, codec, values));
  const auto back = decode_values(b.reader(), codec);
  REQUIRE(back);
  CHECK(*back == values);
  const table& inner = *(*back)[0].if_table()->items()[0].if_table();
  CHECK(inner.packed_class() == "vector");
  CHECK(inner.same(*(*back)[1].if_table()));
  CHECK(value(packed) != value(list({1, value(), codec.make(2)})));
  table numbers = list({1, 2});
  numbers.set_packed_class("pair");
  CHECK(to_string(numbers) == "pair{1, 2}");
}

TEST_CASE("codec: a packed object cannot have pairs, nor contain itself or what contains it") {
  number_codec codec;
  const auto complaint = [&](const table& t) {
    wire_buffer b;
    const value v = t;
    const auto put = encode_values(b, codec, std::span(&v, 1));
    return put ? std::string() : put.error().message;
  };
  table packed;
  packed.set_packed_class("box");
  packed.set("k", 1);
  CHECK(complaint(packed) == "not shareable: a packed object has items alone, no pairs");
  packed.clear();
  table inside = packed.sibling();
  inside.append(inside);
  packed.append(inside);
  packed.append(inside);
  CHECK(complaint(packed).empty());
  inside.set("back", packed);
  CHECK(complaint(packed)
        == "not shareable: (value 1 of class 'box').back: leads back to what contains its packed object");
  packed.clear();
  table outer = packed.sibling();
  outer.append(packed);
  packed.append(outer);
  CHECK(complaint(outer)
        == "not shareable: [1] (value 1 of class 'box'): leads back to what contains its packed object");
}

TEST_CASE("codec: what cannot cross is named inside keys and packed objects too") {
  number_codec codec;
  table packed = list({1, reference()});
  packed.set_packed_class("box");
  table t;
  t.set(list({packed}), 1);
  wire_buffer b;
  const value v = list({0, t});
  const auto put = encode_values(b, codec, std::span(&v, 1));
  REQUIRE(!put);
  CHECK(put.error().message.find("not shareable: [2] (a key)[1] (value 2 of class 'box'): a reference") == 0);
}

TEST_CASE("codec: a message over the size limit is refused by an error that names it") {
  number_codec codec;
  wire_buffer b;
  b.limit(1000);
  const value v = list({std::string(600, 'x'), std::string(600, 'y')});
  const auto put = encode_values(b, codec, std::span(&v, 1));
  REQUIRE(!put);
  CHECK(put.error().code == errc::not_shareable);
  CHECK(put.error().message.find("larger than 1000 bytes") != std::string::npos);
}

TEST_CASE("codec: strings of no bytes and of 64 MiB, and a million entries, cross whole") {
  std::string big(std::size_t{64} << 20U, 'x');
  big.back() = '\0';
  table wide;
  for (int i = 0; i < 1'000'000; ++i) wide.append(i);
  wide.append(big);
  wide.append("");
  const value back = round_trip(wide);
  REQUIRE(back.if_table() != nullptr);
  const auto& items = back.if_table()->items();
  REQUIRE(items.size() == wide.items().size());
  CHECK(*items[999'999].if_integer() == 999'999);
  CHECK(*items[1'000'000].if_string() == big);
  CHECK(items[1'000'001].if_string()->empty());
}

TEST_CASE("codec: references pass through the codec and die with the values") {
  number_codec codec;
  wire_buffer b;
  {
    const value v = list({codec.make(1), codec.make(2)});
    REQUIRE(encode_values(b, codec, std::span(&v, 1)));
    const auto back = decode_values(b.reader(), codec);
    REQUIRE(back);
    CHECK(back->front() == v);
    CHECK(codec.alive == 4);
  }
  CHECK(codec.alive == 0);
}

TEST_CASE("codec: a reference whose object is gone reads as nil, as a key it takes its value along") {
  number_codec codec;
  wire_buffer b;
  const wire_ref gone{{interpreter_id{2}, 1, 0}, 1, {}};
  b.put_tag(wire_tag::table);
  b.put_u32(1);
  b.put_u32(1);
  b.put_reference(gone);
  b.put_reference(gone);
  b.put_int(3);
  const auto back = decode_values(b.reader(), codec);
  REQUIRE(back);
  CHECK(back->front() == value(list({value()})));
}

TEST_CASE("codec: what cannot cross is refused with the path to it") {
  number_codec codec;
  wire_buffer b;
  table config;
  config.set("on_click", list({1, reference()}));
  const value v = list({config});
  const auto put = encode_values(b, codec, std::span(&v, 1));
  REQUIRE(!put);
  CHECK(put.error().code == errc::not_shareable);
  CHECK(put.error().message.find("not shareable: [1].on_click[2]: ") == 0);
}

TEST_CASE("codec: without memory the message fails, whatever it was") {
  number_codec codec;
  const value v = list({std::string(100, 'x'), 1, list({2})});
  wire_buffer whole;
  REQUIRE(encode_values(whole, codec, std::span(&v, 1)));
  for (std::size_t limit = 0; limit < whole.size(); ++limit) {
    wire_buffer b(limit);
    const auto put = encode_values(b, codec, std::span(&v, 1));
    REQUIRE(!put);
    CHECK(put.error().code == errc::out_of_memory);
  }
}

TEST_CASE("codec: tables nest to the limit and not beyond, on both sides") {
  number_codec codec;
  CHECK(round_trip(nested(wire_depth_max)) == value(nested(wire_depth_max)));
  wire_buffer refused;
  const value deep = nested(wire_depth_max + 1);
  const auto put = encode_values(refused, codec, std::span(&deep, 1));
  REQUIRE(!put);
  CHECK(put.error().code == errc::not_shareable);

  wire_buffer b;
  for (int i = 0; i <= wire_depth_max; ++i) {
    b.put_tag(wire_tag::table);
    b.put_u32(1);
    b.put_u32(0);
  }
  b.put_nil();
  const auto back = decode_values(b.reader(), codec);
  REQUIRE(!back);
  CHECK(back.error().code == errc::bad_message);
}

TEST_CASE("codec: a buffer crosses as itself, and one that cannot says why, with its code and its path") {
  number_codec codec;
  wire_buffer b;
  const std::vector<value> sent = {buffer_value(3), list({buffer_value(4), 5})};
  CHECK(encode_values(b, codec, sent));
  const auto back = decode_values(b.reader(), codec);
  REQUIRE(back);
  CHECK(*back == sent);
  CHECK_FALSE((*back)[0] == buffer_value(4));
  CHECK(to_string(sent[1]) == "{<buffer 4>, 5}");

  wire_buffer refused;
  const auto put = encode_values(refused, codec, std::vector<value>{list({1, buffer_value(13)})});
  REQUIRE(!put);
  CHECK(put.error().code == errc::buffer_moved);
  CHECK(put.error().message == "[2]: buffer 13 was moved");

  wire_buffer late;
  CHECK(encode_values(late, codec, std::vector<value>{buffer_value(14), codec.make(1), buffer_value(6)}));
  codec.buffers_taken = 0;
  const auto got = decode_values(late.reader(), codec);
  REQUIRE(!got);
  CHECK(got.error().code == errc::out_of_memory);
  CHECK(codec.buffers_taken == 2); // and what lies behind it is let go of
  CHECK(codec.alive == 0);
  no_references none;
  CHECK(encode_values(late, none, sent).error().code == errc::not_shareable);
  CHECK(decode_values(b.reader(), none).error().code == errc::bad_message);
}

TEST_CASE("codec: a refused message lets go of every reference and connection in it") {
  number_codec codec;
  wire_buffer b;
  codec.put(b, codec.make(1));
  b.put_connection(5);
  b.put_tag(wire_tag::table);
  b.put_u32(1);
  b.put_u32(0);
  codec.put(b, codec.make(2));
  b.put_connection(6);
  const auto back = decode_values(b.reader(), codec);
  REQUIRE(!back);
  CHECK(back.error().code == errc::bad_message);
  CHECK(codec.taken == 2);
  CHECK(codec.refused_connections == 2);
  CHECK(codec.alive == 0);
}

TEST_CASE("codec: broken tables are refused before they cost memory") {
  number_codec codec;
  const auto table_of = [&](std::uint32_t items, std::uint32_t pairs, auto&& body) {
    wire_buffer b;
    b.put_tag(wire_tag::table);
    b.put_u32(items);
    b.put_u32(pairs);
    body(b);
    const auto back = decode_values(b.reader(), codec);
    return !back && back.error().code == errc::bad_message;
  };
  CHECK(table_of(0xFFFFFFFF, 0xFFFFFFFF, [](wire_buffer&) {}));
  CHECK(table_of(2, 0, [](wire_buffer& b) { b.put_nil(); }));
  CHECK(table_of(0, 1, [](wire_buffer& b) { b.put_int(1); }));
  CHECK(table_of(0, 1, [](wire_buffer& b) {
    b.put_float(std::nan(""));
    b.put_int(1);
  }));
  CHECK(table_of(1, 0, [](wire_buffer& b) {
    b.put_tag(wire_tag::table_again);
    b.put_u32(1);
  }));
  CHECK(table_of(1, 0, [](wire_buffer& b) {
    b.put_tag(wire_tag::packed);
    b.put_text("class");
    b.put_u32(0xFFFFFFFF);
  }));
  CHECK(table_of(1, 0, [](wire_buffer& b) {
    b.put_tag(wire_tag::packed);
    b.put_u32(0xFFFFFFFF);
  }));
}

// -- random --------------------------------------------------------------------------------------------------------------

namespace {

struct reference_counter final : wire_visitor {
  int references = 0;
  void on_reference(const wire_ref&) override { ++references; }
};

std::string replay(std::uint64_t seed) { return "replay with ATOLL_SEED=" + std::to_string(seed); }

} // namespace

TEST_CASE("codec: random graphs come back equal, and nothing of them is left") {
  const seeds runs = seeds::from_environment(1, 300);
  for (std::uint64_t seed = runs.first; seed < runs.first + runs.count; ++seed) {
    INFO(replay(seed));
    std::mt19937_64 random(seed);
    number_codec codec;
    {
      random_graph graph(random, codec);
      const std::vector<value> values = graph.take(1 + graph.below(4));
      wire_buffer b;
      REQUIRE(encode_values(b, codec, values));
      const auto back = decode_values(b.reader(), codec);
      REQUIRE(back);
      CHECK(*back == values);
      // The way back is written the same: order and sharing were kept, not only equality.
      wire_buffer again;
      REQUIRE(encode_values(again, codec, *back));
      CHECK(again.bytes() == b.bytes());
      reference_counter walked;
      wire_reader r = b.reader();
      CHECK(walk_values(r, walked));
      CHECK(walked.references == codec.taken);
    }
    CHECK(codec.alive == 0);
  }
}

TEST_CASE("codec: mutated bytes are read or refused, never more") {
  const seeds runs = seeds::from_environment(1000, 3000);
  int refused = 0;
  for (std::uint64_t seed = runs.first; seed < runs.first + runs.count; ++seed) {
    INFO(replay(seed));
    std::mt19937_64 random(seed);
    number_codec codec;
    {
      random_graph graph(random, codec);
      wire_buffer b;
      REQUIRE(encode_values(b, codec, graph.take(3)));
      std::vector<std::uint8_t> bytes(b.data(), b.data() + b.size());
      for (std::size_t n = 1 + graph.below(4); n > 0 && !bytes.empty(); --n) {
        const std::size_t at = graph.below(bytes.size());
        if (graph.below(5) == 0)
          bytes.resize(at);
        else
          bytes[at] = static_cast<std::uint8_t>(random());
      }
      const auto back = decode_values(wire_reader(bytes.data(), bytes.data() + bytes.size()), codec);
      if (back) {
        for (const value& v : *back) CHECK(v == v);
        for (const value& v : *back) CHECK(!to_string(v).empty());
      } else {
        ++refused;
        CHECK(back.error().code == errc::bad_message);
      }
    }
    CHECK(codec.alive == 0);
  }
  if (runs.count > 1) CHECK(refused > 0);
}

// -- casts ---------------------------------------------------------------------------------------------------------------

namespace {

template <class T>
std::string complaint(const value& v) {
  const result<T> x = value_cast<T>(v);
  REQUIRE(!x);
  CHECK(x.error().code == errc::invalid_argument);
  return x.error().message;
}

} // namespace

TEST_CASE("cast: numbers convert as in Lua, and only when nothing is lost") {
  CHECK(value_cast<int>(3.0) == 3);
  CHECK(value_cast<double>(3) == 3.0);
  CHECK_FALSE(value_cast<std::uint64_t>(value(std::numeric_limits<std::uint64_t>::max())));
  CHECK(value_cast<std::uint64_t>(value(std::uint64_t{1} << 63)) == std::uint64_t{1} << 63);
  CHECK(complaint<int>(3.5) == "wanted integer -2147483648..2147483647, got number 3.5");
  CHECK(complaint<std::int64_t>(3.5) == "wanted integer, got number 3.5");
  CHECK(complaint<std::int64_t>(0x1p63) == "wanted integer, got number 9.223372036854776e+18");
  CHECK(complaint<std::uint8_t>(256) == "wanted integer 0..255, got integer 256");
  CHECK(complaint<unsigned>(-1) == "wanted integer 0..4294967295, got integer -1");
  CHECK(complaint<std::int64_t>(std::nan("")) == "wanted integer, got number nan");
  CHECK(complaint<int>(true) == "wanted integer -2147483648..2147483647, got boolean true");
  CHECK(complaint<bool>(1) == "wanted boolean, got integer 1");
  CHECK(complaint<std::string>(value()) == "wanted string, got nil");
}

TEST_CASE("cast: lists and maps say where they do not fit") {
  CHECK(value_cast<std::vector<int>>(list({1, 2})) == std::vector{1, 2});
  CHECK(value_cast<std::vector<int>>(table())->empty());
  CHECK(complaint<std::vector<std::string>>(list({"a", 2})) == "[2]: wanted string, got integer 2");
  CHECK(complaint<std::vector<std::string>>("a") == "wanted list of string, got string \"a\"");

  table t;
  t.set("x", list({1, "y"}));
  CHECK(complaint<std::map<std::string, std::vector<bool>>>(t) == ".x: [1]: wanted boolean, got integer 1");
  CHECK(complaint<std::vector<int>>(t).ends_with("got table with key \"x\""));
  t.clear();
  t.set("a", 1);
  CHECK(value_cast<std::map<std::string, int>>(t) == std::map<std::string, int>{{"a", 1}});
  t.set(2, 1);
  CHECK(complaint<std::map<std::string, int>>(t).ends_with("got table with key 2"));
}

TEST_CASE("cast: optional is nil or the thing, never something else") {
  CHECK(value_cast<std::optional<int>>(value()).value() == std::nullopt);
  CHECK(value_cast<std::optional<int>>(4).value() == 4);
  CHECK(complaint<std::optional<bool>>("x") == "wanted boolean, got string \"x\"");
}

TEST_CASE("cast: several values become a tuple, missing ones are nil and named, surplus ones ignored") {
  const std::vector<value> values{1, "two", 3.5};
  using two = std::tuple<int, std::string>;
  CHECK(values_cast<two>(values) == two{1, "two"});
  CHECK(values_cast<int>(values) == 1);
  CHECK(values_cast<void>(values));
  using four = std::tuple<value, value, double, std::optional<int>>;
  CHECK(values_cast<four>(values));
  using needs = std::tuple<int, std::string, double, int>;
  const auto missing = values_cast<needs>(values);
  REQUIRE(!missing);
  CHECK(missing.error().message.find("value 4: missing: wanted integer") == 0);
  const auto wrong = values_cast<std::tuple<int, int>>(values);
  REQUIRE(!wrong);
  CHECK(wrong.error().message.find("value 2: wanted integer") == 0);
}

TEST_CASE("cast: there and back") {
  const std::map<std::string, std::vector<std::optional<double>>> m{{"a", {1.0, std::nullopt}}, {"b", {}}};
  CHECK(value_cast<std::map<std::string, std::vector<std::optional<double>>>>(to_value(m)) == m);
  CHECK(to_values(std::tuple<int, const char*>{1, "x"}) == std::vector<value>{1, "x"});
  CHECK(to_value("literal") == value("literal"));
  CHECK(to_value(std::vector<bool>{true, false}) == value(list({true, false})));
}
