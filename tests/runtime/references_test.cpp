#include "runtime/references.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "runtime/records.hpp"
#include "tests/runtime/wire_buffer.hpp"

using namespace Atoll;
using Atoll::testing::wire_buffer;

namespace {

constexpr interpreter_id owner{1};
constexpr interpreter_id holder{2};
constexpr credit_policy small{.grant = 4, .low = 1, .cap = 16};

/// What references in an invoke's bytes carry.
struct carried final : record_visitor {
  std::uint64_t credit = 0;
  std::uint32_t loans = 0;
  explicit carried(wire_buffer& w) {
    record r{record_kind::invoke, w.reader()};
    walk_record(r, *this);
  }
  void on_reference(const wire_ref& ref) override {
    credit += ref.credit;
    if (ref.credit == 0) ++loans;
  }
};

void put_head(wire_writer& w) {
  w.put_u64(0);
  w.put_u8(0);
}

} // namespace

TEST_CASE("references: wherever memory runs out, what a message does not carry stays in the holder's table") {
  for (const std::uint32_t held : {1U, 2U, 9U}) {
    for (std::size_t limit = 0; limit < 140; ++limit) {
      import_table imports(holder, small);
      const auto i = imports.receive({{owner, 3, 1}, held, {}});
      wire_buffer w(limit);
      put_head(w);
      int written = put_imported_target(w, imports, i) ? 1 : 0;
      w.put_text("name");
      for (int k = 0; k < 3; ++k) written += put_imported(w, imports, i) ? 1 : 0;
      const carried in(w);
      CAPTURE(limit);
      CHECK(imports.credit_of(i) + in.credit == held);
      CHECK(imports.loans_of(i) == in.loans);
      CHECK((written == 4) == !w.failed());
    }
  }
}

TEST_CASE("references: wherever memory runs out, an owner has out what its message carries, and a new object is due") {
  for (std::size_t limit = 0; limit < 140; ++limit) {
    export_table exports(owner, small);
    wire_buffer w(limit);
    put_head(w);
    w.put_target({{holder, 5, 1}, 1, {}});
    w.put_text("name");
    const auto before = std::min<std::size_t>(w.size(), limit);
    const auto slot = exports.add(77);
    int written = 0;
    for (int k = 0; k < 3; ++k) written += put_exported(w, exports, slot) ? 1 : 0;
    CAPTURE(limit);
    const carried in(w);
    CHECK(exports.out(slot) == 4 * static_cast<std::uint64_t>(written));
    CHECK(in.credit == exports.out(slot) + (before >= 39 ? 1 : 0));
    CHECK(exports.take_due().has_value() == (written == 0));
  }
}
