// What the phase "settle" of a finalization asks of a shell: from drop_imports() on nothing is imported any more.
#include <doctest/doctest.h>

#include "tests/actors/shell_world.hpp"

using namespace Atoll;

TEST_CASE("shell: an answer that comes after the imports were dropped brings no reference in, and its call fails") {
  test::shell_world w;
  test::probe_functions& f = w.scripts["probe"];
  f["give"] = [](test::probe& p, const incoming& m) {
    p.put_own(p.outside().open_reply(m.request), 1);
    p.outside().commit();
  };
  const interpreter_id owner = w.start("probe");
  const interpreter_id holder = w.start("probe");
  w.run();
  errc came = errc::ok;
  w.in(holder, [&](test::probe& p) {
    // As an exit handler may: the call is on its way when the imports are dropped.
    wire_writer& call = p.outside().open_message(owner, record_kind::call);
    call.put_u64(p.outside().open_call(p.await([&](const outcome& o) {
      REQUIRE(o.what == outcome::kind::failed);
      came = o.failure->code;
    })));
    call.put_text("give");
    REQUIRE(p.outside().commit() == send_status::sent);
    w.find(holder)->drop_imports();
  });
  CHECK(came == errc::runtime_finalizing);
  CHECK(w.find(holder)->imports().size() == 0);
  CHECK(w.find(owner)->exports_live() == 0);
  CHECK(w.at(owner).dropped == std::vector<guest_word>{1});
}
