// What foreign references cost in bulk.
//   releases [N]             a holder drops N imports of another interpreter's objects, and the clock stops when the owner
//                            has released the last. Prints "release nanoseconds" for bench/messages.sh.
//   releases references [N]  bytes for each of N live references, on the owner's and on the holder's side: what the tables
//                            say, and what malloc says
//   releases tables [N]      the tables alone, on one thread: nanoseconds to drop, to send and to take back one of N
//                            references, dropped in order and in no order; the best of some rounds
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>

#include "actors/system.hpp"
#include "runtime/references.hpp"

namespace {

using namespace Atoll;

/// Knows three words: the owner gives objects, the holder takes them, the holder drops them.
class minimal_guest : public guest {
public:
  explicit minimal_guest(host& outside) : out_(outside) {}
  void start(request_id request, const source&, wire_reader) override {
    out_.open_reply(request);
    out_.commit();
  }
  void deliver(const incoming&) override {}
  void resume(guest_word, const outcome&) override {}
  bool run_ready() override { return false; }
  void drop(guest_word) override {}
  std::string describe(guest_word) override { return "object"; }
  bool waiting() const override { return false; }
  std::size_t tasks() const override { return 0; }
  void run_exit_handlers() override { out_.exited(); }
  void interrupt(errc) override {}
  void drop_imports() override {}
  void close() override {}
  void tick() noexcept override {}

protected:
  host& out_;
};

struct shared_state {
  int n = 0;
  std::atomic<bool> done{true};
  clock_type::time_point start;
  clock_type::time_point end;
};

class owner_guest final : public minimal_guest {
public:
  owner_guest(host& outside, shared_state& state) : minimal_guest(outside), state_(state) {}
  void deliver(const incoming& m) override {
    wire_writer& w = out_.open_reply(m.request);
    for (int i = 0; i < state_.n; ++i)
      put_exported(w, out_.exports(), out_.exports().add(static_cast<guest_word>(i) + 1));
    out_.commit();
  }
  void drop(guest_word) override {
    if (++dropped_ < state_.n) return;
    dropped_ = 0;
    state_.end = clock_type::now();
    state_.done.store(true, std::memory_order_release); // the holder may look at the end now
  }

private:
  shared_state& state_;
  int dropped_ = 0;
};

class holder_guest final : public minimal_guest {
public:
  holder_guest(host& outside, shared_state& state) : minimal_guest(outside), state_(state) {}
  void start(request_id request, const source& from, wire_reader args) override {
    minimal_guest::start(request, from, args);
    owner_ = *out_.spawn({.language = "owner"}, {}, {}, 1);
  }
  void resume(guest_word token, const outcome& what) override {
    if (token == 2) {
      struct taker final : wire_visitor {
        explicit taker(holder_guest& s) : self(s) {}
        void on_reference(const wire_ref& r) override { self.held_.push_back(self.out_.receive_reference(r)->import); }
        holder_guest& self;
      } t(*this);
      wire_reader values = what.values;
      walk_values(values, t);
      state_.start = clock_type::now();
      for (const auto i : held_) out_.imports().drop_use(i);
      held_.clear();
      out_.set_timer(out_.now() + std::chrono::milliseconds(50), 3);
      return;
    }
    if (!state_.done.load(std::memory_order_acquire)) {
      out_.set_timer(out_.now() + std::chrono::milliseconds(50), 3);
      return;
    }
    if (rounds_++ == 7) return out_.request_exit(0);
    if (rounds_ > 2)
      std::printf("release %.2f\n",
                  std::chrono::duration<double, std::nano>(state_.end - state_.start).count() / state_.n);
    wire_writer& w = out_.open_message(owner_, record_kind::call);
    w.put_u64(out_.open_call(2));
    w.put_text("give");
    out_.commit();
    state_.done.store(false, std::memory_order_relaxed);
  }
  bool waiting() const override { return true; }

private:
  shared_state& state_;
  interpreter_id owner_{};
  std::vector<import_table::index> held_;
  int rounds_ = 0;
};

int drop_through_the_runtime(int n) {
  shared_state state;
  state.n = n;
  system_config config;
  config.workers = 2;
  config.languages["owner"] = [&](host& h) { return std::make_unique<owner_guest>(h, state); };
  config.languages["holder"] = [&](host& h) { return std::make_unique<holder_guest>(h, state); };
  Atoll::system runtime(config);
  const auto ended = runtime.run_main({.name = "holder", .language = "holder"}, {}, {});
  const auto report = runtime.finalize();
  return ended && report.exported == report.released ? 0 : 1;
}

// -- the tables alone --------------------------------------------------------------------------------------------------

constexpr interpreter_id owner{1};
constexpr interpreter_id holder{2};

std::size_t allocated() {
  const struct mallinfo2 m = mallinfo2();
  return m.uordblks + m.hblkhd;
}

int measure_memory(std::uint32_t n) {
  const std::size_t start = allocated();
  export_table exports(owner);
  for (std::uint32_t i = 0; i < n; ++i) exports.mint(exports.add(i));
  const std::size_t exported = allocated();
  import_table imports(holder);
  for (std::uint32_t i = 0; i < n; ++i) imports.receive({{owner, i, 1}, credit_policy{}.grant, {}});
  const std::size_t imported = allocated();
  const auto each = [&](std::size_t bytes) { return static_cast<double>(bytes) / n; };
  std::printf("owner  %.2f bytes each, malloc %.2f\n", each(exports.bytes()), each(exported - start));
  std::printf("holder %.2f bytes each, malloc %.2f\n", each(imports.bytes()), each(imported - exported));
  return 0;
}

/// Takes bytes as an envelope does.
class plain_writer final : public wire_writer {
public:
  wire_reader reader() { return {data(), data() + size()}; }

private:
  bool grow(std::size_t n) noexcept override {
    const std::size_t used = size();
    bytes_.resize((used + n) * 2);
    set_buffer(bytes_.data(), used, bytes_.size());
    return true;
  }
  std::vector<std::uint8_t> bytes_;
};

int measure_tables(std::uint32_t n) {
  std::mt19937 random(1);
  for (const bool shuffled : {false, true}) {
    double best[3] = {1e9, 1e9, 1e9};
    export_table exports(owner);
    import_table imports(holder);
    std::vector<import_table::index> held(n);
    plain_writer w;
    for (int round = 0; round < 12; ++round) {
      for (auto& h : held) h = imports.receive(exports.mint(exports.add(1)));
      if (shuffled) std::shuffle(held.begin(), held.end(), random);
      w.truncate(0);
      const auto start = clock_type::now();
      for (const auto i : held) imports.drop_use(i);
      const auto dropped = clock_type::now();
      const auto& runs = imports.queue().decrefs;
      w.put_u32(static_cast<std::uint32_t>(runs.size()));
      w.put_decrefs(runs.data(), runs.size());
      imports.queue().clear();
      const auto sent = clock_type::now();
      wire_reader in = w.reader();
      std::uint64_t let_go = 0;
      exports.take_back(in, [&] {
        while (const auto object = exports.take_due()) let_go += *object;
      });
      const auto end = clock_type::now();
      if (let_go != n) return 1;
      const double took[3] = {std::chrono::duration<double, std::nano>(dropped - start).count() / n,
                              std::chrono::duration<double, std::nano>(sent - dropped).count() / n,
                              std::chrono::duration<double, std::nano>(end - sent).count() / n};
      for (int k = 0; k < 3; ++k) best[k] = std::min(best[k], took[k]);
    }
    std::printf("%s: drop %.2f, send %.2f, take back %.2f ns each\n", shuffled ? "in no order" : "in order   ", best[0],
                best[1], best[2]);
  }
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  const auto number = [&](int at, int otherwise) { return argc > at ? std::atoi(argv[at]) : otherwise; };
  if (mode == "references") return measure_memory(static_cast<std::uint32_t>(number(2, 10000000)));
  if (mode == "tables") return measure_tables(static_cast<std::uint32_t>(number(2, 1000000)));
  return drop_through_the_runtime(number(1, 1000000));
}
