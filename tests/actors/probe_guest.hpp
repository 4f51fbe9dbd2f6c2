// A guest for tests: its functions are C++ lambdas by name, its objects are numbers, its references are import indexes.
// Threads: the functions run in the owner's turn; what they share with the test is the test's business.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "runtime/guest.hpp"
#include "runtime/host.hpp"
#include "runtime/references.hpp"

namespace Atoll::test {

class probe;
using probe_function = std::function<void(probe&, const incoming&)>;
using probe_functions = std::map<std::string, probe_function, std::less<>>;

class probe final : public guest {
public:
  probe(host& outside, const probe_functions& functions) : outside_(outside), functions_(functions) {}

  host& outside() noexcept { return outside_; }

  // What happened, for functions and checks.
  std::vector<import_table::index> held; // imports with one use each
  std::vector<guest_word> dropped;       // exported objects that came home
  std::map<guest_word, std::function<void(const outcome&)>> waiting_for;
  std::map<std::string, std::function<void()>> hooks; // "exit", "close", "interrupt", "start"
  bool keeps_waiting = false;
  std::function<bool()> ready; // run_ready()

  /// Waits for an answer, a timer, ...: the word to give to host.
  guest_word await(std::function<void(const outcome&)> then) {
    waiting_for[++last_word_] = std::move(then);
    return last_word_;
  }
  void answer(const incoming& m, std::int64_t value) {
    if (m.request == no_request) return;
    outside_.open_reply(m.request).put_int(value);
    outside_.commit();
  }
  /// Exports object number `object` into the open message.
  void put_own(wire_writer& w, guest_word object) {
    auto [it, fresh] = slots_.try_emplace(object, 0);
    if (fresh) it->second = outside_.exports().add(object);
    put_exported(w, outside_.exports(), it->second);
  }
  /// Takes every reference among the values.
  void take(wire_reader values) {
    struct taker final : wire_visitor {
      explicit taker(probe& p) : self(p) {}
      void on_reference(const wire_ref& r) override {
        const auto got = self.outside_.receive_reference(r);
        if (got && !got->own) self.held.push_back(got->import);
        if (got && got->own) ++self.came_home;
      }
      probe& self;
    } t(*this);
    walk_values(values, t);
  }
  int came_home = 0;
  int resumed_in_vain = 0; // under a word nobody waits under

  void start(request_id request, const source& from, wire_reader args) override {
    take(args);
    if (from.text == "fail") return outside_.reply_error(request, {errc::load_error, "no good", {}, {}, {}, {}});
    if (const auto it = hooks.find("start"); it != hooks.end()) it->second();
    if (const auto it = functions_.find("start"); it != functions_.end()) it->second(*this, {});
    outside_.open_reply(request);
    outside_.commit();
  }
  void deliver(const incoming& m) override {
    const auto it = functions_.find(m.name);
    if (it != functions_.end()) return it->second(*this, m);
    outside_.give_back(m.args);
    outside_.reply_error(m.request, {errc::unknown_function, std::string(m.name), {}, {}, {}, {}});
  }
  void resume(guest_word token, const outcome& what) override {
    const auto it = waiting_for.find(token);
    if (it == waiting_for.end()) return void(++resumed_in_vain);
    const auto then = it->second;
    if (what.what != outcome::kind::accepted && what.what != outcome::kind::data) waiting_for.erase(it);
    then(what);
  }
  bool run_ready() override { return ready && ready(); }
  void drop(guest_word object) override {
    slots_.erase(object);
    dropped.push_back(object);
  }
  std::string describe(guest_word object) override { return "number " + std::to_string(object); }
  bool waiting() const override { return keeps_waiting || !waiting_for.empty(); }
  std::size_t tasks() const override { return waiting_for.size(); }
  void run_exit_handlers() override {
    if (const auto it = hooks.find("exit"); it != hooks.end()) it->second();
    outside_.exited();
  }
  void interrupt(errc) override {
    if (const auto it = hooks.find("interrupt"); it != hooks.end()) it->second();
  }
  void drop_imports() override { held.clear(); }
  void close() override {
    if (const auto it = hooks.find("close"); it != hooks.end()) it->second();
  }
  void tick() noexcept override {}

private:
  host& outside_;
  const probe_functions& functions_;
  std::map<guest_word, export_table::slot_index> slots_;
  guest_word last_word_ = 0;
};

} // namespace Atoll::test
