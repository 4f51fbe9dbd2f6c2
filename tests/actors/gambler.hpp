// A guest that does whatever its dice say: sends objects, references and buffers on, keeps them, lets go, calls, answers late,
// takes messages back, waits for room, spawns, monitors; and keeps its books, so that others can tell what went wrong.
// Why: one such program for the shell without threads (shell_simulation_test.cpp) and on threads (tests/shell_threads).
// Ownership: the shell owns the gambler, its house the book, which outlives it.
// Threads: the owner's turns; the book is anybody's while all rest.
#pragma once

#include <chrono>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "channels/buffer_space.hpp"
#include "runtime/guest.hpp"
#include "runtime/host.hpp"
#include "runtime/references.hpp"
#include "tests/actors/gambling_house.hpp"

namespace Atoll::test {

class gambler final : public guest {
public:
  gambler(gambling_house& house, gambler_book& book, host& h, std::uint64_t seed, const gambler_habits& habits)
      : house_(house), book_(book), host_(h), dice_(seed), habits_(habits) {}

  void act();
  /// Everything that was put off or kept comes to its end.
  void wind_up();

  void start(request_id request, const source& from, wire_reader args) override;
  void deliver(const incoming& m) override;
  void resume(guest_word token, const outcome& what) override;
  bool run_ready() override { return one_in(40); }
  void drop(guest_word object) override;
  std::string describe(guest_word) override { return "number"; }
  bool waiting() const override { return true; }
  std::size_t tasks() const override { return 0; }
  void run_exit_handlers() override;
  void interrupt(errc) override {}
  void drop_imports() override { held_.clear(); }
  void close() override;
  void tick() noexcept override {}

private:
  using wait = gambler_book::wait;

  std::size_t below(std::size_t n) { return static_cast<std::size_t>(dice_() % n); }
  bool one_in(std::size_t n) { return n > 0 && below(n) == 0; }
  interpreter_id anybody() { return house_.anybody(dice_()); }
  void violated(const std::string& what) {
    house_.violated("interpreter " + std::to_string(number(host_.id())) + ": " + what);
  }
  guest_word expect(wait what, interpreter_id whom) {
    book_.expectations.push_back({what, whom, 0, false});
    return book_.expectations.size();
  }
  gambler_book::expectation& expected(guest_word token) { return book_.expectations[token - 1]; }
  void cancel(guest_word token) { expected(token).cancelled = true; }

  void take(wire_reader values);
  void fill(wire_writer& w);
  void fill_one(wire_writer& w);
  void put_own(wire_writer& w);
  void put_shared(wire_writer& w);
  void take_shared(const wire_slice& s);
  bool finish(interpreter_id to);
  void send();
  void call();
  void invoke();
  void spawn();
  void let_go();
  void answer(request_id request);
  void answer_plainly(request_id request);
  void answer_kept();
  void forget_call();
  void set_timer();
  void cancel_timer();
  void monitor();
  void demonitor();
  void leave();
  import_table::index any_held() { return held_[below(held_.size())]; }

  gambling_house& house_;
  gambler_book& book_;
  host& host_;
  std::mt19937_64 dice_;
  const gambler_habits habits_;
  std::vector<import_table::index> held_;
  std::vector<buffer> shared_;
  std::map<guest_word, export_table::slot_index> slots_;
  std::vector<request_id> kept_;
  request_id started_ = no_request;
  std::vector<std::pair<call_id, guest_word>> calls_;
  std::vector<std::pair<std::uint64_t, guest_word>> timers_;
  std::vector<std::pair<interpreter_id, guest_word>> monitors_;
  bool leaving_ = false;
  bool closed_ = false;
};

// -- values ---------------------------------------------------------------------------------------------------------------

inline void gambler::take(wire_reader values) {
  struct taker final : wire_visitor {
    explicit taker(gambler& g) : self(g) {}
    void on_reference(const wire_ref& r) override {
      const auto got = self.host_.receive_reference(r);
      if (!got) return self.violated("rule 10: one's own object came home and was unknown");
      if (got->own) {
        if (self.slots_.count(got->object) == 0) self.violated("one's own object came home as another");
        return;
      }
      if (self.house_.winding_up() || self.one_in(3)) return self.host_.imports().drop_use(got->import);
      self.held_.push_back(got->import);
    }
    void on_buffer(const wire_slice& s) override { self.take_shared(s); }
    gambler& self;
  } t(*this);
  walk_values(values, t);
  while (held_.size() > 30) let_go();
}

inline void gambler::put_own(wire_writer& w) {
  if (slots_.empty() || one_in(3)) {
    const guest_word word = book_.drops.size();
    book_.drops.push_back(0);
    slots_[word] = host_.exports().add(word);
  }
  auto it = slots_.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(below(slots_.size())));
  // The new one may not be the one chosen: whatever was added is minted at once.
  for (auto& [word, slot] : slots_)
    if (host_.exports().out(slot) == 0) it = slots_.find(word);
  put_exported(w, host_.exports(), it->second);
}

/// Part of a block, all of it, or the block itself.
inline void gambler::put_shared(wire_writer& w) {
  if (shared_.empty() || one_in(4)) {
    if (auto made = host_.buffers().make(below(100))) shared_.push_back(std::move(*made));
  }
  if (shared_.empty()) return;
  const buffer& b = shared_[below(shared_.size())];
  result<buffer> what = one_in(3) ? b.hand_over() : b.slice(b.size() / 4, b.size() / 2);
  (void)(what && !one_in(3) ? *what : b).put(w); // one that was moved, or whose owner ended, is refused
}

inline void gambler::take_shared(const wire_slice& s) {
  auto got = host_.buffers().receive(s);
  if (!got) {
    if (got.error().code == errc::bad_message) violated("a buffer came that was in no message: " + got.error().message);
    return;
  }
  // Nobody writes, so they may read at any time.
  if (const auto view = got->look(); view && view->size() > 0 && view->data()[0] != 0)
    violated("a block was overwritten");
  if (house_.winding_up() || one_in(3)) return;
  shared_.push_back(std::move(*got));
  if (shared_.size() > 10) shared_.erase(shared_.begin());
}

inline void gambler::fill_one(wire_writer& w) {
  switch (below(6)) {
  case 5: put_shared(w); break;
  case 0: put_own(w); break;
  case 1: w.put_string(std::string(below(200), 'x')); break;
  default:
    if (held_.empty()) return put_own(w);
    put_imported(w, host_.imports(), any_held());
    break;
  }
}

inline void gambler::fill(wire_writer& w) {
  for (std::size_t n = below(4); n > 0; --n) fill_one(w);
}

// -- what it says ---------------------------------------------------------------------------------------------------------

/// Commits, or takes back; true when it was sent.
inline bool gambler::finish(interpreter_id to) {
  if (one_in(12)) {
    host_.rollback();
    return false;
  }
  const send_status sent = host_.commit();
  if (sent > send_status::crowded) {
    if (sent == send_status::gone) house_.told_gone(host_.id(), to);
    host_.rollback();
    return false;
  }
  if (sent == send_status::crowded || one_in(20)) host_.await_room(to, expect(wait::room, to));
  return true;
}

inline void gambler::send() {
  const interpreter_id to = anybody();
  wire_writer& w = host_.open_message(to, record_kind::send);
  w.put_text("f");
  fill(w);
  if (one_in(15)) w.put_string({"", std::size_t{1} << 33U});
  finish(to);
}

inline void gambler::call() {
  const interpreter_id to = anybody();
  wire_writer& w = host_.open_message(to, one_in(4) ? record_kind::eval : record_kind::call);
  const guest_word token = expect(wait::answer, to);
  const call_id c = host_.open_call(token);
  w.put_u64(c);
  w.put_text("f");
  fill(w);
  if (!finish(to)) return cancel(token);
  calls_.emplace_back(c, token);
}

inline void gambler::invoke() {
  if (held_.empty()) return;
  const auto target = any_held();
  const interpreter_id to = host_.imports().id_of(target).owner;
  wire_writer& w = host_.open_message(to, record_kind::invoke);
  guest_word token = 0;
  call_id c = 0;
  if (one_in(2)) {
    token = expect(wait::answer, to);
    c = host_.open_call(token);
  }
  w.put_u64(c);
  w.put_u8(static_cast<std::uint8_t>(below(4)));
  put_imported_target(w, host_.imports(), target);
  w.put_text("m");
  fill(w);
  const bool sent = finish(to);
  if (token == 0) return;
  if (!sent) return cancel(token);
  calls_.emplace_back(c, token);
}

inline void gambler::spawn() {
  if (house_.full()) return;
  const guest_word token = expect(wait::answer, {});
  const bool written = !one_in(10);
  const auto child = host_.spawn(
      {.language = "gambler"}, {source_kind::code, one_in(10) ? "fail" : "", {}},
      [&](wire_writer& w) {
        fill(w);
        return written;
      },
      token);
  if (!child) return cancel(token);
  expected(token).whom = *child;
}

inline void gambler::let_go() {
  if (!shared_.empty() && one_in(3)) {
    host_.buffers().drop(std::move(shared_.back()));
    shared_.pop_back();
  }
  if (held_.empty()) return;
  const std::size_t k = below(held_.size());
  const auto i = held_[k];
  held_[k] = held_.back();
  held_.pop_back();
  if (one_in(habits_.forgets_use)) return;
  host_.imports().drop_use(i);
}

inline void gambler::answer_plainly(request_id request) {
  if (one_in(habits_.forgets_answer)) return;
  host_.open_reply(request).put_int(1);
  host_.commit();
}

inline void gambler::answer(request_id request) {
  if (request == no_request) return;
  if (house_.winding_up()) return answer_plainly(request);
  if (request == started_) started_ = no_request; // the number is used again
  switch (below(7)) {
  case 0: kept_.push_back(request); break;
  case 1: host_.reply_error(request, {errc::guest_error, "no", {}, {}, {}, {}}); break;
  case 2: {
    wire_writer& w = host_.open_reply(request);
    fill(w);
    w.put_string({"", std::size_t{1} << 33U});
    if (host_.commit() != send_status::no_memory) violated("a failed record was sent");
    host_.rollback();
    host_.reply_error(request, {errc::out_of_memory, "no", {}, {}, {}, {}});
    break;
  }
  default:
    fill(host_.open_reply(request));
    host_.commit();
    break;
  }
}

// -- what it hears --------------------------------------------------------------------------------------------------------

inline void gambler::start(request_id request, const source& from, wire_reader args) {
  take(args);
  if (from.text == "fail") return host_.reply_error(request, {errc::load_error, "no", {}, {}, {}, {}});
  if (!house_.winding_up() && one_in(6)) {
    kept_.push_back(request);
    started_ = request; // a start is answered without values: it may be the host program that waits
    return;
  }
  answer_plainly(request);
}

inline void gambler::deliver(const incoming& m) {
  if (m.kind == record_kind::invoke && slots_.count(m.target) == 0) violated("rule 10: an unknown object is called");
  if (one_in(20)) {
    host_.give_back(m.args);
  } else {
    take(m.args);
  }
  if (!house_.winding_up() && one_in(habits_.acts_when_asked)) act();
  answer(m.request);
}

inline void gambler::resume(guest_word token, const outcome& what) {
  if (token == 0 || token > book_.expectations.size()) return violated("an unknown token came back");
  gambler_book::expectation& e = expected(token);
  ++e.came;
  const bool fits = (e.what == wait::answer && what.what <= outcome::kind::failed)
                    || (e.what == wait::timer && what.what == outcome::kind::timer)
                    || (e.what == wait::room && what.what == outcome::kind::room)
                    || (e.what == wait::down && what.what == outcome::kind::down && what.down_id == e.whom);
  if (!fits) violated("an outcome of the wrong kind came");
  if (what.what == outcome::kind::down) house_.told_down(host_.id(), what.down_id);
  if (what.what == outcome::kind::values) take(what.values);
  if (!house_.winding_up() && one_in(habits_.acts_when_told)) act();
}

inline void gambler::drop(guest_word object) {
  ++book_.drops[object];
  if (slots_.erase(object) == 0) violated("I4: an unknown object is dropped");
}

inline void gambler::run_exit_handlers() {
  leaving_ = true;
  if (house_.winding_up() || one_in(2)) leave();
}

inline void gambler::leave() {
  if (!std::exchange(leaving_, false)) return;
  host_.exited();
}

inline void gambler::close() {
  // Some let go and send in their last moment, some just end.
  if (one_in(2)) {
    while (!held_.empty() && !one_in(4)) let_go();
    if (one_in(2)) send();
    if (!kept_.empty() && one_in(2) && kept_.back() != started_) answer(kept_.back());
  }
  closed_ = true;
}

// -- what it does ---------------------------------------------------------------------------------------------------------

inline void gambler::answer_kept() {
  if (kept_.empty()) return;
  answer_plainly(kept_.back());
  kept_.pop_back();
}

inline void gambler::forget_call() {
  if (calls_.empty() || !one_in(3)) return;
  const auto [c, token] = calls_.back();
  calls_.pop_back();
  if (expected(token).came > 0) return; // its answer may have come already
  host_.forget_call(c);
  cancel(token);
}

inline void gambler::set_timer() {
  const guest_word token = expect(wait::timer, {});
  timers_.emplace_back(host_.set_timer(host_.now() + std::chrono::microseconds(below(10'000)), token), token);
}

inline void gambler::cancel_timer() {
  if (timers_.empty()) return;
  const auto [timer, token] = timers_.back();
  timers_.pop_back();
  if (expected(token).came > 0) return;
  host_.cancel_timer(timer);
  cancel(token);
}

inline void gambler::monitor() {
  const interpreter_id whom = anybody();
  monitors_.emplace_back(whom, expect(wait::down, whom));
  host_.monitor(whom, monitors_.back().second);
}

inline void gambler::demonitor() {
  if (monitors_.empty() || !one_in(3)) return;
  const auto [whom, token] = monitors_.back();
  monitors_.pop_back();
  if (expected(token).came > 0) return;
  host_.demonitor(whom, token);
  cancel(token);
}

inline void gambler::act() {
  if (closed_) return;
  switch (below(20)) {
  case 0:
  case 1:
  case 2:
  case 3: return send();
  case 4:
  case 5:
  case 6: return call();
  case 7:
  case 8: return invoke();
  case 9:
  case 10: return let_go();
  case 11: return spawn();
  case 12: return answer_kept();
  case 13: return forget_call();
  case 14: return set_timer();
  case 15: return cancel_timer();
  case 16: return monitor();
  case 17: return demonitor();
  case 18:
    if (one_in(habits_.kills)) host_.kill(anybody());
    return;
  default: return leave();
  }
}

inline void gambler::wind_up() {
  if (closed_) return;
  for (const request_id r : kept_) answer_plainly(r);
  kept_.clear();
  while (!held_.empty()) let_go();
  shared_.clear();
  leave();
}

} // namespace Atoll::test
