// What tests of shells share: a world whose probes keep what they are sent, and the words to have them speak.
// Threads: one (tests/actors/shell_world.hpp).
#pragma once

#include "tests/actors/shell_world.hpp"

namespace Atoll::test {

inline constexpr credit_policy tiny{.grant = 4, .low = 1, .cap = 16};
using reaction = std::function<void(const outcome&)>;

inline void ignore(const outcome&) {}

inline interpreter_id spawn(probe& p, const char* language, reaction then = ignore, std::string name = {},
                            const char* code = "") {
  const auto id = p.outside().spawn({.name = std::move(name), .language = language}, {source_kind::code, code, {}}, {},
                                    p.await(std::move(then)));
  REQUIRE(id.has_value());
  return *id;
}

/// Opens a call; values may follow, then commit().
inline wire_writer& open_call(probe& p, interpreter_id to, std::string_view name, reaction then) {
  wire_writer& w = p.outside().open_message(to, record_kind::call);
  w.put_u64(p.outside().open_call(p.await(std::move(then))));
  w.put_text(name);
  return w;
}

inline send_status call(probe& p, interpreter_id to, std::string_view name, reaction then) {
  open_call(p, to, name, std::move(then));
  const send_status sent = p.outside().commit();
  if (sent > send_status::crowded) p.outside().rollback();
  return sent;
}

inline wire_writer& open_send(probe& p, interpreter_id to, std::string_view name) {
  wire_writer& w = p.outside().open_message(to, record_kind::send);
  w.put_text(name);
  return w;
}

inline send_status send(probe& p, interpreter_id to, std::string_view name) {
  open_send(p, to, name);
  const send_status sent = p.outside().commit();
  if (sent > send_status::crowded) p.outside().rollback();
  return sent;
}

/// Passes a held reference on.
inline send_status pass_on(probe& p, std::size_t held, interpreter_id to, std::string_view name = "keep") {
  put_imported(open_send(p, to, name), p.outside().imports(), p.held.at(held));
  const send_status sent = p.outside().commit();
  if (sent > send_status::crowded) p.outside().rollback();
  return sent;
}

inline send_status send_own(probe& p, guest_word object, interpreter_id to, std::string_view name = "keep") {
  wire_writer& w = open_send(p, to, name);
  p.put_own(w, object);
  const send_status sent = p.outside().commit();
  if (sent > send_status::crowded) p.outside().rollback();
  return sent;
}

inline void drop_all(probe& p) {
  for (const auto i : p.held) p.outside().imports().drop_use(i);
  p.held.clear();
}

/// A world whose probes keep the references they are sent, and answer "give" with object 1.
struct village : shell_world {
  explicit village(interpreter_config config = {}, std::uint64_t seed = 1) : shell_world(seed, config) {
    probe_functions& f = scripts["probe"];
    f["keep"] = [](probe& p, const incoming& m) {
      p.take(m.args);
      p.answer(m, 0);
    };
    f["give"] = [](probe& p, const incoming& m) {
      p.put_own(p.outside().open_reply(m.request), 1);
      p.outside().commit();
    };
    f["hang"] = [](probe& p, const incoming& m) { p.outside().give_back(m.args); };
  }
  interpreter_id born(std::string name = {}) {
    const interpreter_id id = start("probe", std::move(name));
    run();
    return id;
  }
};

/// A probe whose exit handlers end when it is told to.
class late final : public guest {
public:
  late(host& outside, const probe_functions& functions) : outside_(outside), inner_(outside, functions) {}
  probe& inner() { return inner_; }
  void start(request_id r, const source& s, wire_reader a) override { inner_.start(r, s, a); }
  void deliver(const incoming& m) override {
    if (m.name == "leave") return outside_.exited();
    inner_.deliver(m);
  }
  void resume(guest_word t, const outcome& o) override { inner_.resume(t, o); }
  bool run_ready() override { return inner_.run_ready(); }
  void drop(guest_word o) override { inner_.drop(o); }
  std::string describe(guest_word o) override { return inner_.describe(o); }
  bool waiting() const override { return inner_.waiting(); }
  std::size_t tasks() const override { return inner_.tasks(); }
  void run_exit_handlers() override {}
  void interrupt(errc c) override { inner_.interrupt(c); }
  void drop_imports() override { inner_.drop_imports(); }
  void close() override { inner_.close(); }
  void tick() noexcept override {}

private:
  host& outside_;
  probe inner_;
};

inline void add_late(village& v) {
  v.languages["late"] = [&v](host& h) { return std::make_unique<late>(h, v.scripts["probe"]); };
}

} // namespace Atoll::test
