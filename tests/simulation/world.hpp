// A whole runtime on one thread, replayed from a seed: Lua and native guests on CAF's test coordinator, a clock that is
// set by hand, and after every turn the audit (tests/actors/audit.hpp).
// Why: whatever the runtime does, it can be seen doing it again, turn by turn.
// Ownership: one per schedule. Threads: one.
//
// A schedule: main and some interpreters start; then, step by step, the dice say who has the next turn, when time passes,
// what the host program asks, keeps and lets go, who is killed, stopped or interrupted. It ends either in the middle, or
// when everybody has let go and must have nothing left; and with a finalization, which must be clean.
#pragma once

#include <caf/scheduler/test_coordinator.hpp>

#include <random>
#include <stdexcept>

#include "actors/core.hpp"
#include "actors/finalization.hpp"
#include "channels/disposal.hpp"
#include "tests/actors/audit.hpp"
#include "tests/simulation/players.hpp"

namespace Atoll::test {

class world final : public waiter {
public:
  explicit world(std::uint64_t seed) : dice_(seed), runtime_(std::make_shared<core>(configure(seed), this)) {}
  ~world() {
    over_ = true;
    runtime_->finalize();
  }

  /// What was violated, empty when nothing.
  std::string run() {
    try {
      const source main{source_kind::code, lua_player, "player"};
      const auto ended = runtime_->run_main({.name = "main", .language = "lua"}, main, [](wire_writer& w) {
        w.put_string(lua_player);
        w.put_bool(true);
        return true;
      });
      if (!ended) violated("main failed: " + ended.error().message);
      finish();
    } catch (const over&) {
    }
    return why_;
  }

  bool lent() const noexcept { return lent_; }
  std::uint64_t turns() const noexcept { return turns_; }
  /// Of everything that happened, in order: a replay has the same.
  std::uint64_t trace() const noexcept { return trace_; }
  const finalization_report& report() const noexcept { return report_; }

  // -- waiter --------------------------------------------------------------------------------------------------------
  void wait(time_point until) override {
    if (until != time_point::max()) return bring_down(until);
    if (steps_left_ > 0) {
      --steps_left_;
      return step();
    }
    deliver_all_delayed();
    if (winds_up_) wind_up();
    runtime_->request_exit(0);
  }

private:
  struct over {}; // a violation, thrown to get out of the middle of the runtime

  system_config configure(std::uint64_t seed) {
    constexpr std::array<credit_policy, 5> policies{{{.grant = 4, .low = 1, .cap = 16},
                                                     {.grant = 1, .low = 1, .cap = 4},
                                                     {.grant = 3, .low = 0, .cap = 3},
                                                     {.grant = 2, .low = 1, .cap = 8},
                                                     {}}};
    system_config c;
    c.workers = 1;
    c.credit = policies[below(policies.size())];
    if (chance(3)) c.high_water = 1 + below(4);
    if (chance(3)) c.turn_messages = 1 + below(3);
    c.seed = seed;
    c.languages["lua"] = lua();
    c.languages["native"] = native(native_player());
    c.log_threshold = log_level::error;
    c.log = [this](std::string_view line) {
      if (line.find("broken: ") != std::string_view::npos) violated(std::string(line));
    };
    deaths_ = !chance(3);
    winds_up_ = chance(2);
    delays_ = chance(2);
    steps_left_ = static_cast<int>(40 + below(600));
    return c;
  }

  std::size_t below(std::size_t n) { return static_cast<std::size_t>(dice_() % n); }
  bool chance(std::size_t one_in) { return below(one_in) == 0; }
  void violated(std::string what) {
    if (why_.empty()) why_ = std::move(what);
  }
  void note(std::uint64_t what) noexcept { trace_ = (trace_ ^ what) * 0x100000001B3ULL; }

  auto& scheduler() { return static_cast<caf::scheduler::test_coordinator&>(runtime_->caf().scheduler()); }

  // -- steps ---------------------------------------------------------------------------------------------------------

  void step() {
    switch (below(24)) {
    case 0: pass_time(std::chrono::microseconds(below(3000))); break;
    case 1:
    case 2: ask_to_act(); break;
    case 3: ask_for_references(); break;
    case 4: use_reference(); break;
    case 5: let_go(); break;
    case 6: spawn(); break;
    case 7:
      if (deaths_ && chance(6)) end_somebody();
      break;
    case 8:
      if (delays_) delay_words();
      break;
    case 9:
      if (!delayed_.empty()) deliver_delayed(below(delayed_.size()));
      break;
    default:
      if (!turn()) ask_to_act();
    }
    check();
  }

  // -- the network ---------------------------------------------------------------------------------------------------

  /// The protocol must not depend on an order: its words fall behind the messages they came with, as between machines.
  void delay_words() {
    const auto living = runtime_->living();
    if (living.empty()) return;
    inbox& box = living[below(living.size())]->shell().box();
    std::vector<envelope_ptr> all;
    while (envelope_ptr e = box.take()) all.push_back(std::move(e));
    for (envelope_ptr& e : all) {
      envelope_writer stays(e->from());
      envelope_writer falls_behind(e->from());
      wire_reader in = e->reader();
      while (!in.at_end()) {
        record r = next_record(in);
        const bool word = r.kind >= record_kind::decref && r.kind <= record_kind::loan_return;
        envelope_writer& w = word && chance(2) ? falls_behind : stays;
        const std::size_t start = open_record(w, r.kind);
        w.put_bytes(r.body.get_bytes(r.body.left()));
        close_record(w, start);
        w.count_record();
      }
      const std::uint32_t count = e->count();
      if (!stays.empty() && !box.push(stays.take())) violated("an inbox closed between two turns");
      if (!falls_behind.empty()) delayed_.emplace_back(box.id(), falls_behind.take());
      for (const interpreter_id waiting : box.handled(count)) tell_of_room(box.id(), waiting);
    }
  }
  void deliver_delayed(std::size_t k) {
    auto [to, e] = std::move(delayed_[k]);
    delayed_.erase(delayed_.begin() + static_cast<std::ptrdiff_t>(k));
    deliver_to(to, std::move(e));
  }
  void deliver_all_delayed() {
    while (!delayed_.empty()) deliver_delayed(0);
  }
  void tell_of_room(interpreter_id from, interpreter_id waiting) {
    envelope_writer w(from);
    close_record(w, open_record(w, record_kind::room));
    w.count_record();
    deliver_to(waiting, w.take());
  }
  void deliver_to(interpreter_id to, envelope_ptr e) {
    if (const inbox_ptr box = runtime_->where().find(to)) return deliver(*box, std::move(e), runtime_->where());
    dispose(std::move(e), to, runtime_->where());
  }

  /// Gives one of those who are scheduled its turn; false when nobody is.
  bool turn() {
    auto& jobs = scheduler().jobs;
    if (jobs.empty()) return false;
    const std::size_t chosen = below(jobs.size());
    std::rotate(jobs.begin(), jobs.begin() + static_cast<std::ptrdiff_t>(chosen), jobs.end());
    const auto* actor = dynamic_cast<interpreter_actor*>(jobs.front());
    note(actor != nullptr ? number(const_cast<interpreter_actor*>(actor)->shell().id()) : ~std::uint64_t{0});
    note(jobs.size());
    ++turns_;
    scheduler().run_once();
    return true;
  }

  void pass_time(time_point::duration by) {
    note(static_cast<std::uint64_t>(by.count()));
    scheduler().advance_time(by);
  }

  std::optional<interpreter_handle> anybody() {
    const auto all = runtime_->list();
    if (all.empty()) return std::nullopt;
    return all[below(all.size())];
  }
  /// What the host program passes along: references it holds.
  std::vector<value> some() {
    std::vector<value> all;
    for (std::size_t n = below(3); n > 0 && !held_.empty(); --n) all.push_back(to_value(held_[below(held_.size())]));
    return all;
  }
  void asked(future<value> f) {
    if (chance(4)) return; // nobody awaits it
    asked_.push_back(std::move(f));
  }
  void ask_to_act() {
    if (const auto who = anybody()) asked(who->call("act"));
  }
  void ask_for_references() {
    const auto who = anybody();
    if (!who) return;
    const auto args = some();
    asked(args.empty() ? who->call("give") : who->call("give", args[0], args.back()));
  }
  void use_reference() {
    take_answers();
    if (held_.empty()) return ask_for_references();
    const Atoll::ref<> r = held_[below(held_.size())];
    const auto args = some();
    asked(args.empty() ? r.call("poke") : r.call(chance(4) ? "refuse" : "poke", args[0]));
  }
  void let_go() {
    take_answers();
    if (held_.empty()) return;
    if (chance(3)) {
      held_.push_back(held_[below(held_.size())]);
    } else {
      held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(below(held_.size())));
    }
  }
  void spawn() {
    if (runtime_->list().size() > 6) return;
    const bool in_lua = chance(2);
    const source from{source_kind::code, in_lua ? lua_player : "", "player"};
    std::vector<value> args = some();
    if (in_lua) args.insert(args.begin(), {value(std::string_view(lua_player)), value(false)});
    started_.push_back(runtime_->spawn({.language = in_lua ? "lua" : "native"}, from, args));
  }
  void end_somebody() {
    const auto who = anybody();
    if (!who) return;
    note(number(who->id()));
    switch (below(4)) {
    case 0: stopped_.push_back(who->stop(std::chrono::milliseconds(below(3)))); break;
    case 1: (void)who->interrupt(); break;
    default: (void)who->kill(); break;
    }
  }
  void take_answers() {
    std::erase_if(asked_, [this](const future<value>& f) {
      if (!f.ready()) return false;
      const auto got = f.get();
      if (!got) return true;
      if (const reference* r = got->if_reference(); r != nullptr && held_.size() < 10) held_.emplace_back(*r);
      return true;
    });
  }

  // -- the audit -----------------------------------------------------------------------------------------------------

  void check() {
    audit books;
    for (const auto& a : runtime_->living()) {
      interpreter& i = a->shell();
      books.show(i.id(), i.imports(), &i.exports());
      books.show_inbox(i.box());
      i.for_each_unhandled([&](wire_reader records) { books.show_in_flight(i.id(), records); });
    }
    runtime_->port().with_imports([&](const import_table& t) { books.show(host_interpreter, t); });
    books.show_inbox(runtime_->port().box());
    for (auto& [to, e] : delayed_) books.show_in_flight(to, e->reader());
    for (const tombstone& stone : runtime_->where().all_pinned()) books.show_pinned(stone);
    books.show_buffers(*runtime_->where().buffers());
    for (const std::string& violation : books.violations()) violated(violation);
    lent_ = lent_ || books.lent();
    if (!why_.empty()) throw over{};
  }

  // -- the end -------------------------------------------------------------------------------------------------------

  /// Turns, and time for those who sleep, until nobody has anything to do for a second.
  void rest() {
    for (int turns = 0; turn() || scheduler().advance_time(std::chrono::seconds(1)) > 0; ++turns) {
      check();
      if (turns > 20000) {
        violated("I3: they never come to rest");
        throw over{};
      }
    }
  }
  /// Everybody lets go of everything; then nothing is left.
  void wind_up() {
    for (int round = 0; round < 3; ++round) {
      held_.clear();
      for (const auto& who : runtime_->list()) asked_.push_back(who.call("wind_up"));
      for (int i = 0; i < 3; ++i) rest();
      asked_answered();
    }
    const auto living = runtime_->living();
    for (const auto& a : living) {
      interpreter& i = a->shell();
      const std::string name = " of interpreter " + std::to_string(number(i.id()));
      for (const std::string& what : left_over(i)) violated(what + name);
      if (i.program() != nullptr && i.program()->tasks() != 0) violated("I5: a task waits for ever" + name);
    }
    if (runtime_->where().tombstones() != 0) violated("I3: a tombstone is left");
    if (!why_.empty()) throw over{};
  }
  void asked_answered() {
    for (const auto& f : asked_)
      if (!f.ready()) violated("I5: a call of the host program is not answered");
    take_answers();
    held_.clear();
  }
  void bring_down(time_point until) {
    ++waits_;
    if (waits_ > 100000 && !over_) {
      violated("the finalization never ends");
      throw over{};
    }
    if (!turn()) pass_time(std::max(until - runtime_->now(), time_point::duration(1)));
    if (over_) return pass_time(std::chrono::milliseconds(10));
    if (chance(8)) let_go();
    check();
  }
  void finish() {
    deliver_all_delayed();
    if (chance(2)) held_.clear();
    report_ = runtime_->finalize();
    for (const auto& f : asked_)
      if (!f.ready()) violated("I5: a call of the host program is not answered by the end");
    for (const auto& f : started_)
      if (!f.ready()) violated("I5: a start is not answered by the end");
    for (const auto& f : stopped_)
      if (!f.ready()) violated("I5: a stop is not answered by the end");
    if (report_.verdict == finalization_report::verdict_kind::forced) violated("finalization had to use force");
    for (const exported_object& l : report_.leaked)
      if (l.holders != std::vector{host_interpreter}) violated("an object leaked that the host does not hold");
    if (runtime_->where().tombstones() != 0) violated("I3: a tombstone is left at the end");
    if (runtime_->where().size() != 0) violated("somebody is left at the end");
    std::set<interpreter_id> reported;
    for (const interpreter_report& r : report_.interpreters) {
      if (!reported.insert(r.id).second) violated("two reports of one interpreter");
      if (r.released > r.exported) violated("I4: more released than exported");
      note(r.messages);
      note(r.exported);
    }
    held_.clear();
  }

  std::mt19937_64 dice_;
  bool over_ = false; // only the end is still to come: nothing is checked
  bool deaths_ = true;
  bool winds_up_ = true;
  bool delays_ = false;
  int steps_left_ = 0;
  int waits_ = 0;
  std::uint64_t turns_ = 0;
  std::uint64_t trace_ = 0xCBF29CE484222325ULL;
  bool lent_ = false;
  std::string why_;
  finalization_report report_;
  std::shared_ptr<core> runtime_;
  std::vector<future<value>> asked_;
  std::vector<future<interpreter_handle>> started_;
  std::vector<future<void>> stopped_;
  std::vector<Atoll::ref<>> held_;
  std::vector<std::pair<interpreter_id, envelope_ptr>> delayed_;
};

} // namespace Atoll::test
