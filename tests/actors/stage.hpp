// A village in which somebody dies before a given turn, whatever is being played.
// Why: owner and holder death at every step of the reference protocol, without writing each down.
// After every turn all credit is counted (tests/actors/audit.hpp), and what was seen is noted by the rows of
// ARCHITECTURE.md, "A reference's life". wind_up() ends the play: everybody lets go, and `why` says what is left or
// was never answered.
// Threads: one.
#pragma once

#include <deque>
#include <set>

#include "tests/actors/village.hpp"

namespace Atoll::test {

enum class manner {
  at_once,    // killed, and its last turn is the next
  killed,     // its last turn comes when the dice say so
  stopped,    // between other messages
  sees_it_out // stopped, and its exit handlers end when the story does
};

inline constexpr guest_word exported_again = 0; // the only object that may be exported, dropped, and exported anew

struct death {
  std::size_t role = 0;
  std::size_t before_turn = 0;
  manner how{};
};

/// Everybody who lives, what they wait for, and who dies when.
class stage : public village {
public:
  stage(const interpreter_config& config, std::uint64_t seed, std::vector<death> deaths)
      : village(config, seed), deaths_(std::move(deaths)), pauses_(seed) {
    languages["lingerer"] = [this](host& h) { return std::make_unique<lingerer>(*this, h); };
    probe_functions& f = scripts["probe"];
    f["give"] = [this](probe& p, const incoming& m) {
      p.take(m.args);
      p.put_own(p.outside().open_reply(m.request), new_object());
      p.outside().commit();
    };
    f["share"] = [](probe& p, const incoming& m) {
      p.take(m.args);
      wire_writer& w = p.outside().open_reply(m.request);
      if (!p.held.empty()) put_imported(w, p.outside().imports(), p.held.back());
      p.outside().commit();
    };
    f["later"] = [this](probe& p, const incoming& m) {
      p.take(m.args);
      kept[p.outside().id()].push_back(m.request);
    };
  }

  ~stage() override { end_all(); }

  // -- what stories are made of --------------------------------------------------------------------------------------
  /// Roles are numbered from 0.
  void cast(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) roles.push_back(start("lingerer"));
    run();
    for (std::size_t i = 0; i < n; ++i) watch(roles[i], roles[(i + 1) % n]);
    run();
  }
  /// `what` in a turn of that role's, if it still lives; `then` turns of whoever's.
  void act(std::size_t role, std::function<void(probe&)> what) {
    post(roles[role], [this, who = roles[role], what = std::move(what)](interpreter&) {
      if (probes.count(who) > 0) what(at(who));
    });
    for (std::uint64_t left = pauses_() % 4; left > 0; --left) turn();
  }
  void rest() {
    while (turn()) {
    }
  }
  void send_new(probe& p, std::size_t to) { send_own(p, new_object(), roles[to]); }
  /// Sends on the last reference it holds.
  void hand_on(probe& p, std::size_t to) {
    if (!p.held.empty()) pass_on(p, p.held.size() - 1, roles[to]);
  }
  void let_go(probe& p) {
    if (p.held.empty()) return;
    p.outside().imports().drop_use(p.held.back());
    p.held.pop_back();
  }
  enum class carries { nothing, own, held };
  void ask(probe& p, std::size_t to, std::string_view function, carries what = carries::nothing) {
    wire_writer& w = open_call(p, roles[to], function, expect(p, roles[to]));
    if (what == carries::own) p.put_own(w, new_object());
    if (what == carries::held && !p.held.empty()) put_imported(w, p.outside().imports(), p.held.back());
    commit(p);
  }
  /// The answer will find nobody.
  void ask_and_forget(probe& p, std::size_t to, std::string_view function) {
    wire_writer& w = p.outside().open_message(roles[to], record_kind::call);
    const call_id call = p.outside().open_call(p.await([](const outcome&) { FAIL("forgotten"); }));
    w.put_u64(call);
    w.put_text(function);
    if (p.outside().commit() > send_status::crowded) return p.outside().rollback();
    p.outside().forget_call(call);
  }
  /// A call through the last reference it holds.
  void call_object(probe& p, std::string_view method = "keep", carries what = carries::nothing) {
    if (p.held.empty()) return;
    import_table& imports = p.outside().imports();
    const interpreter_id owner = imports.id_of(p.held.back()).owner;
    wire_writer& w = p.outside().open_message(owner, record_kind::invoke);
    w.put_u64(p.outside().open_call(p.await(expect(p, owner))));
    w.put_u8(0);
    put_imported_target(w, imports, p.held.back());
    w.put_text(method);
    if (what == carries::own) p.put_own(w, new_object());
    if (what == carries::held) put_imported(w, imports, p.held.back());
    commit(p);
  }
  /// Writes what it holds and something of its own, and takes the message back.
  void change_its_mind(probe& p, std::size_t to) {
    wire_writer& w = open_call(p, roles[to], "keep", [](const outcome&) { FAIL("taken back"); });
    p.put_own(w, new_object());
    if (!p.held.empty()) put_imported(w, p.outside().imports(), p.held.back());
    p.outside().rollback();
    rows.insert("taken back");
  }
  void answer_kept(probe& p) {
    for (const request_id r : std::exchange(kept[p.outside().id()], {})) {
      p.put_own(p.outside().open_reply(r), new_object());
      p.outside().commit();
    }
  }
  void wait_for_room(probe& p, std::size_t to) {
    p.outside().await_room(roles[to], p.await(expect(p, interpreter_id{}, outcome::kind::room)));
  }

  // -- the run -------------------------------------------------------------------------------------------------------
  std::vector<interpreter_id> roles;
  std::map<interpreter_id, std::vector<request_id>> kept;
  std::set<std::string> rows; // of the table in ARCHITECTURE.md that were passed through
  std::string why;
  std::size_t turns = 0;

  bool turn() {
    strike();
    const std::size_t stones = where().tombstones();
    if (!step()) return false;
    ++turns;
    look(stones);
    return true;
  }
  /// Everybody answers, lets go and comes to rest; then it is checked that nothing is left.
  void wind_up() {
    everybody_lets_go();
    winding_up_ = true;
    strike();
    everybody_lets_go();
    for (auto& [who, l] : lingerers_) post(who, [l = l](interpreter&) { l->leave(); });
    rest();
    check_end();
  }

private:
  /// A probe whose exit handlers may take as long as the story.
  class lingerer final : public guest {
  public:
    lingerer(stage& s, host& h) : stage_(s), host_(h), probe_(h, s.scripts["probe"]) {
      s.probes[h.id()] = &probe_;
      s.lingerers_[h.id()] = this;
    }
    ~lingerer() override { stage_.lingerers_.erase(host_.id()); }
    void leave() {
      if (std::exchange(leaving_, false)) host_.exited();
    }
    void start(request_id r, const source& s, wire_reader a) override { probe_.start(r, s, a); }
    void deliver(const incoming& m) override { probe_.deliver(m); }
    void resume(guest_word t, const outcome& o) override { probe_.resume(t, o); }
    bool run_ready() override { return false; }
    void drop(guest_word o) override { probe_.drop(o); }
    std::string describe(guest_word o) override { return probe_.describe(o); }
    bool waiting() const override { return true; }
    std::size_t tasks() const override { return probe_.tasks(); }
    void run_exit_handlers() override {
      leaving_ = true;
      if (!stage_.slow_exits_ || stage_.winding_up_) leave();
    }
    void interrupt(errc c) override { probe_.interrupt(c); }
    void drop_imports() override { probe_.drop_imports(); }
    void close() override { stage_.probes.erase(host_.id()); }
    void tick() noexcept override {}

  private:
    stage& stage_;
    host& host_;
    probe probe_;
    bool leaving_ = false;
  };

  struct expectation {
    interpreter_id who{};
    interpreter_id whom{};
    outcome::kind what{};
    int came = 0;
  };

  void everybody_lets_go() {
    for (int round = 0; round < 4; ++round) {
      rest();
      for (const interpreter_id who : living())
        post(who, [this, who](interpreter&) {
          answer_kept(at(who));
          drop_all(at(who));
        });
    }
    rest();
  }

  guest_word new_object() { return ++last_object_; }
  void violated(std::string what) {
    if (why.empty()) why = std::move(what);
  }
  void commit(probe& p) {
    if (p.outside().commit() <= send_status::crowded) return;
    p.outside().rollback();
    ++expectations_.back().came; // refused: this is the answer
  }
  reaction expect(probe& p, interpreter_id whom, outcome::kind what = outcome::kind::values) {
    expectations_.push_back({p.outside().id(), whom, what});
    return [this, i = expectations_.size() - 1](const outcome& o) { came(expectations_[i], o); };
  }
  void came(expectation& e, const outcome& o) {
    ++e.came;
    if (o.what == outcome::kind::values) at(e.who).take(o.values);
    if (o.what == e.what) return;
    if (o.what != outcome::kind::failed) return violated("an outcome of the wrong kind");
    if (o.failure->code != errc::interpreter_gone) violated("a call failed: " + o.failure->message);
    if (where().look_up(e.whom) && find(e.whom)->box().turn().is_closed() == false && !dying(e.whom))
      violated("interpreter_gone, but it lives");
  }
  bool dying(interpreter_id who) const {
    return std::any_of(deaths_.begin(), deaths_.end(), [&](const death& d) { return roles[d.role] == who; });
  }
  void watch(interpreter_id who, interpreter_id whom) {
    post(who, [this, who, whom](interpreter& i) {
      i.monitor(whom, at(who).await(expect(at(who), whom, outcome::kind::down)));
    });
  }

  /// Those whose turn has come die; in the end the others, too.
  void strike() {
    for (const death& d : deaths_) {
      if (turns < d.before_turn && !winding_up_) continue;
      if (struck_.count(&d) > 0) continue;
      struck_.insert(&d);
      const interpreter_id who = roles[d.role];
      slow_exits_ = d.how == manner::sees_it_out;
      if (d.how >= manner::stopped) {
        stops_open_ += alive(who) ? 1 : 0;
        stop(who, 0, stop_call);
      } else {
        kill(who);
      }
      if (d.how == manner::at_once) {
        step(who);
        look(0);
      }
    }
  }

  void look(std::size_t stones_before) {
    audit a;
    show_all(a);
    for (std::string& what : a.violations()) violated(std::move(what));
    for (const interpreter_id id : living()) {
      const import_table& imports = find(id)->imports();
      imports.for_each([&](const object_id& o, std::uint32_t, std::uint32_t loans) {
        rows.insert("import");
        if (imports.pending(imports.find(o))) rows.insert("borrow");
        if (loans > 0) rows.insert("loan");
      });
      if (find(id)->exports_live() > 0) rows.insert("export");
    }
    for (const auto& [id, p] : probes) {
      if (!p->dropped.empty()) rows.insert("drop");
      if (p->came_home > 0) rows.insert("home");
    }
    if (where().dead_letters() > 0) rows.insert("unread");
    if (where().tombstones() > 0) rows.insert("the holder dies");
    if (where().tombstones() < stones_before) rows.insert("a loan comes home to the dead");
    for_each_in_flight([this](interpreter_id, wire_reader records) {
      while (!records.at_end()) note(next_record(records));
    });
  }
  void note(record r) {
    switch (r.kind) {
    case record_kind::decref: rows.insert("decref"); break;
    case record_kind::credit_request: rows.insert("refill"); break;
    case record_kind::loan_return: rows.insert("pay back"); break;
    case record_kind::invoke: rows.insert("call"); break;
    case record_kind::credit_grant:
      r.body.get_object_id();
      if (r.body.get_u32() == 0) rows.insert("the owner dies");
      break;
    default: {
      struct finder final : record_visitor {
        void on_reference(const wire_ref& ref) override {
          if (ref.credit > 0) all.insert("in flight");
          if (ref.credit == 2) all.insert("forward"); // half of a grant of 4
        }
        explicit finder(std::set<std::string>& s) : all(s) {}
        std::set<std::string>& all;
      } f(rows);
      walk_record(r, f);
      break;
    }
    }
  }

  void check_end() {
    if (where().tombstones() != 0) violated("a tombstone is left");
    for (const interpreter_id id : living()) {
      interpreter& i = *find(id);
      const std::string name = " of interpreter " + std::to_string(number(id));
      if (i.imports().size() != 0) violated("an import is left" + name);
      if (i.exports_live() != 0) violated("an export is left" + name);
      if (i.exports().minted() != i.exports().returned()) violated("minted and returned differ" + name);
      if (i.exports().added() != at(id).dropped.size()) violated("not everything was dropped" + name);
      if (i.box().backlog() != 0) violated("a backlog is left" + name);
      std::set<guest_word> once;
      for (const guest_word o : at(id).dropped)
        if (o != exported_again && !once.insert(o).second) violated("an object was dropped twice" + name);
      if (at(id).resumed_in_vain != 0) violated("something came twice" + name);
    }
    for (const expectation& e : expectations_) {
      const int due = e.what != outcome::kind::down || !alive(e.whom) ? 1 : 0;
      const std::string name =
          " of interpreter " + std::to_string(number(e.who)) + " to " + std::to_string(number(e.whom));
      if (e.came > due) violated("answered more than once: a call" + name);
      if (e.came < due && alive(e.who)) violated("never answered: a call" + name);
    }
    for (const host_letter& l : host_letters())
      if ((l.kind == record_kind::reply || l.kind == record_kind::reply_error) && l.body[0] == stop_call) --stops_open_;
    if (stops_open_ != 0) violated("a stop was not answered once");
    for (const death& d : deaths_)
      if (alive(roles[d.role])) violated("one that was to die lives");
  }

  const std::vector<death> deaths_;
  std::mt19937_64 pauses_;
  std::set<const death*> struck_;
  std::map<interpreter_id, lingerer*> lingerers_;
  std::deque<expectation> expectations_;
  guest_word last_object_ = 0;
  static constexpr call_id stop_call = 2; // a start has 1
  int stops_open_ = 0;
  bool winding_up_ = false;
  bool slow_exits_ = false;
};

} // namespace Atoll::test
