#include "actors/core.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <future>
#include <thread>

#include "actors/finalization.hpp"
#include "actors/workers.hpp"
#include "channels/disposal.hpp"

namespace Atoll {

namespace {

using wake_atom = caf::atom_constant<caf::atom("atollwake")>;

// How much longer than the deadline finalize() waits for its supervisor before it gives up on it.
constexpr std::chrono::milliseconds grace{500};

class connected_job final : public job {
public:
  connected_job(guest_word token, result<opened_socket> socket) : token_(token), socket_(std::move(socket)) {}
  void run(host& owner) override { static_cast<interpreter&>(owner).connected(token_, socket_); }
  void abandon(const error&) noexcept override {
    if (socket_) close_socket(socket_->descriptor);
  }

private:
  guest_word token_;
  result<opened_socket> socket_;
};

const char* name_of(log_level level) {
  switch (level) {
  case log_level::debug: return "debug";
  case log_level::info: return "info";
  case log_level::warn: return "warning";
  case log_level::error: break;
  }
  return "error";
}

error finalized() { return {errc::runtime_finalized, "the runtime has been finalized", {}, {}, {}, {}}; }

} // namespace

core::core(system_config config, waiter* crank) : config_(std::move(config)), crank_(crank) {
  if (config_.workers == 0) config_.workers = std::max(1U, std::thread::hardware_concurrency());
  caf_config_ = settings_for_caf(config_.workers, crank_ != nullptr);
  caf_ = std::make_unique<caf::actor_system>(*caf_config_);
  constexpr std::chrono::milliseconds shortest{1}; // 0 is no ticker at all
  const auto period = crank_ == nullptr ? std::max(shortest, config_.time_slice / 2) : std::chrono::milliseconds(0);
  ticker_ = std::make_unique<ticker>(
      period, config_.sample_period, [this] { look_at_flags(); }, [this] { return work_waits(*caf_); });
  directory_.close_connection = [this](std::uint64_t connection) {
    outbox out(host_interpreter, directory_);
    out.open(net_interpreter, record_kind::net_close).put_u64(connection);
    ignoring_visitor nothing;
    if (out.commit() > send_status::crowded) out.rollback(nothing);
  };
  (void)directory_.next_id(); // 1 is main's (runtime/ids.hpp)
  port_ = std::make_shared<host_port>(*this, config_.credit, config_.high_water);
  host_turn_ = caf::make_counted<host_turn>(*caf_, port_);
  port_->open(*host_turn_);
  if (crank_ == nullptr) supervisor_.emplace(*caf_, *this);
}

core::~core() {
  finalize();
  supervisor_.reset();
  {
    const std::scoped_lock lock(mutex_);
    if (net_) caf::anon_send_exit(net_, caf::exit_reason::user_shutdown);
    net_ = nullptr;
  }
  living_.clear();
  ticker_->stop();
  // Until its clock is gone, in here, that may bring late wake-ups, which ask what time it is (interpreter::alarm): reset()
  // would forget the pointer first.
  delete caf_.get();
  (void)caf_.release();
}

time_point core::now() const noexcept { return caf_->clock().now(); }

void core::wake_at(interpreter& who, time_point when) {
  const actor_ptr self = find(who.id());
  if (self == nullptr) return;
  caf_->clock().schedule_message(when, caf::strong_actor_ptr(self->ctrl()),
                                 caf::make_mailbox_element(nullptr, caf::make_message_id(), {}, wake_atom::value));
}

result<interpreter_id> core::create(const spawn_options& options, interpreter_id parent) {
  return create_as(directory_.next_id(), options, parent);
}

result<interpreter_id> core::create_as(interpreter_id id, const spawn_options& options, interpreter_id parent) {
  if (finalizing()) return fail(errc::runtime_finalizing, "the runtime is being finalized: no new interpreters");
  const auto language = config_.languages.find(options.language);
  if (language == config_.languages.end())
    return fail(errc::invalid_argument, fmt::format("there is no guest for the language '{}'", options.language));
  spawn_options own = options;
  if (own.memory == 0) own.memory = config_.memory;
  caf::actor_config cfg;
  interpreter_config shell_config;
  shell_config.credit = config_.credit;
  shell_config.high_water = config_.high_water;
  shell_config.turn_messages = config_.turn_messages;
  shell_config.pending_calls = config_.pending_calls;
  const caf::actor made = caf::make_actor<interpreter_actor, caf::actor>(
      caf_->next_actor_id(), caf_->node(), caf_.get(), cfg, *this, shell_config, id, parent, own, language->second);
  actor_ptr self(static_cast<interpreter_actor*>(caf::actor_cast<caf::abstract_actor*>(made)));
  {
    // Before others can find it: who kills or stops it then finds it here.
    const std::scoped_lock lock(mutex_);
    living_.emplace(id, self);
  }
  if (directory_.enter(id, own.name, parent, self->shell().shared_box())) return id;
  const std::scoped_lock lock(mutex_);
  living_.erase(id);
  return fail(errc::name_taken, fmt::format("an interpreter named '{}' is running already", own.name));
}

core::actor_ptr core::find(interpreter_id id) const {
  const std::scoped_lock lock(mutex_);
  const auto it = living_.find(id);
  return it != living_.end() ? it->second : nullptr;
}

std::vector<core::actor_ptr> core::living() const {
  std::vector<actor_ptr> all;
  {
    const std::scoped_lock lock(mutex_);
    for (const auto& [id, a] : living_) all.push_back(a);
  }
  std::sort(all.begin(), all.end(),
            [](const actor_ptr& a, const actor_ptr& b) { return a->shell().id() < b->shell().id(); });
  return all;
}

void core::control(interpreter_id target, controls what) {
  const actor_ptr self = find(target);
  if (self == nullptr) return;
  self->shell().set_controls(what);
  self->shell().box().wake();
  ticker_->poke(&self->shell());
}

void core::post(interpreter_id to, std::unique_ptr<job> work) {
  outbox out(host_interpreter, directory_);
  out.open(to, record_kind::job).put_u64(reinterpret_cast<std::uint64_t>(work.get()));
  if (out.commit() <= send_status::crowded) {
    (void)work.release(); // the record owns it now
    return;
  }
  ignoring_visitor nothing;
  out.rollback(nothing);
  work->abandon({errc::interpreter_gone, fmt::format("interpreter {} is gone", number(to)), {}, to, {}, {}});
}

void core::need_net() {
  if (crank_ != nullptr) return; // whoever listens finds nobody who serves it
  const std::scoped_lock lock(mutex_);
  if (net_) return;
  net_box_.reset(new inbox(net_interpreter, config_.high_water));
  directory_.enter(net_interpreter, {}, host_interpreter, net_box_);
  caf::actor_config cfg{&caf_->middleman().backend()};
  net_ = caf_->spawn_class<net_broker, caf::hidden>(cfg, static_cast<environment&>(*this), net_box_);
}

void core::connect(const std::string& address, interpreter_id receiver, guest_word token) {
  std::thread([self = shared_from_this(), address, receiver, token] {
    self->post(receiver, std::make_unique<connected_job>(token, connect_to(address, 10000)));
  }).detach();
}

void core::request_exit(int status) {
  if (!exit_status_set_.exchange(true)) exit_status_.store(status);
  const std::scoped_lock lock(mutex_);
  main_over_ = true;
  changed_.notify_all();
}

void core::main_done(const error* failure) {
  const std::scoped_lock lock(mutex_);
  if (failure != nullptr && !main_failure_) main_failure_ = *failure;
  main_over_ = true;
  changed_.notify_all();
}

void core::log(log_level level, const interpreter_info& who, std::string_view text) {
  if (level < config_.log_threshold) return;
  const std::string line =
      fmt::format("atoll: {}: interpreter {}: {}\n", name_of(level), number_and_name(who.id, who.name), text);
  const std::scoped_lock lock(log_mutex_);
  if (config_.log) {
    config_.log(line);
  } else {
    std::fwrite(line.data(), 1, line.size(), stderr);
  }
}

host::figures core::stats() const {
  host::figures sum;
  for (const actor_ptr& a : living()) {
    const host::figures own = a->shell().shared_stats();
    if (sum.empty()) {
      sum = own;
      continue;
    }
    // Every interpreter names the same figures in the same order.
    for (std::size_t i = 0; i < own.size(); ++i) sum[i].second += own[i].second;
  }
  sum.emplace_back("interpreters", static_cast<double>(directory_.size()));
  return sum;
}

void core::ended(const interpreter& who, interpreter_report report) {
  actor_ptr last; // let go of outside the lock
  {
    const std::scoped_lock lock(mutex_);
    const auto it = living_.find(who.id());
    if (it == living_.end()) return; // abandoned, and come back: its outcome has been told
    reports_.push_back(std::move(report));
    last = std::move(it->second);
    living_.erase(it);
    if (who.id() == main_interpreter) main_over_ = true;
    changed_.notify_all();
  }
  tell_supervisor();
}

void core::tell_supervisor() noexcept {
  if (supervisor_) supervisor_->wake();
}

void core::close_listeners() {
  outbox out(host_interpreter, directory_);
  out.open(net_interpreter, record_kind::net_unlisten).put_u64(0);
  ignoring_visitor nothing;
  if (out.commit() > send_status::crowded) out.rollback(nothing);
}

void core::close_connections() { directory_.close_connection(0); }

bool core::net_idle() const {
  const std::scoped_lock lock(mutex_);
  return net_box_ == nullptr || net_box_->turn().idle();
}

std::vector<interpreter_report> core::take_reports() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(reports_, {});
}

void core::abandon(interpreter_id who) {
  actor_ptr stuck;
  {
    const std::scoped_lock lock(mutex_);
    abandoned_any_ = true;
    const auto it = living_.find(who);
    if (it == living_.end()) return;
    stuck = std::move(it->second);
    living_.erase(it);
  }
  stuck->intrusive_ptr_add_ref_impl(); // never given back: the state stays as it is
  const interpreter_info info = stuck->shell().describe();
  interpreter_report r;
  r.id = info.id;
  r.name = info.name;
  r.outcome = end_kind::abandoned;
  r.failure = {errc::killed, "it did not come to an end: its guest never returned", {}, info.id, info.name, {}};
  // Should its thread ever come back, it finds none of them.
  pending_calls& calls = *stuck->shell().pending();
  calls.close();
  if (const std::size_t rest = calls.refuse_rest(); rest > 0)
    log(log_level::error, info, fmt::format("{} did not run: {}", pending_calls::text(rest), r.failure.message));
  const pending_calls::figures counted = calls.count();
  r.pending_calls_run = counted.started;
  r.pending_calls_failed = counted.failed;
  r.pending_calls_refused = counted.refused;
  const std::scoped_lock lock(mutex_);
  reports_.push_back(std::move(r));
}

bool core::abandoned_any() const {
  const std::scoped_lock lock(mutex_);
  return abandoned_any_;
}

void core::set_report(finalization_report report) {
  const std::scoped_lock lock(mutex_);
  report_ = std::move(report);
  changed_.notify_all();
}

finalization_report core::finalize() {
  std::unique_lock lock(mutex_);
  if (crank_ != nullptr) {
    const bool again = report_.has_value();
    lock.unlock();
    if (!again) set_report(finalization(*this, *crank_).run());
    lock.lock();
  } else if (!std::exchange(finalize_asked_, true)) {
    lock.unlock();
    supervisor_->finalize();
    lock.lock();
  }
  if (!changed_.wait_for(lock, config_.deadline + grace, [&] { return report_.has_value(); })) {
    finalization_report lost;
    lost.verdict = finalization_report::verdict_kind::forced;
    lost.seconds = std::chrono::duration<double>(config_.deadline + grace).count();
    abandoned_any_ = true;
    report_ = lost;
  }
  finalization_report report = *report_;
  lock.unlock();
  port_->close(); // done by the phase "seal", unless the supervisor was lost
  return report;
}

result<void> core::run_main(const spawn_options& options, const source& from,
                            const std::function<bool(wire_writer&)>& write_args) {
  if (main_asked_.exchange(true)) return fail(errc::invalid_argument, "a runtime runs one main program");
  const auto id = create_as(main_interpreter, options, host_interpreter);
  if (!id) return tl::unexpected(id.error());
  const auto started = port_->start(*id, from, [&](wire_writer& w) -> result<void> {
    if (write_args && !write_args(w)) return fail(errc::not_shareable, "an argument of the program cannot cross");
    return {};
  });
  if (auto why = start_refused(*id, *started)) return tl::unexpected(std::move(*why));
  std::unique_lock lock(mutex_);
  while (!main_over_) {
    if (crank_ == nullptr) {
      changed_.wait(lock);
      continue;
    }
    lock.unlock();
    crank_->wait(time_point::max());
    lock.lock();
  }
  if (main_failure_) return tl::unexpected(*main_failure_);
  return {};
}

std::optional<error> core::start_refused(interpreter_id id, const answer& started) {
  error why;
  if (!started.given()) return std::nullopt;
  const call_results* r = started.await(std::nullopt, why);
  if (r == nullptr || *r) return std::nullopt;
  control(id, {.kill = true}); // it would wait for its start for ever; one that failed by itself has ended already
  return r->error();
}

future<interpreter_handle> core::spawn(const spawn_options& options, const source& from,
                                       const std::vector<value>& args) {
  using spawned = future<interpreter_handle>;
  if (port_->closed()) return spawned(finalized());
  const auto id = create(options, host_interpreter);
  if (!id) return spawned(id.error());
  const auto started = port_->start(*id, from, port_->writer_of(args));
  (void)start_refused(*id, *started);
  return spawned(started, [handle = interpreter_handle(port_, *id, options.name)](const std::vector<value>&) {
    return result<interpreter_handle>(handle);
  });
}

result<interpreter_handle> core::find(std::string_view name) {
  if (port_->closed()) return tl::unexpected(finalized());
  const auto info = directory_.find(name);
  if (!info) return fail(errc::no_such_interpreter, fmt::format("there is no interpreter named '{}'", name));
  return interpreter_handle(port_, info->id, info->name);
}

std::vector<interpreter_handle> core::list() {
  std::vector<interpreter_handle> all;
  for (const interpreter_info& info : directory_.list()) all.emplace_back(port_, info.id, info.name);
  return all;
}

error core::takes_no_call(interpreter_id who) const {
  const char* const what = who == host_interpreter     ? "{} is the host program, no interpreter"
                           : who == net_interpreter    ? "{} serves TCP: it is no interpreter"
                           : directory_.was_given(who) ? "interpreter {} is gone"
                                                       : "there never was an interpreter {}";
  return {errc::interpreter_gone,
          fmt::format(fmt::runtime(what), number(who)) + ": it takes no pending call",
          {},
          who,
          {},
          {}};
}

result<std::shared_ptr<pending_calls>> core::pending_of(interpreter_id who) const {
  if (port_->closed()) return tl::unexpected(finalized());
  // The directory has it from the moment its birth is sure, living_ before.
  if (directory_.find(who) != nullptr)
    if (const actor_ptr self = find(who)) return self->shell().pending();
  return tl::unexpected(takes_no_call(who));
}

result<void> core::add_pending_call(interpreter_id who, pending_function call) {
  const auto to = pending_of(who);
  if (!to) return tl::unexpected(to.error());
  if (!call) return fail(errc::invalid_argument, "a pending call without a function");
  try {
    switch ((*to)->add(call)) {
    case pending_calls::answer::accepted: return {};
    case pending_calls::answer::closed: break;
    case pending_calls::answer::full: {
      const auto info = directory_.look_up(who);
      return fail(errc::mailbox_full, fmt::format("interpreter {}: {} pending calls wait already, which is the limit",
                                                  number_and_name(who, info ? info->name : ""), (*to)->limit()));
    }
    }
  } catch (const std::bad_alloc&) {
    return fail(errc::out_of_memory, fmt::format("no memory for a pending call of interpreter {}", number(who)));
  }
  return tl::unexpected(takes_no_call(who));
}

result<pending_flag> core::make_pending_flag(interpreter_id who, pending_function call) {
  const auto to = pending_of(who);
  if (!to) return tl::unexpected(to.error());
  if (!call) return fail(errc::invalid_argument, "a pending flag without a function");
  if (crank_ != nullptr)
    return fail(errc::invalid_argument, "a runtime without threads does not look at pending flags");
  try {
    auto made = (*to)->make_flag(std::move(call));
    if (!made) return tl::unexpected(takes_no_call(who));
    const std::scoped_lock lock(flags_mutex_);
    if (std::find(flagged_.begin(), flagged_.end(), *to) == flagged_.end()) flagged_.push_back(*to);
    return *std::move(made);
  } catch (const std::bad_alloc&) {
    return fail(errc::out_of_memory, fmt::format("no memory for a pending flag of interpreter {}", number(who)));
  }
}

void core::look_at_flags() noexcept {
  std::vector<std::shared_ptr<pending_calls>> all;
  try {
    const std::scoped_lock lock(flags_mutex_);
    all = flagged_;
  } catch (const std::bad_alloc&) {
    return; // what is raised stays raised
  }
  for (const auto& one : all) {
    if (one->look_at_flags()) continue;
    const std::scoped_lock lock(flags_mutex_);
    std::erase(flagged_, one); // closed, for good
  }
}

std::shared_ptr<survey> core::survey_all(survey::listener told) {
  const auto all = living();
  auto whole = std::make_shared<survey>(all.size() + 1, std::move(told));
  // The host program first: what its threads let go of from here on is still named.
  port_->with_imports([&](const import_table& imports) { whole->part(host_interpreter, {}, imports); });
  for (const actor_ptr& a : all) post(a->shell().id(), survey::question(whole));
  return whole;
}

void core::survey_references(interpreter_id asker, call_id call) {
  (void)survey_all([this, asker, call](const std::vector<exported_object>& all) {
    outbox out(host_interpreter, directory_);
    wire_writer& w = out.open(asker, record_kind::reply);
    w.put_u64(call);
    put_survey(w, all);
    const send_status sent = out.commit();
    if (sent <= send_status::crowded) return;
    ignoring_visitor nothing;
    out.rollback(nothing);
    if (sent != send_status::no_memory) return;
    wire_writer& no = out.open(asker, record_kind::reply_error);
    no.put_u64(call);
    no.put_error({errc::out_of_memory, "no memory for the list of references", {}, {}, {}, {}});
    if (out.commit() > send_status::crowded) out.rollback(nothing);
  });
}

result<std::vector<exported_object>> core::references(std::chrono::milliseconds patience) {
  if (port_->closed()) return tl::unexpected(finalized());
  if (on_worker_thread())
    return fail(errc::invalid_argument, "an interpreter's turn cannot wait for the turns of all interpreters");
  const auto known = std::make_shared<std::promise<std::vector<exported_object>>>();
  auto list = known->get_future();
  const auto whole = survey_all([known](std::vector<exported_object> all) { known->set_value(std::move(all)); });
  if (list.wait_for(patience) != std::future_status::ready) whole->finish();
  return list.get();
}

} // namespace Atoll
