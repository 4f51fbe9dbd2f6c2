// Shared memory between threads: what only many tries, ThreadSanitizer or AddressSanitizer can see.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "channels/buffer_space.hpp"
#include "tests/channels/residents.hpp"
#include "tests/runtime/wire_buffer.hpp"

using namespace Atoll;
using test::resident;
using testing::wire_buffer;

namespace {

/// Threads that begin together.
template <class... F>
void together(const F&... work) {
  std::atomic<int> ready{0};
  constexpr int all = sizeof...(F);
  const auto begin = [&](const auto& f) {
    ready.fetch_add(1);
    while (ready.load() < all) std::this_thread::yield();
    f();
  };
  std::vector<std::thread> threads;
  (threads.emplace_back([&] { begin(work); }), ...);
  for (std::thread& t : threads) t.join();
}

struct owner {
  explicit owner(directory& d) : home(d), buffers(d.buffers(), home.id, "o", &memory, home.box) {}
  resident home;
  heap memory;
  buffer_account buffers;
};

} // namespace

TEST_CASE("buffers: an owner ends while two threads read its block, and each copy is whole or refused") {
  for (int round = 0; round < 300; ++round) {
    directory d;
    auto o = std::make_unique<owner>(d);
    buffer a = o->buffers.make(2000).value();
    {
      const auto view = a.edit();
      std::memset(view->data(), 7, view->size());
    }
    buffer b = a;
    std::atomic<int> copies{0};
    const auto read = [&](buffer& mine) {
      for (;;) {
        const auto view = mine.look();
        if (!view) break;
        const std::string copy(view->bytes()); // under AddressSanitizer: never freed memory
        if (copy == std::string(2000, 7)) copies.fetch_add(1);
      }
      mine = {};
    };
    together([&] { read(a); }, [&] { read(b); },
             [&] {
               while (copies.load() < 2) std::this_thread::yield();
               o->buffers.end();
             });
    CHECK(d.buffers()->blocks() == 0);
  }
}

TEST_CASE("buffers: the last release races with the owner's end, and the block is destroyed once") {
  for (int round = 0; round < 500; ++round) {
    directory d;
    owner o(d);
    buffer a = o.buffers.make(64).value();
    buffer b = a;
    together([&] { a = {}; }, [&] { b = {}; }, [&] { o.buffers.end(); });
    CHECK(d.buffers()->blocks() == 0);
  }
}

TEST_CASE("buffers: a message with a moved block is destroyed, received and its sender ended at once") {
  for (int round = 0; round < 500; ++round) {
    directory d;
    owner from(d);
    owner to(d);
    buffer b = from.buffers.make(64).value();
    wire_buffer w;
    REQUIRE(b.hand_over().value().put(w));
    struct finder final : wire_visitor {
      void on_buffer(const wire_slice& s) override { found = s; }
      wire_slice found;
    } f;
    wire_reader in = w.reader();
    REQUIRE(walk_values(in, f));
    const bool received = round % 2 == 0;
    buffer got;
    together(
        [&] {
          if (!received) return d.buffers()->give_back(f.found);
          got = to.buffers.receive(f.found).value();
        },
        [&] { from.buffers.end(); }, [&] { b = {}; });
    CHECK(d.buffers()->blocks() == (received ? 1 : 0));
    if (received) CHECK(got.look().value().size() == 64);
    to.buffers.drop(std::move(got));
    CHECK(d.buffers()->blocks() == 0);
    CHECK(to.memory.bytes_in_use() == 0);
  }
}

TEST_CASE("buffers: handed around by several threads, all of them come back to their owner's turn") {
  directory d;
  owner o(d);
  std::atomic<int> at_work{0};
  std::mutex mutex;
  std::vector<buffer> table;
  const auto take_and_put = [&] {
    ++at_work;
    for (int i = 0; i < 3000; ++i) {
      buffer b;
      {
        const std::scoped_lock lock(mutex);
        if (!table.empty()) b = table[static_cast<std::size_t>(i) % table.size()];
        if (table.size() > 8) table.erase(table.begin());
      }
      if (b && i % 3 == 0) b = b.slice(1, 2).value();
      if (b) CHECK(b.look());
    }
    --at_work;
  };
  std::thread a(take_and_put);
  std::thread b(take_and_put);
  for (int i = 0; i < 3000 || at_work.load() > 0; ++i) {
    {
      const std::scoped_lock lock(mutex);
      if (table.size() < 16) table.push_back(o.buffers.make(32).value());
    }
    o.home.read();
    if (o.buffers.has_news()) o.buffers.settle();
  }
  a.join();
  b.join();
  table.clear();
  // Every release has woken the owner, or was seen already.
  o.home.read();
  if (o.buffers.has_news()) o.buffers.settle();
  CHECK(o.memory.bytes_in_use() == 0);
  CHECK(d.buffers()->blocks() == 0);
}
