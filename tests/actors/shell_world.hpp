// A runtime without threads and without CAF: interpreters whose turns a seeded scheduler picks, a clock set by hand.
// Why: whatever the shell does can be replayed, step by step.
// Ownership: the world owns its interpreters and destroys each when its last turn is over.
// Threads: one.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "actors/shell/interpreter.hpp"
#include "tests/actors/audit.hpp"
#include "tests/actors/probe_guest.hpp"

namespace Atoll::test {

using namespace std::chrono_literals;

class shell_world : public environment {
public:
  explicit shell_world(std::uint64_t seed = 1, interpreter_config config = {})
      : random_(seed),
        config_(config),
        host_box_(new inbox(host_interpreter, 1U << 20U)),
        out_(host_interpreter, where_) {
    host_box_->set_waker(quiet_);
    where_.enter(host_interpreter, {}, host_interpreter, host_box_);
    where_.close_connection = [this](std::uint64_t c) { closed_connections.push_back(c); };
  }
  virtual ~shell_world() { end_all(); }

  /// Kills everybody. For the destructor of a derived world whose members the guests know.
  void end_all() {
    for (auto& [id, c] : cells_) c->shell.set_controls({.kill = true});
    for (auto& [id, c] : cells_) c->shell.box().wake();
    while (step()) {
    }
  }

  // -- who lives here ------------------------------------------------------------------------------------------------
  std::map<std::string, probe_functions> scripts; // languages whose guests are probes
  std::map<std::string, guest_factory> languages; // other guests
  std::map<interpreter_id, probe*> probes;        // the living
  std::vector<interpreter_report> reports;        // of the dead, in order of their end
  std::vector<std::uint64_t> closed_connections;
  std::vector<std::string> logs;
  int main_done_told = 0;
  bool is_finalizing = false;

  /// Creates an interpreter for the host program and sends it its start.
  interpreter_id start(const std::string& language, std::string name = {}, std::string code = {}) {
    const auto id = create({.name = std::move(name), .language = language}, host_interpreter);
    REQUIRE(id.has_value());
    wire_writer& w = out_.open(*id, record_kind::start);
    w.put_u64(1);
    w.put_u8(0);
    w.put_text(code);
    w.put_text("");
    REQUIRE(out_.commit() == send_status::sent);
    out_.flush();
    return *id;
  }
  interpreter* find(interpreter_id id) {
    const auto it = cells_.find(id);
    return it != cells_.end() ? &it->second->shell : nullptr;
  }
  probe& at(interpreter_id id) {
    REQUIRE(probes.count(id) == 1);
    return *probes[id];
  }
  bool alive(interpreter_id id) const { return cells_.count(id) > 0; }
  std::vector<interpreter_id> living() const {
    std::vector<interpreter_id> all;
    for (const auto& [id, c] : cells_) all.push_back(id);
    return all;
  }
  const interpreter_report* report(interpreter_id id) const {
    for (const auto& r : reports)
      if (r.id == id) return &r;
    return nullptr;
  }

  // -- what happens --------------------------------------------------------------------------------------------------
  /// Runs `what` in one of the interpreter's next turns; never, when it is gone.
  void post(interpreter_id who, std::function<void(interpreter&)> what) {
    auto work = std::make_unique<step_job>(std::move(what));
    out_.open(who, record_kind::job).put_u64(reinterpret_cast<std::uint64_t>(work.get()));
    if (out_.commit() <= send_status::crowded) {
      (void)work.release(); // the record's
      out_.flush();
    } else {
      ignoring_visitor nothing;
      out_.rollback(nothing);
    }
  }
  /// Lets a probe do something, and everybody come to rest.
  void in(interpreter_id who, std::function<void(probe&)> what) {
    bool ran = false;
    post(who, [this, who, what, &ran](interpreter&) {
      ran = true;
      what(at(who));
    });
    run();
    CHECK(ran);
  }
  void stop(interpreter_id who, std::uint64_t milliseconds = 0, call_id call = 2) {
    wire_writer& w = out_.open(who, record_kind::stop);
    w.put_u64(call);
    w.put_u64(milliseconds);
    if (out_.commit() <= send_status::crowded) return out_.flush();
    ignoring_visitor nothing;
    out_.rollback(nothing);
  }
  void kill(interpreter_id who) { control(who, {.kill = true}); }

  /// One turn of one interpreter that has something to do; false when nobody has.
  bool step() {
    if (runnable_.empty()) return false;
    take_turn(runnable_.begin() + static_cast<std::ptrdiff_t>(random_() % runnable_.size()));
    return true;
  }
  /// One turn of this one; false when it has nothing to do.
  bool step(interpreter_id who) {
    const auto at = std::find(runnable_.begin(), runnable_.end(), who);
    if (at == runnable_.end()) return false;
    take_turn(at);
    return true;
  }
  /// Until everybody sleeps.
  void run() {
    for (int turns = 0; step(); ++turns) REQUIRE_MESSAGE(turns < 200000, "the interpreters never come to rest");
  }
  /// Time passes; whoever asked for a wake-up has it on time.
  void advance(time_point::duration by) {
    const time_point until = now_ + by;
    while (!wakes_.empty() && wakes_.begin()->first <= until) {
      now_ = std::max(now_, wakes_.begin()->first);
      const interpreter_id who = wakes_.begin()->second;
      wakes_.erase(wakes_.begin());
      if (interpreter* i = find(who)) i->box().wake();
      run();
    }
    now_ = until;
  }

  /// What came for the host program.
  struct host_letter {
    interpreter_id from{};
    record_kind kind{};
    std::string body;
  };
  std::vector<host_letter> host_letters() {
    std::vector<host_letter> all;
    while (const envelope_ptr e = host_box_->take()) {
      wire_reader in = e->reader();
      while (!in.at_end()) {
        record r = next_record(in);
        const std::size_t size = r.body.left();
        all.push_back({e->from(), r.kind, std::string(r.body.get_bytes(size))});
      }
    }
    return all;
  }
  /// Between turns: calls f(to, wire_reader) for whatever is on its way or half handled.
  template <class F>
  void for_each_in_flight(F&& f) {
    const auto show = [&f](inbox& box) {
      CHECK(look_into(box, [&](wire_reader records) { f(box.id(), records); }) == "");
    };
    show(*host_box_);
    for (auto& [id, c] : cells_) {
      c->shell.for_each_unhandled([&, to = id](wire_reader records) { f(to, records); });
      show(c->shell.box());
    }
  }
  /// Shows an audit everything there is. Between turns.
  void show_all(audit& a) {
    for (auto& [id, c] : cells_) a.show(id, c->shell.imports(), &c->shell.exports());
    for_each_in_flight([&a](interpreter_id to, wire_reader records) { a.show_in_flight(to, records); });
    for (const tombstone& t : where_.all_pinned()) a.show_pinned(t);
    a.show_buffers(*where_.buffers());
  }

  // -- environment ---------------------------------------------------------------------------------------------------
  directory& where() noexcept override { return where_; }
  time_point now() const noexcept override { return now_; }
  void wake_at(interpreter& who, time_point when) override { wakes_.emplace(when, who.id()); }
  result<interpreter_id> create(const spawn_options& options, interpreter_id parent) override {
    if (is_finalizing) return fail(errc::runtime_finalizing, "finalizing");
    const interpreter_id id = where_.next_id();
    guest_factory make;
    if (const auto own = languages.find(options.language); own != languages.end()) {
      make = own->second;
    } else if (const auto script = scripts.find(options.language); script != scripts.end()) {
      make = [this, id, functions = &script->second](host& h) {
        auto p = std::make_unique<probe>(h, *functions);
        probes[id] = p.get();
        return p;
      };
    } else {
      return fail(errc::invalid_argument, "no such language: " + options.language);
    }
    auto c = std::make_unique<cell>(*this, id, parent, options, std::move(make));
    if (!where_.enter(id, options.name, parent, c->shell.shared_box())) return fail(errc::name_taken, options.name);
    cells_.emplace(id, std::move(c));
    return id;
  }
  void control(interpreter_id target, controls what) override {
    interpreter* i = find(target);
    if (i == nullptr) return;
    i->set_controls(what);
    i->box().wake();
  }
  std::uint64_t next_socket_number() noexcept override { return ++sockets_; }
  void need_net() override {}
  void connect(const std::string&, interpreter_id, guest_word) override {}
  void turn_begins(interpreter& who) noexcept override {
    CHECK(inside_ == nullptr);
    inside_ = &who;
  }
  void turn_ends() noexcept override { inside_ = nullptr; }
  bool finalizing() const noexcept override { return is_finalizing; }
  void request_exit(int) override {}
  void main_done(const error*) override { ++main_done_told; }
  void log(log_level, const interpreter_info&, std::string_view text) override { logs.emplace_back(text); }
  host::figures stats() const override { return {}; }
  void survey_references(interpreter_id, call_id) override {}
  void ended(const interpreter& who, interpreter_report r) override {
    CHECK(report(who.id()) == nullptr);
    reports.push_back(std::move(r));
    probes.erase(who.id());
  }

private:
  void take_turn(std::vector<interpreter_id>::iterator at) {
    const interpreter_id who = *at;
    interpreter* const beside =
        std::exchange(inside_, nullptr); // a turn may be taken within another, as by a second worker
    runnable_.erase(at);
    const auto it = cells_.find(who);
    REQUIRE(it != cells_.end());
    switch (it->second->shell.turn()) {
    case interpreter::turn_result::idle: break;
    case interpreter::turn_result::again: runnable_.push_back(who); break;
    case interpreter::turn_result::done:
      CHECK(report(who) != nullptr);
      cells_.erase(it);
      break;
    }
    CHECK(inside_ == nullptr);
    inside_ = beside;
  }
  struct cell final : waker {
    cell(shell_world& w, interpreter_id i, interpreter_id parent, const spawn_options& options, guest_factory make)
        : world(w),
          id(i),
          make_guest(std::move(make)),
          shell(w, own_config(w, options), i, parent, options.name, make_guest) {
      shell.box().set_waker(*this);
    }
    static std::shared_ptr<const interpreter_config> own_config(const shell_world& w, const spawn_options& options) {
      auto own = std::make_shared<interpreter_config>(w.config_);
      own->bounds.memory = options.memory;
      return own;
    }
    void schedule() noexcept override { world.runnable_.push_back(id); }
    shell_world& world;
    interpreter_id id;
    const guest_factory make_guest;
    interpreter shell;
  };
  struct quiet_waker final : waker {
    void schedule() noexcept override {}
  };
  class step_job final : public job {
  public:
    explicit step_job(std::function<void(interpreter&)> what) : what_(std::move(what)) {}
    void run(host& owner) override { what_(static_cast<interpreter&>(owner)); }
    void abandon(const error&) noexcept override {}

  private:
    std::function<void(interpreter&)> what_;
  };

  std::mt19937_64 random_;
  interpreter_config config_;
  directory where_;
  time_point now_{1000s};
  quiet_waker quiet_;
  inbox_ptr host_box_;
  outbox out_;
  std::multimap<time_point, interpreter_id> wakes_;
  std::map<interpreter_id, std::unique_ptr<cell>> cells_;
  std::vector<interpreter_id> runnable_;
  interpreter* inside_ = nullptr;
  std::uint64_t sockets_ = 0;
};

} // namespace Atoll::test
