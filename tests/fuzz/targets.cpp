#include "tests/fuzz/targets.hpp"

#include <cstdio>
#include <cstdlib>
#include <lua5.4/lua.hpp>
#include <memory>

#include "guests/lua/lua_guest.hpp"
#include "guests/lua/state.hpp"
#include "runtime/records.hpp"
#include "tests/guests/fake_host.hpp"
#include "tests/runtime/random_values.hpp"
#include "tests/runtime/wire_buffer.hpp"

namespace Atoll::testing {

namespace {

void require(bool promise, const char* what) {
  if (promise) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

wire_reader reader_of(fuzz_input data) { return {data.data(), data.data() + data.size()}; }

struct counter final : record_visitor {
  std::size_t references = 0;
  void on_reference(const wire_ref&) override { ++references; }
};

} // namespace

void fuzz_walk(fuzz_input data) {
  wire_reader envelope = reader_of(data);
  while (!envelope.at_end()) {
    const std::size_t before = envelope.left();
    record r = next_record(envelope);
    const std::size_t body = r.body.left();
    counter told;
    walk_record(r, told);
    require(envelope.left() < before, "a record takes bytes");
    require(told.references <= body / 28, "a reference takes 28 bytes and more");
  }
  wire_reader values = reader_of(data);
  counter told;
  require(walk_values(values, told) != values.failed(), "a walk says whether it failed");
  require(values.at_end(), "a walk ends at the end");
}

void fuzz_values(fuzz_input data) {
  number_codec codec;
  {
    const auto read = decode_values(reader_of(data), codec);
    wire_reader walked = reader_of(data);
    counter told;
    const bool good = walk_values(walked, told);
    if (read) {
      require(good, "what can be read can be walked");
      require(static_cast<std::size_t>(codec.taken) == told.references, "a walk meets the references that are read");
      wire_buffer again;
      if (encode_values(again, codec, *read)) {
        const auto twice = decode_values(again.reader(), codec);
        require(twice && *twice == *read, "what is written is read as it was");
      }
    } else {
      require(read.error().code == errc::bad_message, "bad bytes are a bad message");
    }
  }
  require(codec.alive == 0, "no reference is left");
}

// -- Lua ---------------------------------------------------------------------------------------------------------------

namespace {

constexpr std::size_t heap_bytes = std::size_t{64} << 20U;
constexpr int inputs_per_guest = 2000; // what forged references leave behind goes with the guest

constexpr const char* program = R"lua(
  local atoll = require "atoll"
  for _, name in ipairs{"class", "point"} do
    local meta = {}
    meta.__pack = function(o) return table.unpack(o, 1, o.n) end
    meta.__unpack = function(...)
      if ... == "fail" then error("told to") end
      return setmetatable(table.pack(...), meta)
    end
    atoll.class(name, meta)
  end
)lua";

/// Its import table is not what is fuzzed: a reference names a slot that was given out, and tables are as long as slots say.
struct lua_world {
  lua_world() { outside.forged_slots = 1000; }

  fake_world world{make_lua_guest};
  fake_interpreter& outside = world.run(program, heap_bytes);
  lua_guest& guest = static_cast<lua_guest&>(*outside.program);
  int inputs = 0;
};

int push_values(lua_State* L) { return lua_guest::of(L).push_message_values(L); }

/// Writes what stands above `base` to nobody.
void send_back(lua_world& w, lua_State* L, int base) {
  if (w.guest.pack(L, base + 1, "value")) {
    wire_writer& out = w.outside.open_message(interpreter_id{1}, record_kind::send);
    out.put_text("");
    const bool written = w.guest.encode(L, base + 1, out, "value");
    require(written || w.guest.failure().code != errc::ok, "a refusal has a reason");
    w.outside.rollback();
  }
  w.guest.moving_done(false);
  w.guest.forget_packed(L);
}

} // namespace

void fuzz_lua(fuzz_input data) {
  static std::unique_ptr<lua_world> kept;
  if (kept == nullptr || ++kept->inputs > inputs_per_guest) kept = std::make_unique<lua_world>();
  lua_guest& g = kept->guest;
  lua_State* L = g.main;
  const int base = lua_gettop(L);
  lua_pushcfunction(L, push_values);
  g.begin_reading(reader_of(data));
  const int status = lua_pcall(L, 0, LUA_MULTRET, 0);
  g.end_reading();
  if (status == LUA_OK) {
    send_back(*kept, L, base);
  } else {
    require(lua_gettop(L) == base + 1, "one error");
  }
  lua_settop(L, base);
  kept->outside.drop_due();
  kept->outside.flush_protocol();
}

// -- seeds -------------------------------------------------------------------------------------------------------------

std::string fuzz_seed(std::mt19937_64& random, bool envelope) {
  number_codec codec;
  random_graph graph(random, codec);
  wire_buffer out;
  if (!envelope) {
    encode_values(out, codec, graph.take(1 + graph.below(4)));
    return std::string(out.bytes());
  }
  for (std::size_t n = 1 + graph.below(4); n > 0; --n) {
    const auto kind = static_cast<record_kind>(graph.below(static_cast<std::size_t>(record_kind::reply) + 1));
    const std::size_t start = open_record(out, kind);
    if (kind != record_kind::send) out.put_u64(random());
    if (kind == record_kind::invoke) {
      out.put_u8(0);
      out.put_target({{interpreter_id{2}, 1, 1}, 1, {}, {}});
    }
    if (kind == record_kind::start) {
      out.put_u8(0);
      out.put_text("source");
    }
    if (kind != record_kind::reply) out.put_text("name");
    encode_values(out, codec, graph.take(graph.below(3)));
    close_record(out, start);
  }
  return std::string(out.bytes());
}

} // namespace Atoll::testing
