#include "actors/supervision/supervisor_guest.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "actors/shell/environment.hpp"

namespace Atoll {

namespace {

constexpr shutdown_time usual_shutdown{5000};

shutdown_time shutdown_of(const child_options& o) {
  if (o.shutdown != shutdown_default) return o.shutdown;
  return o.supervise ? shutdown_unlimited : usual_shutdown;
}

std::string seconds_text(std::chrono::milliseconds t) {
  return fmt::format("{:g} s", std::chrono::duration<double>(t).count());
}

/// "failed: ...", "was killed", "stopped".
std::string how_ended(std::string_view reason, const error& why) {
  if (reason == name_of(end_kind::killed)) return "was killed";
  if (why.message.empty()) return std::string(reason);
  return fmt::format("{}: {}", reason, why.message);
}

} // namespace

std::unique_ptr<guest> make_supervisor_guest(host& outside) { return std::make_unique<supervisor_guest>(outside); }

// -- birth and end -----------------------------------------------------------------------------------------------------

void supervisor_guest::start(request_id request, const source&, wire_reader args) {
  start_request_ = request;
  auto given = decode_values(args, references_);
  auto read = given ? value_cast<supervisor_options>(given->empty() ? value() : given->front())
                    : tl::unexpected<error>(std::move(given.error()));
  if (!read) {
    read.error().message = "supervise: " + read.error().message;
    return refuse(std::exchange(start_request_, no_request), std::move(read.error()));
  }
  options_ = std::move(*read);
  window_ = restart_window(options_.intensity, options_.period);
  for (child_options& o : options_.children) {
    children_.push_back(std::make_shared<child>());
    children_.back()->options = std::move(o);
  }
  options_.children.clear();
  plan_start(0, children_.size());
  done_ = [this] { answer(std::exchange(start_request_, no_request), {}); };
  on_failure_ = [this](const child_ptr& c, error why) {
    why.message = fmt::format("{} did not start: {}", text_of(*c), why.message);
    stop_all([this, why = std::move(why)] { refuse(std::exchange(start_request_, no_request), why); });
  };
  go_on();
}

void supervisor_guest::run_exit_handlers() {
  if (out_.finalizing()) return out_.exited(); // everybody ends in order, and peers still run their handlers
  exiting_ = true;
  stop_all([this] { shut_down(); });
  go_on();
}

void supervisor_guest::shut_down() {
  if (std::exchange(exiting_, false)) out_.exited();
}

void supervisor_guest::interrupt(errc code) {
  if (code != errc::killed && out_.finalizing()) shut_down(); // there is no more time
}

void supervisor_guest::close() {
  done_ = nullptr;
  on_failure_ = nullptr;
  at_.reset();
  plan_.clear();
  events_.clear();
  incarnations_.clear();
  children_.clear();
}

/// The runtime ends, and everybody with it, in its order.
void supervisor_guest::freeze() {
  begin_ending();
  if (const request_id open = std::exchange(start_request_, no_request); open != no_request)
    refuse(open, errc::runtime_finalizing, fmt::format("supervisor {}: the runtime is being finalized", own_text()));
}

/// Whatever is under way is over: from the last child that lives to the first they stop, then `then`.
void supervisor_guest::stop_all(std::function<void()> then) {
  begin_ending();
  done_ = std::move(then);
  plan_stop(0, children_.size());
}

void supervisor_guest::begin_ending() {
  ending_ = true;
  plan_.clear();
  at_.reset();
  done_ = nullptr;
  on_failure_ = nullptr;
  for (event& e : std::exchange(events_, {}))
    if (e.fell == nullptr)
      refuse(e.asked.number, errc::interpreter_gone, fmt::format("supervisor {} is ending", own_text()));
}

// -- the plan ----------------------------------------------------------------------------------------------------------

void supervisor_guest::plan_stop(std::size_t from, std::size_t to) {
  for (std::size_t i = to; i > from; --i)
    if (children_[i - 1]->id != interpreter_id{}) plan_.push_back({false, children_[i - 1]});
}

void supervisor_guest::plan_start(std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < to; ++i) plan_.push_back({true, children_[i]});
}

void supervisor_guest::go_on() {
  if (std::exchange(stepping_, true)) return; // whoever is in here goes on
  while (at_ == nullptr) {
    if (!plan_.empty()) {
      take_step();
    } else if (done_) {
      const auto then = std::exchange(done_, nullptr);
      on_failure_ = nullptr;
      then();
    } else if (!events_.empty() && !ending_) {
      event next = std::move(events_.front());
      events_.pop_front();
      if (next.fell != nullptr) {
        look_at_end(next.fell);
      } else {
        begin_request(std::move(next.asked));
      }
    } else {
      break;
    }
  }
  stepping_ = false;
}

void supervisor_guest::take_step() {
  const step s = std::move(plan_.front());
  plan_.pop_front();
  if (s.start) {
    begin_start(s.whom);
  } else {
    begin_stop(s.whom);
  }
}

void supervisor_guest::begin_start(const child_ptr& c) {
  if (c->id != interpreter_id{}) return; // somebody started it before
  const child_options& o = c->options;
  c->fell = false;
  c->by_hand = false;
  c->serial = ++last_serial_;
  if (c->started == time_point{}) c->started = out_.now();
  const spawn_options options{.name = o.name,
                              .memory = o.memory,
                              .language = o.supervise ? supervisor_language : o.language,
                              .message_cpu = o.message_cpu,
                              .call_time = o.call_time,
                              .time_slice = o.time_slice,
                              .high_water = o.high_water,
                              .interpreters = o.interpreters,
                              .call_depth = o.call_depth};
  error refused;
  const auto born = out_.spawn(
      options, o.from,
      [&](wire_writer& w) {
        const std::vector<value> below =
            o.supervise ? std::vector<value>{to_value(*o.supervise)} : std::vector<value>();
        const auto written = encode_values(w, references_, o.supervise ? below : o.args);
        if (!written) refused = written.error();
        return written.has_value();
      },
      token(*c, word::started));
  if (!born) return start_failed(c, refused.message.empty() ? born.error() : refused);
  c->id = *born;
  c->state = run_state::starting;
  c->failure = {};
  incarnations_.emplace(c->serial, c);
  at_ = c;
  out_.monitor(c->id, token(*c, word::down));
}

void supervisor_guest::begin_stop(const child_ptr& c) {
  if (c->id == interpreter_id{}) return;
  c->state = run_state::stopping;
  at_ = c;
  const shutdown_time limit = shutdown_of(c->options);
  if (limit == shutdown_kill) return (void)out_.kill(c->id);
  wire_writer& w = out_.open_message(c->id, record_kind::stop);
  w.put_u64(0);
  w.put_u64(limit == shutdown_unlimited ? 0 : static_cast<std::uint64_t>(limit.count()));
  if (out_.commit() > send_status::crowded) out_.rollback(); // gone: `down` is on its way
}

void supervisor_guest::step_done() {
  at_.reset();
  go_on();
}

/// It does not live any more.
void supervisor_guest::start_failed(const child_ptr& c, error why) {
  at_.reset();
  if (out_.finalizing()) return freeze();
  if (why.code == errc::name_taken && c->again && out_.now() - c->started < name_patience) {
    incarnations_.emplace(c->serial, c);
    at_ = c;
    out_.set_timer(out_.now() + name_pause, token(*c, word::name_free));
    return;
  }
  c->started = {};
  c->failure = why;
  c->reason = name_of(end_kind::failed);
  plan_.clear();
  done_ = nullptr;
  if (const auto failed = std::exchange(on_failure_, nullptr)) failed(c, std::move(why));
}

// -- what happens ------------------------------------------------------------------------------------------------------

void supervisor_guest::resume(guest_word token, const outcome& what) {
  const auto found = incarnations_.find(token >> 2U);
  const child_ptr c = found != incarnations_.end() ? found->second : nullptr;
  if (what.what == outcome::kind::values) out_.give_back(what.values);
  if (c == nullptr) return;
  switch (static_cast<word>(token & 3U)) {
  case word::started:
    if (what.what != outcome::kind::values) {
      c->failure = *what.failure; // its end is to be told yet
      return;
    }
    if (c->state != run_state::starting) return; // it is to stop
    c->state = run_state::running;
    c->again = true;
    c->started = {};
    if (at_ == c) step_done();
    return;
  case word::down: return ended(c, what);
  case word::name_free:
    incarnations_.erase(c->serial);
    if (at_ != c) return;
    at_.reset();
    if (out_.finalizing()) return freeze();
    plan_.push_front({true, c});
    return go_on();
  }
}

void supervisor_guest::ended(const child_ptr& c, const outcome& o) {
  const run_state was = c->state;
  incarnations_.erase(c->serial);
  c->id = {};
  c->state = run_state::gone;
  c->reason = o.reason;
  if (was != run_state::starting || c->failure.message.empty()) c->failure = *o.failure;
  if (out_.finalizing() && !exiting_) return;
  const bool in_order = ended_in_order(o.reason);
  if (at_ == c && was == run_state::starting && !in_order) {
    error why = c->failure;
    if (why.message.empty()) why.message = how_ended(o.reason, {});
    start_failed(c, std::move(why));
    return go_on();
  }
  c->again = true;
  if (was != run_state::stopping) {
    c->fell = true;
    events_.push_back({c, {}});
  }
  if (at_ == c) return step_done();
  go_on();
}

void supervisor_guest::look_at_end(const child_ptr& c) {
  if (!std::exchange(c->fell, false) || c->id != interpreter_id{}) return;
  if (position(c) == children_.size()) return; // deleted meanwhile
  if (c->options.restart == restart_kind::temporary) {
    if (!ended_in_order(c->reason))
      out_.log(log_level::warn, fmt::format("{} {}; it is temporary, and not started again", text_of(*c),
                                            how_ended(c->reason, c->failure)));
    return forget(c);
  }
  if (c->options.restart == restart_kind::transient && ended_in_order(c->reason)) return;
  const error why = c->failure;
  restart(c, why, how_ended(c->reason, why));
}

void supervisor_guest::restart(const child_ptr& c, const error& why, std::string_view how) {
  if (out_.finalizing()) return;
  if (!window_.add(out_.now())) return give_up(*c, why, how);
  const std::size_t at = position(c);
  std::size_t from = at;
  std::size_t to = at + 1;
  if (options_.strategy == restart_strategy::one_for_all) from = 0;
  if (options_.strategy != restart_strategy::one_for_one) to = children_.size();
  std::vector<child_ptr> group;
  for (std::size_t i = from; i < to; ++i)
    if (i == at || !children_[i]->by_hand) group.push_back(children_[i]);
  plan_stop(from, to);
  std::size_t others = 0;
  for (const child_ptr& one : group) {
    if (one->options.restart == restart_kind::temporary) {
      forget(one); // the plan still stops it
      continue;
    }
    if (one != c) ++others;
    ++one->restarts;
    plan_.push_back({true, one});
  }
  on_failure_ = [this](const child_ptr& failed, error again) {
    const std::string text = fmt::format("did not start: {}", again.message);
    restart(failed, again, text);
  };
  out_.log(log_level::warn, fmt::format("{} {}; it is started again{} ({} of {} restarts within {})", text_of(*c), how,
                                        others > 0 ? fmt::format(", and {} with it", others) : "", window_.count(),
                                        options_.intensity, seconds_text(options_.period)));
}

void supervisor_guest::give_up(const child& c, const error& why, std::string_view how) {
  error own = why;
  own.message = fmt::format("supervisor {} gave up: {} {}, and {} restarts within {} are the limit", own_text(),
                            text_of(c), how, options_.intensity, seconds_text(options_.period));
  if (why.message.empty()) own.code = errc::interpreter_gone; // it had ended in order
  stop_all([this, own = std::move(own)] { out_.fail_self(own); });
}

void supervisor_guest::forget(const child_ptr& c) { std::erase(children_, c); }

// -- requests ----------------------------------------------------------------------------------------------------------

void supervisor_guest::deliver(const incoming& m) {
  auto args = decode_values(m.args, references_);
  if (!args) return refuse(m.request, std::move(args.error()));
  if (m.name == "children") return answer(m.request, {listing()});
  if (ending_ || out_.finalizing())
    return refuse(m.request, out_.finalizing() ? errc::runtime_finalizing : errc::interpreter_gone,
                  fmt::format("supervisor {} is ending", own_text()));
  events_.push_back({nullptr, {m.request, std::string(m.name), std::move(*args)}});
  go_on();
}

void supervisor_guest::begin_request(demand r) {
  if (r.name == "start_child") return start_child(std::move(r));
  if (r.name == "stop_child") return stop_child(std::move(r));
  if (r.name == "restart_child") return restart_child(std::move(r));
  if (r.name == "delete_child") return delete_child(std::move(r));
  refuse(r.number, errc::unknown_function,
         fmt::format("supervisor {} has no function \"{}\"; it has children, start_child, stop_child, "
                     "restart_child, delete_child",
                     own_text(), r.name));
}

void supervisor_guest::start_child(demand r) {
  auto options = value_cast<child_options>(r.args.empty() ? value() : r.args.front());
  if (!options) {
    options.error().message = "start_child: " + options.error().message;
    return refuse(r.number, std::move(options.error()));
  }
  for (const child_ptr& c : children_)
    if (!options->name.empty() && c->options.name == options->name)
      return refuse(
          r.number, errc::name_taken,
          fmt::format("start_child: there is a child '{}' already: restart_child starts it again", options->name));
  children_.push_back(std::make_shared<child>());
  const child_ptr c = children_.back();
  c->options = std::move(*options);
  run_by_hand(c, r.number, true);
}

void supervisor_guest::run_by_hand(const child_ptr& c, request_id number, bool new_one) {
  plan_.push_back({true, c});
  // Its id now: it may have ended again by the time of the answer.
  done_ = [this, c, number] { answer(number, {c->id != interpreter_id{} ? value(c->id) : value()}); };
  on_failure_ = [this, c, number, new_one](const child_ptr&, error why) {
    why.message = fmt::format("{} did not start: {}", text_of(*c), why.message);
    if (new_one || c->options.restart == restart_kind::temporary) forget(c);
    c->by_hand = true;
    refuse(number, std::move(why));
  };
}

void supervisor_guest::stop_child(demand r) {
  const auto c = child_of(r);
  if (!c) return refuse(r.number, c.error());
  const bool lives = (*c)->id != interpreter_id{};
  (*c)->fell = false;
  plan_.push_back({false, *c});
  done_ = [this, c = *c, number = r.number, lives] {
    c->by_hand = true;
    if (c->options.restart == restart_kind::temporary) forget(c);
    answer(number, {lives});
  };
}

void supervisor_guest::restart_child(demand r) {
  const auto c = child_of(r);
  if (!c) return refuse(r.number, c.error());
  plan_.push_back({false, *c});
  run_by_hand(*c, r.number, false);
}

void supervisor_guest::delete_child(demand r) {
  const auto c = child_of(r);
  if (!c) return refuse(r.number, c.error());
  if ((*c)->id != interpreter_id{})
    return refuse(r.number, errc::invalid_argument, fmt::format("{} runs: stop_child first", text_of(**c)));
  forget(*c);
  answer(r.number, {true});
}

/// By its name or its handle.
result<supervisor_guest::child_ptr> supervisor_guest::child_of(const demand& r) const {
  const value key = r.args.empty() ? value() : r.args.front();
  const std::string* name = key.if_string();
  const interpreter_id* id = key.if_interpreter();
  if (name == nullptr && id == nullptr)
    return detail::inside(r.name, wrong_type("a child's name or handle", key).value());
  std::vector<std::string_view> names;
  for (const child_ptr& c : children_) {
    if (name != nullptr ? c->options.name == *name : c->id == *id) return c;
    if (!c->options.name.empty()) names.push_back(c->options.name);
  }
  return fail(errc::invalid_argument,
              fmt::format("{}: supervisor {} has no child {}{}", r.name, own_text(), to_string(key),
                          names.empty() ? "" : fmt::format("; it has {}", fmt::join(names, ", "))));
}

value supervisor_guest::listing() const {
  table all;
  for (const child_ptr& c : children_)
    all.append(to_value(child_info{c->options.name, c->id, c->state, c->options.restart, c->restarts, c->reason}));
  return all;
}

void supervisor_guest::answer(request_id number, std::vector<value> values) {
  if (number == no_request) return;
  const auto written = encode_values(out_.open_reply(number), references_, values);
  if (written && out_.commit() <= send_status::crowded) return;
  out_.rollback();
  refuse(number, written ? error{errc::out_of_memory, "no memory for the answer", {}, {}, {}, {}} : written.error());
}

void supervisor_guest::refuse(request_id number, errc code, std::string why) {
  refuse(number, fail(code, std::move(why)).value());
}

void supervisor_guest::refuse(request_id number, error why) {
  if (why.interpreter == interpreter_id{}) {
    why.interpreter = out_.id();
    why.interpreter_name = out_.name();
  }
  if (number != no_request) return out_.reply_error(number, why);
  out_.log(log_level::warn, why.message);
}

// -- texts -------------------------------------------------------------------------------------------------------------

std::size_t supervisor_guest::position(const child_ptr& c) const {
  return static_cast<std::size_t>(std::find(children_.begin(), children_.end(), c) - children_.begin());
}

std::string supervisor_guest::text_of(const child& c) const {
  if (!c.options.name.empty()) return fmt::format("child '{}'", c.options.name);
  for (std::size_t i = 0; i < children_.size(); ++i)
    if (children_[i].get() == &c) return fmt::format("child {}", i + 1);
  return "a child";
}

} // namespace Atoll
