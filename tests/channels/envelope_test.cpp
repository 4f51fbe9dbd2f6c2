// Envelopes: bytes with a sender, and the writer that makes them.
#include "channels/envelope.hpp"

#include <doctest/doctest.h>

#include <string>

#include "tests/channels/residents.hpp"

using namespace Atoll;

TEST_CASE("envelope: a writer that wrote nothing hands over nothing") {
  envelope_writer w(interpreter_id{1});
  CHECK(w.empty());
  CHECK(w.take() == nullptr);
}

TEST_CASE("envelope: it knows its sender, its size and how many records it has") {
  const envelope_ptr e = test::numbers(interpreter_id{7}, 1, 3);
  REQUIRE(e != nullptr);
  CHECK(e->from() == interpreter_id{7});
  CHECK(e->count() == 3);
  CHECK(e->size() == 3 * (record_header_bytes + 4 + 1));
  CHECK(e->size() <= e->capacity());
}

TEST_CASE("envelope: growing keeps what was written, over many enlargements") {
  envelope_writer w(interpreter_id{1});
  std::string expected;
  for (int i = 0; i < 5000; ++i) {
    const std::string text(static_cast<std::size_t>(i % 60), static_cast<char>('a' + i % 26));
    w.put_bytes(text);
    expected += text;
  }
  w.count_record();
  const envelope_ptr e = w.take();
  REQUIRE(e != nullptr);
  CHECK(e->reader().get_bytes(e->size()) == expected);
}

TEST_CASE("envelope: a block larger than four times the last one still fits") {
  envelope_writer w(interpreter_id{1});
  w.put_u8(1);
  w.put_bytes(std::string(100000, 'x'));
  CHECK_FALSE(w.failed());
  CHECK(w.size() == 100001);
}

TEST_CASE("envelope: after the hand-over the writer starts a new one") {
  envelope_writer w(interpreter_id{1});
  w.put_u8(1);
  w.count_record();
  const envelope_ptr first = w.take();
  CHECK(w.empty());
  CHECK(w.size() == 0);
  w.put_u8(2);
  w.put_u8(3);
  w.count_record();
  const envelope_ptr second = w.take();
  CHECK(first->size() == 1);
  CHECK(second->size() == 2);
  CHECK(second->reader().get_u8() == 2);
}

TEST_CASE("envelope: a failed record is truncated away, and the writer is whole again") {
  envelope_writer w(interpreter_id{1});
  w.put_u8(1);
  w.put_string(test::too_long());
  w.put_u8(9);
  CHECK(w.failed());
  w.truncate(1);
  CHECK_FALSE(w.failed());
  w.put_u8(2);
  CHECK(w.size() == 2);
  CHECK(w.data()[1] == 2);
}
