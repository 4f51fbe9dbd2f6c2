// What letting go of a foreign reference costs, in bulk: a holder drops n imports of another interpreter's objects, and
// the clock stops when the owner has released the last. Prints "release nanoseconds" for bench/messages.sh.
#include <cstdio>
#include <cstdlib>
#include <future>

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
  std::promise<void> done;
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
    state_.done.set_value();
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
    if (rounds_++ == 7) return out_.request_exit(0);
    if (rounds_ > 2)
      std::printf("release %.2f\n",
                  std::chrono::duration<double, std::nano>(state_.end - state_.start).count() / state_.n);
    wire_writer& w = out_.open_message(owner_, record_kind::call);
    w.put_u64(out_.open_call(2));
    w.put_text("give");
    out_.commit();
    state_.done = {};
  }
  bool waiting() const override { return true; }

private:
  shared_state& state_;
  interpreter_id owner_{};
  std::vector<import_table::index> held_;
  int rounds_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  shared_state state;
  state.n = argc > 1 ? std::atoi(argv[1]) : 1000000;
  system_config config;
  config.workers = 2;
  config.languages["owner"] = [&](host& h) { return std::make_unique<owner_guest>(h, state); };
  config.languages["holder"] = [&](host& h) { return std::make_unique<holder_guest>(h, state); };
  Atoll::system runtime(config);
  const auto ended = runtime.run_main({.name = "holder", .language = "holder"}, {}, {});
  const auto report = runtime.finalize();
  return ended && report.exported == report.released ? 0 : 1;
}
