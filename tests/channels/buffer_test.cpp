// Shared memory: who owns a block, who still holds it, and who frees it when. First one thread after the other.
#include "channels/buffer_space.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <string>

#include "channels/channel_space.hpp"
#include "tests/channels/residents.hpp"
#include "tests/runtime/wire_buffer.hpp"
#include "tests/seeds.hpp"

using namespace Atoll;
using test::resident;
using testing::wire_buffer;

namespace {

/// An owner with a heap, an inbox that is woken, and what it has of buffers.
struct party {
  explicit party(directory& d, std::size_t limit = 0, std::string called = "p")
      : home(d, called),
        memory(limit),
        buffers(std::make_unique<buffer_account>(d.buffers(), home.id, called, &memory, home.box)) {}

  /// A turn, if it was woken.
  bool turn() {
    if (home.box->turn().idle()) return false;
    home.read();
    if (buffers->has_news()) buffers->settle();
    return true;
  }
  void die() {
    buffers->end();
    home.die();
  }

  resident home;
  heap memory;
  std::unique_ptr<buffer_account> buffers;
};

struct scene {
  directory d;
  party owner{d, 0, "owner"};
  party other{d, 0, "other"};
  buffer_space& space = *d.buffers();

  /// What stands in a message after this buffer was put into it.
  static wire_slice sent(const buffer& b) {
    wire_buffer w;
    const result<void> put = b.put(w);
    REQUIRE(put);
    return slice_in(w);
  }
  static wire_slice slice_in(wire_buffer& w) {
    struct finder final : wire_visitor {
      void on_buffer(const wire_slice& s) override { found = s; }
      wire_slice found;
    } f;
    wire_reader in = w.reader();
    REQUIRE(walk_values(in, f));
    return f.found;
  }
  buffer pass(const buffer& b, party& to) const { return to.buffers->receive(sent(b)).value(); }
};

std::string text_of(const buffer& b) {
  const auto view = b.look();
  return view ? std::string(view->bytes()) : name_of(view.error().code);
}

void write(const buffer& b, std::string_view text) {
  const auto view = b.edit();
  REQUIRE(view);
  std::memcpy(view->data(), text.data(), text.size());
}

std::size_t resident_bytes() {
  std::size_t all = 0;
  std::size_t resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

errc code_of(const result<buffer>& r) { return r ? errc::ok : r.error().code; }

} // namespace

TEST_CASE("buffers: a block is zeroed, charged to its owner's heap, and given back whole") {
  scene s;
  {
    const buffer b = s.owner.buffers->make(100).value();
    CHECK(b.size() == 100);
    CHECK(text_of(b) == std::string(100, '\0'));
    CHECK(s.owner.memory.bytes_in_use() == 100);
    CHECK(s.space.blocks() == 1);
    CHECK(b.describe() == "buffer 1 of interpreter 1 'owner': 100 bytes");
  }
  CHECK(s.owner.turn());
  CHECK(s.owner.memory.bytes_in_use() == 0);
  CHECK(s.space.blocks() == 0);
}

TEST_CASE("buffers: the receiver sees the same bytes, both ways") {
  scene s;
  const buffer mine = s.owner.buffers->make(4).value();
  const buffer theirs = s.pass(mine, s.other);
  write(mine, "abcd");
  CHECK(text_of(theirs) == "abcd");
  write(theirs, "xy");
  CHECK(text_of(mine) == "xycd");
  CHECK(mine == theirs);
  CHECK(s.other.memory.bytes_in_use() == 0);
}

TEST_CASE("buffers: a slice keeps the whole alive, and a slice of a slice counts from the slice") {
  scene s;
  buffer whole = s.owner.buffers->make(10).value();
  write(whole, "0123456789");
  const buffer part = whole.slice(2, 6).value();
  whole = {};
  const buffer inner = part.slice(1, 3).value();
  CHECK(text_of(part) == "234567");
  CHECK(text_of(inner) == "345");
  CHECK(text_of(s.pass(inner, s.other)) == "345");
  CHECK_FALSE(part == inner);
  CHECK(s.owner.memory.bytes_in_use() == 10);
  CHECK(code_of(part.slice(2, 5)) == errc::invalid_argument);
  CHECK(code_of(part.slice(7, 0)) == errc::invalid_argument);
  CHECK(code_of(part.slice(1, SIZE_MAX)) == errc::invalid_argument);
  CHECK(part.slice(6, 0).value().size() == 0);
  CHECK(part.slice(2, 5).error().message
        == "buffer 1 of interpreter 1 'owner': 5 bytes at offset 2 are out of range: it has 6 bytes");
}

TEST_CASE("buffers: a read-only handle refuses to write, here and where it is sent") {
  scene s;
  const buffer b = s.owner.buffers->make(3).value();
  const buffer theirs = s.pass(b.read_only(), s.other);
  CHECK(text_of(theirs) == std::string(3, '\0'));
  CHECK(theirs.edit().error().code == errc::read_only);
  CHECK(theirs.slice(0, 1).value().edit().error().code == errc::read_only);
  CHECK(s.pass(theirs, s.owner).edit().error().code == errc::read_only);
  write(b, "abc");
  CHECK(text_of(theirs) == "abc");
}

TEST_CASE("buffers: the last release, wherever it is, frees the block in the owner's turn and not before") {
  scene s;
  buffer mine = s.owner.buffers->make(64).value();
  buffer theirs = s.pass(mine, s.other);
  mine = {};
  CHECK_FALSE(s.owner.turn());
  theirs = {};
  CHECK(s.owner.memory.bytes_in_use() == 64);
  CHECK(s.owner.turn());
  CHECK(s.owner.memory.bytes_in_use() == 0);
  CHECK(s.owner.buffers->owned() == 0);
}

TEST_CASE("buffers: what the owner itself drops last is freed at once, without a wake-up") {
  scene s;
  s.owner.buffers->drop(s.owner.buffers->make(64).value());
  CHECK(s.owner.memory.bytes_in_use() == 0);
  CHECK_FALSE(s.owner.turn());
}

TEST_CASE("buffers: a message that nobody reads holds the block until it is thrown away") {
  scene s;
  wire_slice flying;
  {
    const buffer b = s.owner.buffers->make(8).value();
    flying = scene::sent(b);
  }
  CHECK_FALSE(s.owner.turn());
  CHECK(s.space.in_flight() == 1);
  s.space.give_back(flying);
  CHECK(s.space.in_flight() == 0);
  CHECK(s.owner.turn());
  CHECK(s.space.blocks() == 0);
}

TEST_CASE("buffers: an envelope to the dead gives back what it holds") {
  scene s;
  buffer b = s.owner.buffers->make(8).value();
  outbox out(s.owner.home.id, s.d);
  wire_writer& w = out.open(s.other.home.id, record_kind::send);
  w.put_text("f");
  CHECK(b.put(w));
  CHECK(b.put(w));
  CHECK(out.commit() == send_status::sent);
  out.flush();
  CHECK(s.space.in_flight() == 2);
  s.other.die();
  CHECK(s.space.in_flight() == 0);
  b = {};
  CHECK(s.owner.turn());
  CHECK(s.space.blocks() == 0);
}

TEST_CASE("buffers: a block that has moved is charged to its new owner, and the old handles say so") {
  scene s;
  const buffer mine = s.owner.buffers->make(50).value();
  const buffer slice = mine.slice(0, 5).value();
  const buffer others = s.pass(mine, s.other); // held as a guest, before the move
  write(mine, "hello");
  const wire_slice flying = scene::sent(mine.hand_over().value());
  CHECK(text_of(mine) == "buffer_moved");
  CHECK(s.owner.memory.bytes_in_use() == 50); // on its way
  const buffer theirs = s.other.buffers->receive(flying).value();
  CHECK(s.owner.turn());
  CHECK(s.owner.memory.bytes_in_use() == 0);
  CHECK(s.other.memory.bytes_in_use() == 50);
  CHECK(s.other.buffers->owned() == 1);
  CHECK(text_of(theirs.slice(0, 5).value()) == "hello");
  CHECK(text_of(others.slice(0, 5).value()) == "hello");
  for (const buffer* old : {&mine, &slice}) {
    CHECK(text_of(*old) == "buffer_moved");
    CHECK(code_of(old->slice(0, 1)) == errc::buffer_moved);
    CHECK(code_of(old->hand_over()) == errc::buffer_moved);
    wire_buffer w;
    CHECK(old->put(w).error().code == errc::buffer_moved);
  }
  CHECK(mine.describe() == "buffer 1 of interpreter 2 'other': 50 bytes, moved");
}

TEST_CASE("buffers: the handles that a move leaves behind keep no memory, not even while they are read") {
  scene s;
  const buffer mine = s.owner.buffers->make(50).value();
  write(mine, "hello");
  auto view = std::make_unique<result<buffer_view>>(mine.look());
  buffer theirs = s.other.buffers->receive(scene::sent(mine.hand_over().value())).value();
  CHECK(s.owner.turn());
  theirs = {};
  CHECK(s.other.turn());
  CHECK(s.other.memory.bytes_in_use() == 0);
  CHECK(s.space.blocks() == 0);
  CHECK((*view)->bytes().substr(0, 5) == "hello"); // a copy under way ends well
  view.reset();
  CHECK(text_of(mine) == "buffer_moved");
  CHECK(mine.describe() == "buffer 1 of interpreter 2 'other': 50 bytes, moved");
}

TEST_CASE("buffers: one's own block that comes home joins one's handles, or is all that is left of them") {
  scene s;
  buffer mine = s.owner.buffers->make(4).value();
  const buffer back = s.pass(mine, s.owner);
  CHECK(back.hand_over());
  const wire_slice flying = scene::sent(mine);
  mine = {};
  const buffer again = s.owner.buffers->receive(flying).value();
  CHECK(s.pass(again, s.other).hand_over().error().code == errc::not_shareable);
  const wire_slice last = scene::sent(again);
  {
    const buffer a = again;
    const buffer b = back;
  }
  CHECK(s.owner.buffers->receive(last).value().hand_over());
  CHECK(s.owner.buffers->receive(scene::sent(again.hand_over().value())).value().hand_over()); // to oneself
  CHECK(text_of(again) == "buffer_moved");
  CHECK(s.owner.memory.bytes_in_use() == 4);
}

TEST_CASE("buffers: a block whose only handles are in messages is its owner's when it comes home") {
  scene s;
  buffer mine = s.owner.buffers->make(4).value();
  const wire_slice first = scene::sent(mine);
  const wire_slice second = scene::sent(mine);
  mine = {};
  buffer a = s.owner.buffers->receive(first).value();
  buffer b = s.owner.buffers->receive(second).value();
  CHECK(s.other.buffers->receive(scene::sent(b.hand_over().value())));
  CHECK(text_of(a) == "buffer_moved");
  CHECK(s.other.turn());
  CHECK(s.space.blocks() == 0);
}

TEST_CASE("buffers: a block that moved back and forth is reached by the handles of the last ownership alone") {
  scene s;
  const buffer first = s.owner.buffers->make(4).value();
  const buffer there = s.other.buffers->receive(scene::sent(first.hand_over().value())).value();
  const buffer back = s.owner.buffers->receive(scene::sent(there.hand_over().value())).value();
  CHECK(text_of(first) == "buffer_moved");
  CHECK(text_of(there) == "buffer_moved");
  write(back, "here");
  CHECK(text_of(back) == "here");
  s.owner.turn();
  s.other.turn();
  CHECK(s.owner.memory.bytes_in_use() == 4);
  CHECK(s.other.memory.bytes_in_use() == 0);
}

TEST_CASE("buffers: only the owner moves, only the whole, only what may be written") {
  scene s;
  const buffer mine = s.owner.buffers->make(4).value();
  const buffer theirs = s.pass(mine, s.other);
  CHECK(theirs.hand_over().error().message == "buffer 1 of interpreter 1 'owner': only its owner can move it");
  CHECK(code_of(mine.slice(0, 3).value().hand_over()) == errc::not_shareable);
  CHECK(code_of(mine.read_only().hand_over()) == errc::not_shareable);
  CHECK(code_of(mine.slice(0, 4).value().hand_over()) == errc::ok);
  CHECK(code_of(buffer().hand_over()) == errc::invalid_argument);
}

TEST_CASE("buffers: moved twice in one message is an error, and a message taken back moved nothing") {
  scene s;
  const buffer mine = s.owner.buffers->make(4).value();
  const buffer moving = mine.hand_over().value();
  wire_buffer w;
  CHECK(moving.put(w));
  CHECK(moving.put(w).error().code == errc::buffer_moved);
  CHECK(mine.put(w).error().code == errc::buffer_moved);
  s.space.give_back(scene::slice_in(w)); // rolled back, or destroyed unread
  write(mine, "mine");
  CHECK(text_of(mine) == "mine");
  CHECK(s.owner.memory.bytes_in_use() == 4);
  CHECK(s.space.in_flight() == 0);
}

TEST_CASE("buffers: without memory for the message nothing was taken and nothing moved") {
  scene s;
  const buffer mine = s.owner.buffers->make(4).value();
  wire_buffer small(10);
  CHECK(mine.put(small).error().code == errc::out_of_memory);
  CHECK(mine.hand_over().value().put(small).error().code == errc::out_of_memory);
  CHECK(text_of(mine) == std::string(4, '\0'));
  CHECK(s.space.in_flight() == 0);
}

TEST_CASE("buffers: a limit refuses a new block, and one that moves in, which then stays the sender's") {
  scene s;
  party small(s.d, 100, "small");
  CHECK(small.buffers->make(101).error().message
        == "a buffer of 101 bytes does not fit into the memory of interpreter 3 'small': 0 of 100 bytes are in use");
  const buffer held = small.buffers->make(60).value();
  CHECK(code_of(small.buffers->make(41)) == errc::out_of_memory);
  const buffer mine = s.owner.buffers->make(41).value();
  write(mine, "kept");
  CHECK(code_of(small.buffers->receive(scene::sent(mine.hand_over().value()))) == errc::out_of_memory);
  CHECK(text_of(mine.slice(0, 4).value()) == "kept");
  CHECK(mine.hand_over());
  CHECK(s.owner.memory.bytes_in_use() == 41);
  CHECK(small.memory.bytes_in_use() == 60);
  CHECK(s.space.in_flight() == 0);
  CHECK(s.pass(mine, small).size() == 41); // to look at costs nothing
}

TEST_CASE("buffers: what the system has no memory for is an error, and nothing is charged") {
  scene s;
  CHECK(code_of(s.owner.buffers->make(std::size_t{1} << 55U)) == errc::out_of_memory);
  CHECK(code_of(s.owner.buffers->make(SIZE_MAX)) == errc::out_of_memory);
  CHECK(s.owner.memory.bytes_in_use() == 0);
  CHECK(s.space.blocks() == 0);
}

TEST_CASE("buffers: an empty block crosses, moves and is freed like any other") {
  scene s;
  buffer b = s.owner.buffers->make(0).value();
  CHECK(text_of(b).empty());
  buffer there = s.other.buffers->receive(scene::sent(b.hand_over().value())).value();
  CHECK(there.edit());
  b = {};
  there = {};
  CHECK(s.other.turn());
  CHECK(s.space.blocks() == 0);
}

TEST_CASE("buffers: after the owner's end every access names it, and the memory is gone at once") {
  scene s;
  const buffer mine = s.owner.buffers->make(4).value();
  const buffer theirs = s.pass(mine, s.other);
  const wire_slice flying = scene::sent(mine);
  s.owner.die();
  const auto look = theirs.look();
  REQUIRE_FALSE(look);
  CHECK(look.error().code == errc::interpreter_gone);
  CHECK(look.error().message == "interpreter 1 'owner' is gone, and buffer 1 with it");
  CHECK(look.error().interpreter == s.owner.home.id);
  CHECK(theirs.edit().error().code == errc::interpreter_gone);
  CHECK(code_of(theirs.slice(0, 1)) == errc::interpreter_gone);
  wire_buffer w;
  CHECK(theirs.put(w).error().code == errc::interpreter_gone);
  // In flight when it ended: it arrives, and says the same.
  const buffer late = s.other.buffers->receive(flying).value();
  CHECK(text_of(late) == "interpreter_gone");
  CHECK(late.describe() == "buffer 1 of interpreter 1 'owner': 4 bytes, ended");
  CHECK(code_of(s.owner.buffers->make(1)) == errc::runtime_finalizing);
}

TEST_CASE("buffers: of a dead owner, whoever lets go last destroys what is left") {
  scene s;
  buffer mine = s.owner.buffers->make(4).value();
  buffer theirs = s.pass(mine, s.other);
  s.owner.die();
  mine = {};
  CHECK(s.space.blocks() == 1);
  theirs = {};
  CHECK(s.space.blocks() == 0);
}

TEST_CASE("buffers: the last hold that went just before the owner's end is settled by that end") {
  scene s;
  { const buffer b = s.owner.buffers->make(4).value(); }
  CHECK(s.space.blocks() == 1);
  s.owner.die();
  CHECK(s.space.blocks() == 0);
}

TEST_CASE("buffers: an owner that ends while somebody reads leaves the bytes to the reader") {
  scene s;
  const buffer mine = s.owner.buffers->make(5).value();
  write(mine, "bytes");
  auto reader = std::make_unique<result<buffer_view>>(s.pass(mine, s.other).look());
  auto second = std::make_unique<result<buffer_view>>(mine.look());
  s.owner.die();
  CHECK(text_of(mine) == "interpreter_gone"); // nobody new
  CHECK((*reader)->bytes() == "bytes");
  reader.reset();
  CHECK((*second)->bytes() == "bytes"); // under AddressSanitizer: still there
  second.reset();
}

TEST_CASE("buffers: what was on its way to a new owner when the old one ended arrives whole") {
  scene s;
  buffer mine = s.owner.buffers->make(4).value();
  write(mine, "will");
  const wire_slice flying = scene::sent(mine.hand_over().value());
  s.owner.die();
  const buffer theirs = s.other.buffers->receive(flying).value();
  CHECK(text_of(theirs) == "will");
  CHECK(text_of(mine) == "buffer_moved");
  CHECK(s.other.memory.bytes_in_use() == 4);
}

TEST_CASE("buffers: what was on its way when the old owner ended, and nobody receives, ends with it") {
  scene s;
  buffer mine = s.owner.buffers->make(4).value();
  const buffer guest = s.pass(mine, s.other);
  const wire_slice flying = scene::sent(mine.hand_over().value());
  s.owner.die();
  CHECK(text_of(guest) == std::string(4, '\0')); // somebody may still get it
  s.space.give_back(flying);
  CHECK(text_of(guest) == "interpreter_gone");
  CHECK(s.space.in_flight() == 0);
}

TEST_CASE("buffers: bytes that are no buffer are an error and touch nothing") {
  scene s;
  const buffer mine = s.owner.buffers->make(4).value();
  const auto code = [&](const wire_slice& w) { return code_of(s.other.buffers->receive(w)); };
  CHECK(code({1, 0, 4, true, false}) == errc::bad_message); // it is there, but in no message
  CHECK(code({77, 0, 1, true, false}) == errc::bad_message);
  wire_slice flying = scene::sent(mine);
  flying.length = 5;
  CHECK(code(flying) == errc::bad_message);
  flying = scene::sent(mine);
  flying.offset = UINT64_MAX;
  CHECK(code(flying) == errc::bad_message);
  flying = scene::sent(mine);
  flying.moved = true; // it is not on its way to anybody
  CHECK(code(flying) == errc::bad_message);
  CHECK(s.space.in_flight() == 0);
  s.space.give_back(flying); // nor is there anything to give back
  CHECK(text_of(mine) == std::string(4, '\0'));
  CHECK(s.owner.memory.bytes_in_use() == 4);
}

TEST_CASE("buffers: ids are never used again, also when blocks are") {
  scene s;
  std::uint64_t last = 0;
  for (int i = 0; i < 10; ++i) {
    const buffer b = s.owner.buffers->make(16).value();
    CHECK(b.id() > last);
    last = b.id();
  }
}

TEST_CASE("buffers: handles outlive accounts, inboxes and the directory") {
  buffer kept;
  {
    scene s;
    kept = s.owner.buffers->make(4).value();
  }
  CHECK(text_of(kept) == "interpreter_gone");
}

TEST_CASE("directory: what lost messages held of channels and buffers ends with the runtime") {
  std::weak_ptr<channel_space> channels;
  std::weak_ptr<buffer_space> buffers;
  {
    scene s;
    channels = s.d.channels();
    buffers = s.d.buffers();
    s.d.channels()->hold(s.d.channels()->make({}).value());
    (void)scene::sent(s.owner.buffers->make(4).value()); // and nobody ever gives it back
    s.owner.die();
    s.other.die();
  }
  CHECK(channels.expired());
  CHECK(buffers.expired());
}

TEST_CASE("buffers: a block nobody wrote to costs no page") {
  scene s;
  constexpr std::size_t gib = std::size_t{1} << 30U;
  const std::size_t before = resident_bytes();
  const buffer b = s.owner.buffers->make(gib).value();
  const auto view = b.edit();
  view->data()[gib / 2] = 'x';
  CHECK(view->data()[gib / 2 + 1] == '\0');
  CHECK(resident_bytes() - before < gib / 4); // sanitizers have memory of their own to say about it
}

// -- at random ---------------------------------------------------------------------------------------------------------

namespace {

/// Parties that make, share, slice, move, drop and die, one step after the other; messages arrive in any order or never.
class village {
public:
  explicit village(std::uint64_t seed) : random_(seed) {
    for (int i = 0; i < 4; ++i) parties_.push_back(std::make_unique<party>(d_, i == 0 ? 4096 : 0));
    held_.resize(parties_.size());
    alive_.assign(parties_.size(), true);
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      step();
      check();
    }
    for (const flight& f : flights_) d_.buffers()->give_back(f.slice);
    flights_.clear();
    for (auto& h : held_) h.clear();
    for (std::size_t i = 0; i < parties_.size(); ++i)
      if (alive_[i]) parties_[i]->turn();
    for (std::size_t i = 0; i < parties_.size(); ++i)
      if (alive_[i]) CHECK(parties_[i]->memory.bytes_in_use() == 0);
    CHECK(d_.buffers()->blocks() == 0);
  }

private:
  struct flight {
    std::size_t to;
    wire_slice slice;
  };
  std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }

  void step() {
    const std::size_t who = below(parties_.size());
    party& p = *parties_[who];
    std::vector<buffer>& mine = held_[who];
    switch (below(9)) {
    case 0:
      if (auto b = p.buffers->make(below(2000)); b && alive_[who]) mine.push_back(std::move(*b));
      break;
    case 1:
    case 2:
      if (!mine.empty()) send(mine[below(mine.size())]);
      break;
    case 3:
      if (!mine.empty())
        if (const auto moving = mine[below(mine.size())].hand_over()) send(*moving);
      break;
    case 4:
    case 5:
      if (!flights_.empty()) arrive(below(flights_.size()));
      break;
    case 6:
      if (!mine.empty()) {
        const buffer& b = mine[below(mine.size())];
        if (auto part = b.slice(b.size() / 4, b.size() / 2)) mine.push_back(std::move(*part));
      }
      break;
    case 7:
      if (!mine.empty()) {
        const std::size_t i = below(mine.size());
        if (below(2) == 0) p.buffers->drop(std::move(mine[i]));
        mine.erase(mine.begin() + static_cast<std::ptrdiff_t>(i));
      }
      if (alive_[who]) p.turn();
      break;
    default:
      if (below(40) == 0 && alive_[who]) {
        alive_[who] = false;
        if (below(2) == 0) mine.clear(); // otherwise they are let go of later, by others' threads
        p.die();
      }
      break;
    }
  }

  void send(const buffer& b) {
    wire_buffer w;
    if (b.put(w)) flights_.push_back({below(parties_.size()), scene::slice_in(w)});
  }

  void arrive(std::size_t i) {
    const flight f = flights_[i];
    flights_.erase(flights_.begin() + static_cast<std::ptrdiff_t>(i));
    if (!alive_[f.to]) return d_.buffers()->give_back(f.slice);
    if (auto b = parties_[f.to]->buffers->receive(f.slice)) held_[f.to].push_back(std::move(*b));
  }

  void check() {
    REQUIRE(d_.buffers()->in_flight() == flights_.size());
    std::size_t owned = 0;
    for (std::size_t i = 0; i < parties_.size(); ++i) {
      owned += parties_[i]->buffers->owned();
      for (const buffer& b : held_[i])
        if (const auto view = b.look(); view && view->size() > 0) sum_ += static_cast<unsigned char>(view->data()[0]);
    }
    REQUIRE(owned <= d_.buffers()->blocks());
  }

  std::mt19937_64 random_;
  directory d_;
  std::vector<std::unique_ptr<party>> parties_;
  std::vector<std::vector<buffer>> held_;
  std::vector<bool> alive_;
  std::vector<flight> flights_;
  unsigned sum_ = 0; // so that every byte looked at is read
};

} // namespace

TEST_CASE("buffers: whatever happens in which order, holds in messages are counted, and in the end nothing is left") {
  const testing::seeds s = testing::seeds::from_environment(1, 60);
  for (std::uint64_t seed = s.first; seed < s.first + s.count; ++seed) {
    CAPTURE("ATOLL_SEED=" + std::to_string(seed));
    village(seed).run(600);
  }
}
