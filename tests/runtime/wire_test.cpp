#include "runtime/wire.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

#include "runtime/records.hpp"
#include "tests/runtime/wire_buffer.hpp"

using namespace Atoll;
using Atoll::testing::wire_buffer;

namespace {

struct counting_visitor final : wire_visitor {
  std::vector<wire_ref> references;
  std::vector<std::uint64_t> connections;
  void on_reference(const wire_ref& r) override { references.push_back(r); }
  void on_connection(std::uint64_t c) override { connections.push_back(c); }
  std::vector<wire_slice> buffers;
  void on_buffer(const wire_slice& s) override { buffers.push_back(s); }
};

constexpr wire_ref some_ref{{interpreter_id{7}, 3, 9}, 5, interpreter_id{0}};

// One value of every tag.
void put_everything(wire_writer& w) {
  w.put_nil();
  w.put_bool(false);
  w.put_bool(true);
  w.put_int(1'000'000);
  w.put_int(std::int64_t{1} << 40);
  w.put_float(0.5);
  w.put_string(std::string(100, 'x'));
  w.put_string("short");
  w.put_int(-32);
  w.put_tag(wire_tag::table);
  w.put_u32(1);
  w.put_u32(1);
  w.put_reference(some_ref);
  w.put_string("key");
  w.put_reference(some_ref);
  w.put_tag(wire_tag::table_again);
  w.put_u32(0);
  w.put_interpreter(interpreter_id{4});
  w.put_tag(wire_tag::error_value);
  w.put_error({errc::timeout, "late", "trace", interpreter_id{2}, "worker", ""});
  w.put_connection(77);
  w.put_slice({12, 3, 40, true, false});
  w.put_tag(wire_tag::packed);
  w.put_text("class");
  w.put_u32(1);
  w.put_reference(some_ref);
}

std::size_t encoded_size(std::int64_t i) {
  wire_buffer b;
  b.put_int(i);
  return b.size();
}

} // namespace

TEST_CASE("wire: an integer takes the shortest form that holds it") {
  CHECK(encoded_size(small_int_min) == 1);
  CHECK(encoded_size(small_int_max) == 1);
  CHECK(encoded_size(small_int_min - 1) == 5);
  CHECK(encoded_size(small_int_max + 1) == 5);
  CHECK(encoded_size(std::numeric_limits<std::int32_t>::min()) == 5);
  CHECK(encoded_size(std::numeric_limits<std::int32_t>::max()) == 5);
  CHECK(encoded_size(std::int64_t{std::numeric_limits<std::int32_t>::max()} + 1) == 9);
  CHECK(encoded_size(std::numeric_limits<std::int64_t>::min()) == 9);
}

TEST_CASE("wire: strings change form between 63 and 64 bytes") {
  wire_buffer b;
  b.put_string(std::string(63, 'a'));
  CHECK(b.size() == 64);
  b.put_string(std::string(64, 'a'));
  CHECK(b.size() == 64 + 5 + 64);
}

TEST_CASE("wire: empty text without a buffer behind it is written and read") {
  wire_buffer b;
  b.put_bytes({});
  b.put_u8(1);
  b.put_bytes({});
  b.put_text({});
  b.put_string({});
  wire_reader r = b.reader();
  CHECK(r.get_u8() == 1);
  CHECK(r.get_text().empty());
  CHECK(r.get_u8() == static_cast<std::uint8_t>(wire_tag::short_string));
  CHECK(r.at_end());
  CHECK(!r.failed());
}

TEST_CASE("wire: an error keeps all its fields") {
  wire_buffer b;
  b.put_error({errc::killed, "m", "t", interpreter_id{3}, "n", std::string("\0p", 2)});
  wire_reader r = b.reader();
  const error e = r.get_error();
  CHECK(e.code == errc::killed);
  CHECK(e.message == "m");
  CHECK(e.traceback == "t");
  CHECK(e.interpreter == interpreter_id{3});
  CHECK(e.interpreter_name == "n");
  CHECK(e.payload == std::string("\0p", 2));
  CHECK(r.at_end());
}

TEST_CASE("wire: a writer out of memory swallows what follows and recovers by truncate") {
  wire_buffer b(10);
  b.put_int(1);
  b.put_string("1234567890");
  CHECK(b.failed());
  b.put_u8(1);
  b.patch_u32(0, 5);
  CHECK(b.failed());
  b.truncate(1);
  CHECK(!b.failed());
  b.put_u32(7);
  CHECK(!b.failed());
  CHECK(b.size() == 5);
}

TEST_CASE("wire: a record takes its limit to the byte and not one more, whatever it is made of") {
  const auto fits = [](std::size_t limit, auto&& write) {
    wire_buffer b;
    b.put_string("what stands before it does not count");
    const std::size_t start = open_record(b, record_kind::send, limit);
    write(b);
    const bool whole = !b.failed();
    if (!whole) CHECK(b.failure().code == errc::not_shareable);
    if (!whole) CHECK(b.failure().message.find(std::to_string(limit) + " bytes") != std::string::npos);
    CHECK(b.size() - start <= limit);
    b.truncate(start);
    CHECK(!b.failed());
    open_record(b, record_kind::send);
    b.put_string(std::string(1000, 'y')); // the limit was the last record's
    return whole && !b.failed();
  };
  const auto exact = [&](std::size_t size, auto&& write) {
    CHECK(fits(record_header_bytes + size, write));
    CHECK(!fits(record_header_bytes + size - 1, write));
  };
  exact(4, [](wire_writer& w) { w.put_u32(1); });
  exact(64, [](wire_writer& w) { w.put_string(std::string(63, 'x')); });
  exact(105, [](wire_writer& w) { w.put_string(std::string(100, 'x')); });
  exact(31, [](wire_writer& w) { w.put_reference(some_ref); });
  exact(9, [](wire_writer& w) { w.put_int(std::int64_t{1} << 40); });
  CHECK(!fits(1000, [](wire_writer& w) {
    for (int i = 0; i < 1000; ++i) w.put_u64(1);
  }));
}

TEST_CASE("wire: a string over 1 GiB is refused before it is copied, by an error that names the limit") {
  const char byte = 'x';
  for (const std::size_t length : {record_bytes_max, std::size_t{1} << 32U, std::size_t{1} << 40U}) {
    wire_buffer b;
    open_record(b, record_kind::send);
    b.put_string({&byte, length}); // never read: it does not fit
    REQUIRE(b.failed());
    CHECK(b.failure().message
          == "not shareable: the message is larger than 1 GiB, the most that crosses at once; send it in parts");
  }
}

TEST_CASE("wire: memory that runs out is told from a limit that was reached") {
  wire_buffer b(10);
  open_record(b, record_kind::send);
  b.put_u64(1);
  REQUIRE(b.failed());
  CHECK(b.failure().code == errc::out_of_memory);
}

TEST_CASE("wire: an error's long texts are cut, so that an error always fits") {
  wire_buffer b;
  open_record(b, record_kind::reply_error);
  const std::string text(3 * error_text_max, 'x');
  b.put_error({errc::guest_error, text, text, interpreter_id{3}, text, text});
  REQUIRE(!b.failed());
  CHECK(b.size() < 7 * error_text_max);
  wire_reader r = b.reader();
  r.get_bytes(record_header_bytes);
  const error e = r.get_error();
  CHECK(e.message == text.substr(0, error_text_max));
  CHECK(e.traceback.size() == error_text_max);
  CHECK(e.payload == text); // it cannot be cut
}

TEST_CASE("wire: a reader behind its end answers zeros and stays failed") {
  wire_reader r(std::string_view("\1\2\3", 3));
  CHECK(r.get_u32() == 0);
  CHECK(r.failed());
  CHECK(r.at_end());
  CHECK(r.get_u8() == 0);
  CHECK(r.get_text().empty());
  CHECK(r.get_error().message.empty());
  CHECK(r.get_reference().credit == 0);
}

TEST_CASE("wire: a length beyond the bytes fails without reading them") {
  wire_buffer b;
  b.put_u32(0xFFFFFFFF);
  b.put_u8('x');
  wire_reader r = b.reader();
  CHECK(r.get_text().empty());
  CHECK(r.failed());
}

TEST_CASE("wire: a default reader is empty, not broken") {
  wire_reader r;
  CHECK(r.at_end());
  CHECK(!r.failed());
  counting_visitor v;
  CHECK(walk_values(r, v));
}

TEST_CASE("wire: a walk meets every reference, connection and buffer, in tables too") {
  wire_buffer b;
  put_everything(b);
  wire_reader r = b.reader();
  counting_visitor v;
  CHECK(walk_values(r, v));
  REQUIRE(v.references.size() == 3);
  CHECK(v.references[0].id == some_ref.id);
  CHECK(v.references[1].credit == 5);
  CHECK(v.connections == std::vector<std::uint64_t>{77});
  REQUIRE(v.buffers.size() == 1);
  CHECK(v.buffers[0].block == 12);
  CHECK(v.buffers[0].offset == 3);
  CHECK(v.buffers[0].length == 40);
  CHECK(v.buffers[0].writable);
  CHECK_FALSE(v.buffers[0].moved);
}

TEST_CASE("wire: a walk over bytes cut anywhere ends, and never tells of half a reference") {
  wire_buffer b;
  put_everything(b);
  for (std::size_t n = 0; n < b.size(); ++n) {
    // A copy of exactly n bytes, so that a sanitizer sees a read beyond them.
    const std::vector<std::uint8_t> cut(b.data(), b.data() + n);
    wire_reader r(cut.data(), cut.data() + cut.size());
    counting_visitor v;
    walk_values(r, v);
    CHECK(r.at_end());
    for (const wire_ref& ref : v.references) CHECK(ref.id == some_ref.id);
    for (const wire_slice& s : v.buffers) CHECK(s.length == 40);
  }
}

TEST_CASE("wire: a walk stops at a byte that starts no value") {
  wire_buffer b;
  b.put_reference(some_ref);
  b.put_u8(static_cast<std::uint8_t>(wire_tag::short_string) - 1);
  b.put_reference(some_ref);
  wire_reader r = b.reader();
  counting_visitor v;
  CHECK(!walk_values(r, v));
  CHECK(v.references.size() == 1);
}

TEST_CASE("wire: a walk does not recurse into nested tables") {
  wire_buffer b;
  for (int i = 0; i < 1'000'000; ++i) {
    b.put_tag(wire_tag::table);
    b.put_u32(1);
    b.put_u32(0);
  }
  b.put_reference(some_ref);
  wire_reader r = b.reader();
  counting_visitor v;
  CHECK(walk_values(r, v));
  CHECK(v.references.size() == 1);
}

TEST_CASE("wire: a record is skipped by its length without losing the next") {
  wire_buffer b;
  const std::size_t first = open_record(b, record_kind::send);
  b.put_text("f");
  b.put_u8(0x3F);
  close_record(b, first);
  const std::size_t second = open_record(b, record_kind::reply);
  b.put_u64(12);
  close_record(b, second);

  wire_reader envelope = b.reader();
  CHECK(next_record(envelope).kind == record_kind::send);
  record r = next_record(envelope);
  CHECK(r.kind == record_kind::reply);
  CHECK(r.body.get_u64() == 12);
  CHECK(r.body.at_end());
  CHECK(envelope.at_end());
}

TEST_CASE("wire: a record longer than its envelope is empty and fails") {
  wire_buffer b;
  b.put_u8(static_cast<std::uint8_t>(record_kind::send));
  b.put_u32(100);
  b.put_u8(1);
  wire_reader envelope = b.reader();
  record r = next_record(envelope);
  CHECK(r.body.failed());
  CHECK(r.body.at_end());
  CHECK(envelope.failed());
}
