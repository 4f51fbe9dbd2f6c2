// Supervisors on the simulated runtime: children that note their starts and exits, and fail when told to.
// Threads: one (tests/actors/shell_world.hpp).
#pragma once

#include "actors/supervision/supervisor_guest.hpp"
#include "tests/actors/village.hpp"

namespace Atoll::test {

struct nursery : village {
  std::vector<std::string> events;      // "start a", "exit a"
  std::map<std::string, int> unwilling; // so many of its next starts fail
  std::map<std::string, bool> stubborn; // its exit handlers never end
  interpreter_id parent{};

  explicit nursery(std::uint64_t seed = 1) : village({}, seed) {
    languages["supervisor"] = make_supervisor_guest;
    languages["worker"] = [this](host& h) { return std::make_unique<worker>(*this, h); };
    born(); // main
    parent = born();
  }
  ~nursery() override { end_all(); }

  static child_options child(std::string name, restart_kind restart = restart_kind::permanent) {
    child_options o;
    o.name = std::move(name);
    o.language = "worker";
    o.restart = restart;
    return o;
  }
  static supervisor_options of(restart_strategy strategy, std::vector<child_options> children) {
    supervisor_options o;
    o.strategy = strategy;
    o.children = std::move(children);
    return o;
  }

  error refused; // why the last supervise() or ask() failed
  /// The supervisor; refused.message is empty if it started.
  interpreter_id supervise(const supervisor_options& o) { return supervise_value(to_value(o), o.name); }
  interpreter_id supervise_value(const value& o, std::string name = {}) {
    interpreter_id id{};
    refused = {};
    in(parent, [&](probe& p) {
      const auto born = p.outside().spawn(
          {.name = std::move(name), .language = "supervisor"}, {},
          [&](wire_writer& w) {
            no_references none;
            return encode_values(w, none, std::array<value, 1>{o}).has_value();
          },
          p.await([this](const outcome& what) {
            if (what.what == outcome::kind::failed) refused = *what.failure;
          }));
      REQUIRE(born.has_value());
      id = *born;
    });
    return id;
  }
  /// Calls a function of the supervisor: its first result.
  value ask(interpreter_id supervisor, const char* function, const std::vector<value>& args = {}) {
    value result;
    refused = {};
    in(parent, [&](probe& p) {
      no_references none;
      wire_writer& w = open_call(p, supervisor, function, [this, &result](const outcome& what) {
        if (what.what == outcome::kind::failed) {
          refused = *what.failure;
          return;
        }
        no_references nothing;
        const auto values = decode_values(what.values, nothing);
        REQUIRE(values.has_value());
        if (!values->empty()) result = values->front();
      });
      REQUIRE(encode_values(w, none, args).has_value());
      if (p.outside().commit() <= send_status::crowded) return;
      p.outside().rollback();
      refused = {errc::interpreter_gone, "gone", {}, {}, {}, {}};
    });
    return result;
  }
  std::vector<child_info> children(interpreter_id supervisor) {
    const auto all = value_cast<std::vector<child_info>>(ask(supervisor, "children"));
    REQUIRE(all.has_value());
    return *all;
  }
  interpreter_id named(const std::string& name) const {
    const auto found = const_cast<nursery*>(this)->where().find(name);
    return found ? found->id : interpreter_id{};
  }
  void crash(const std::string& name) {
    const interpreter_id id = named(name);
    REQUIRE(id != interpreter_id{});
    post(id, [](interpreter& i) { i.fail_self({errc::guest_error, "broken", {}, {}, {}, {}}); });
    run();
  }
  void stop_in_order(const std::string& name) {
    stop(named(name));
    run();
  }
  /// What happened since the last time, in one line.
  std::string history() {
    std::string all;
    for (const std::string& e : std::exchange(events, {})) all += (all.empty() ? "" : ", ") + e;
    return all;
  }
  std::size_t logged(std::string_view part) const {
    return static_cast<std::size_t>(std::count_if(
        logs.begin(), logs.end(), [&](const std::string& l) { return l.find(part) != std::string::npos; }));
  }

private:
  class worker final : public guest {
  public:
    worker(nursery& w, host& h) : world_(w), host_(h) {}
    void start(request_id request, const source&, wire_reader) override {
      if (int& left = world_.unwilling[host_.name()]; left > 0) {
        --left;
        world_.events.push_back("no " + host_.name());
        return host_.reply_error(request, {errc::guest_error, "not in the mood", {}, {}, {}, {}});
      }
      world_.events.push_back("start " + host_.name());
      host_.open_reply(request);
      host_.commit();
    }
    void deliver(const incoming& m) override {
      host_.give_back(m.args);
      host_.reply_error(m.request, {errc::unknown_function, std::string(m.name), {}, {}, {}, {}});
    }
    void resume(guest_word, const outcome&) override {}
    bool run_ready() override { return false; }
    void drop(guest_word) override {}
    std::string describe(guest_word) override { return "object"; }
    bool waiting() const override { return false; }
    std::size_t tasks() const override { return 0; }
    void run_exit_handlers() override {
      world_.events.push_back("exit " + host_.name());
      if (!world_.stubborn[host_.name()]) host_.exited();
    }
    void interrupt(errc) override {}
    void drop_imports() override {}
    void close() override {}
    void tick() noexcept override {}

  private:
    nursery& world_;
    host& host_;
  };
};

} // namespace Atoll::test
