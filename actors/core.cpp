#include "actors/core.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <future>
#include <thread>

#include "actors/alarm.hpp"
#include "actors/finalization.hpp"
#include "actors/supervision/supervisor_guest.hpp"
#include "actors/watch.hpp"
#include "actors/workers.hpp"
#include "channels/disposal.hpp"

namespace Atoll {

namespace {

/// What of the deadline the phases leave, so that finalize() returns inside it though its supervisor is late.
time_point::duration reserve_of(time_point::duration deadline) {
  using std::chrono::milliseconds;
  const time_point::duration least = std::min<time_point::duration>(deadline / 3, milliseconds(100));
  return std::clamp<time_point::duration>(deadline / 10, least, milliseconds(500));
}

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

/// Runs `f` on a thread of its own and waits for it. CAF notes its actor system in a thread-local of whoever makes it, or
/// spawns in it, and the system's end waits for that note to go: made here and ended there it would wait for the life of the first thread, and in
/// the destructor of a static object the note is gone before.
template <class F>
void on_thread_of_its_own(F&& f) {
  std::exception_ptr failed;
  std::thread([&] {
    try {
      f();
    } catch (...) {
      failed = std::current_exception();
    }
  }).join();
  if (failed) std::rethrow_exception(failed);
}

/// For one birth more: its report has room from then on, as ended() and abandon() must not fail. For as many as are ever
/// listed, but for those abandoned beyond that.
void make_room(std::vector<interpreter_report>& listed, std::size_t living, std::size_t reported_ends) {
  const std::size_t most = 2 * reported_ends + 1;
  const std::size_t needed = std::min(listed.size() + living + 1, most);
  if (listed.capacity() < needed) listed.reserve(std::min(needed * 2, most));
}

/// What a forked child's finalize() answers: the runtime goes on, in the parent.
finalization_report forked_report() {
  finalization_report r;
  r.verdict = finalization_report::verdict_kind::forced;
  r.phases.push_back({"close", 0, {forked_error().message}});
  return r;
}

} // namespace

core::core(system_config config, waiter* crank)
    : config_(std::move(config)),
      crank_(crank),
      everybody_(std::make_shared<population>(host_interpreter, std::string(), config_.interpreters, nullptr)) {
  if (config_.workers == 0) config_.workers = std::max(1U, std::thread::hardware_concurrency());
  config_.languages.emplace(supervisor_language, make_supervisor_guest);
  usual_ = usual_config();
  caf_config_ = settings_for_caf(config_.workers, crank_ != nullptr);
  if (crank_ != nullptr) { // no threads at all
    caf_ = std::make_unique<caf::actor_system>(*caf_config_);
  } else {
    on_thread_of_its_own([this] { caf_ = std::make_unique<caf::actor_system>(*caf_config_); });
  }
  caf::actor_config hidden;
  alarm_ =
      caf::make_actor<alarm, caf::strong_actor_ptr>(caf_->next_actor_id(), caf_->node(), caf_.get(), hidden, *this);
  constexpr std::chrono::milliseconds shortest{1}; // 0 is no ticker at all
  const auto period = crank_ == nullptr ? std::max(shortest, config_.time_slice / 2) : std::chrono::milliseconds(0);
  if (crank_ == nullptr) spares_.emplace(*caf_, config_.spare_workers);
  ticker_ = std::make_unique<ticker>(
      period, config_.sample_period, [this] { return look_at_flags(); }, [this] { return work_waits(*caf_); },
      [this](std::size_t threads, bool work_waits) { on_stuck(threads, work_waits); },
      [this](const stuck_report& what) { tell_stuck(what); });
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
  // Last: its thread looks over all that.
  if (crank_ == nullptr) on_thread_of_its_own([this] { supervisor_.emplace(*caf_, *this); });
}

std::shared_ptr<const interpreter_config> core::usual_config() const {
  auto c = std::make_shared<interpreter_config>();
  c->credit = config_.credit;
  c->turn_messages = config_.turn_messages;
  c->pending_calls = config_.pending_calls;
  c->bounds = {.memory = config_.memory,
               .message_cpu = config_.message_cpu,
               .call_time = config_.call_time,
               .time_slice = config_.time_slice,
               .high_water = std::max<std::size_t>(1, config_.high_water),
               .call_depth = std::min(config_.call_depth, deepest_call)};
  c->children = everybody_;
  return c;
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
  alarm_ = nullptr;
  spares_.reset(); // before CAF's scheduler, and after the ticker that calls it
  // Until its clock is gone, in here, that may bring late wake-ups, which ask what time it is (interpreter::alarm): reset()
  // would forget the pointer first.
  const auto end = [this] {
    delete caf_.get();
    (void)caf_.release();
  };
  if (crank_ != nullptr) {
    end();
  } else {
    on_thread_of_its_own(end);
  }
}

time_point core::now() const noexcept { return caf_->clock().now(); }

void core::wake_at(interpreter& who, time_point when) {
  caf_->clock().schedule_message(when, alarm_, alarm::message_for(who.id()));
}

void core::ring(interpreter_id who) {
  const actor_ptr self = find(who);
  if (self == nullptr) return;
  self->shell().alarm();
  self->shell().box().wake();
}

result<interpreter_id> core::create(const spawn_options& options, interpreter_id parent) {
  return create_as(directory_.next_id(), options, parent);
}

result<interpreter_id> core::create_as(interpreter_id id, const spawn_options& options, interpreter_id parent) {
  if (finalizing()) return fail(errc::runtime_finalizing, "the runtime is being finalized: no new interpreters");
  const auto language = config_.languages.find(options.language);
  if (language == config_.languages.end())
    return fail(errc::invalid_argument, fmt::format("there is no guest for the language '{}'", options.language));
  const auto above = enter_population(parent);
  if (!above) return tl::unexpected(above.error());
  const auto take_back = [&] {
    const std::scoped_lock lock(mutex_);
    living_.erase(id);
    (*above)->leave();
  };
  try {
    if (bear(id, options, parent, language->second, *above)) return id;
  } catch (const std::bad_alloc&) {
    take_back();
    throw;
  }
  take_back();
  return fail(errc::name_taken, fmt::format("an interpreter named '{}' is running already", options.name));
}

bool core::bear(interpreter_id id, const spawn_options& options, interpreter_id parent, const guest_factory& make_guest,
                const std::shared_ptr<population>& above) {
  caf::actor_config cfg;
  const caf::actor made = caf::make_actor<interpreter_actor, caf::actor>(
      caf_->next_actor_id(), caf_->node(), caf_.get(), cfg, *this, config_of(id, options, above), id, parent,
      options.name, make_guest);
  const actor_ptr self(static_cast<interpreter_actor*>(caf::actor_cast<caf::abstract_actor*>(made)));
  {
    // Before others can find it: who kills or stops it then finds it here.
    const std::scoped_lock lock(mutex_);
    make_room(ends_.interpreters, living_.size(), config_.reported_ends);
    living_.emplace(id, self);
  }
  return directory_.enter(id, options.name, parent, self->shell().shared_box());
}

std::shared_ptr<const interpreter_config> core::config_of(interpreter_id id, const spawn_options& options,
                                                          const std::shared_ptr<population>& above) const {
  const bool as_usual = options.memory == 0 && !options.message_cpu && !options.call_time && !options.time_slice
                        && !options.high_water && !options.interpreters && !options.call_depth;
  if (as_usual && above == everybody_) return usual_;
  auto c = std::make_shared<interpreter_config>(*usual_);
  limits& own = c->bounds;
  if (options.memory > 0) own.memory = options.memory;
  own.message_cpu = options.message_cpu.value_or(own.message_cpu);
  own.call_time = options.call_time.value_or(own.call_time);
  own.high_water = std::max<std::size_t>(1, options.high_water.value_or(own.high_water));
  own.call_depth = std::min(options.call_depth.value_or(own.call_depth), deepest_call);
  if (options.time_slice) c->patience = std::max(*options.time_slice - own.time_slice, std::chrono::milliseconds(0));
  own.time_slice += c->patience;
  const std::size_t room = options.interpreters.value_or(0);
  c->children = room > 0 ? std::make_shared<population>(id, options.name, room, above) : above;
  return c;
}

/// Counts a child of `parent` before it is born. limit_reached.
result<std::shared_ptr<population>> core::enter_population(interpreter_id parent) {
  const std::scoped_lock lock(mutex_);
  const auto it = living_.find(parent);
  std::shared_ptr<population> home = it != living_.end() ? it->second->shell().children() : everybody_;
  const population* const full = home->enter();
  if (full == nullptr) return home;
  const std::string whose =
      full->owner() == host_interpreter ? "the runtime" : "interpreter " + number_and_name(full->owner(), full->name());
  return fail(errc::limit_reached, fmt::format("no further interpreter: {} may have {} at a time, which live already",
                                               whose, full->limit()));
}

/// With mutex_ held, once for each that was born.
void core::leave_population(const interpreter& who) {
  population& own = *who.children();
  (own.owner() == who.id() ? *own.above() : own).leave();
}

void core::on_stuck(std::size_t threads, bool work_waits) {
  if (!spares_ || spares_->look(threads, work_waits) || std::exchange(short_of_spares_, true)) return;
  write_log(log_level::warn,
            fmt::format("{} threads are in turns that do not end, and there may be {} spare workers: others wait "
                        "(--spare-workers, system_config::spare_workers)",
                        threads, spares_->bound()));
}

void core::tell_stuck(const stuck_report& what) {
  const interpreter_info who{what.who, what.name, {}, run_state::running};
  const double seconds = std::chrono::duration<double>(what.until - what.since).count();
  const std::string in = what.doing.empty() ? std::string() : " in " + what.doing;
  if (what.over)
    return log(log_level::info, who, fmt::format("its turn{} came to its end after {:.1f} s", in, seconds));
  log(log_level::warn, who,
      fmt::format("its turn has lasted {:.2f} s{} and cannot be preempted there: {}", seconds, in,
                  spares_ && spares_->bound() > 0 ? "a spare worker takes over what waits"
                                                  : "what waits for its worker goes on waiting"));
}

core::actor_ptr core::find(interpreter_id id) const {
  const std::scoped_lock lock(mutex_);
  const auto it = living_.find(id);
  return it != living_.end() ? it->second : nullptr;
}

std::size_t core::alive() const {
  const std::scoped_lock lock(mutex_);
  return living_.size();
}

std::vector<core::actor_ptr> core::living() const {
  std::vector<actor_ptr> all;
  {
    const std::scoped_lock lock(mutex_);
    all.reserve(living_.size());
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
  net_ = caf_->spawn_class<net_broker, caf::hidden>(cfg, static_cast<environment&>(*this), net_box_,
                                                    std::ref(sockets_in_use_));
}

void core::connect(const std::string& address, interpreter_id receiver, guest_word token) {
  connecting_.fetch_add(1, std::memory_order_relaxed);
  std::thread([self = shared_from_this(), address, receiver, token] {
    self->post(receiver, std::make_unique<connected_job>(token, connect_to(address, 10000)));
    self->connecting_.fetch_sub(1, std::memory_order_release); // the job is seen by who sees this
  }).detach();
}

bool core::main_goes_on() const {
  const std::scoped_lock lock(mutex_);
  return main_asked_.load(std::memory_order_relaxed) && !main_over_;
}

bool core::awaits_outside() {
  // acquire: with the release of whoever subtracts, behind what it told.
  if (sockets_in_use_.load(std::memory_order_acquire) > 0 || connecting_.load(std::memory_order_acquire) > 0)
    return true;
  {
    const std::scoped_lock lock(flags_mutex_);
    if (!flagged_.empty()) return true;
  }
  const std::scoped_lock lock(mutex_);
  return std::any_of(living_.begin(), living_.end(),
                     [](const auto& one) { return one.second->shell().waits_for_clock(); });
}

void core::deadlocked(std::vector<deadlocked_task> tasks) {
  const error why{errc::deadlock, deadlock_text(tasks), {}, {}, {}, {}};
  {
    const std::scoped_lock lock(mutex_);
    if (main_over_) return;
    deadlock_ = std::move(tasks);
  }
  main_done(&why);
}

std::vector<deadlocked_task> core::take_deadlock() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(deadlock_, {});
}

void core::request_exit(int status) {
  if (forked()) {
    std::fflush(nullptr);
    return leave_child(status);
  }
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

void core::leave_child(int status) noexcept {
  if (!on_worker_thread()) return;
  _exit(status);
}

void core::log(log_level level, const interpreter_info& who, std::string_view text) {
  if (level < config_.log_threshold || forked()) return;
  write_log(level, fmt::format("interpreter {}: {}", number_and_name(who.id, who.name), text));
}

void core::write_log(log_level level, std::string_view text) {
  if (level < config_.log_threshold) return;
  const std::string line = fmt::format("atoll: {}: {}\n", name_of(level), text);
  const std::scoped_lock lock(log_mutex_);
  if (log_over_) return; // finalize() has returned, and the program may be gone that is told
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
    ends_.add(std::move(report), config_.reported_ends);
    last = std::move(it->second);
    leave_population(last->shell());
    living_.erase(it);
    if (who.id() == main_interpreter) {
      main_over_ = true;
      changed_.notify_all();
    }
    if (living_.size() > tell_at_ || !finalizing()) return; // before the end nobody counts the living
  }
  tell_supervisor();
}

void core::tell_of_ends_at(std::size_t alive) {
  const std::scoped_lock lock(mutex_);
  tell_at_ = alive;
}

void core::tell_supervisor() noexcept {
  try {
    if (supervisor_) supervisor_->wake();
  } catch (const std::bad_alloc&) {
    // It looks by itself, every 2 ms.
  }
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

ends core::take_ends() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(ends_, {});
}

void core::abandon(interpreter_id who) {
  actor_ptr stuck;
  {
    const std::scoped_lock lock(mutex_);
    const auto it = living_.find(who);
    if (it == living_.end()) return;
    abandoned_any_ = true;
    stuck = std::move(it->second);
    leave_population(stuck->shell());
    living_.erase(it);
  }
  // No turn of it begins from here on, and one under way does not go into the guest again.
  stuck->shell().set_controls({.kill = true, .abandoned = true});
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
  ends_.add(std::move(r), config_.reported_ends);
}

bool core::abandoned_any() const {
  const std::scoped_lock lock(mutex_);
  return abandoned_any_;
}

void core::set_report(finalization_report report) {
  const std::scoped_lock lock(mutex_);
  if (!report_) report_ = std::move(report); // finalize() may have given up waiting for it
  changed_.notify_all();
}

void core::enter_phase(const char* name) noexcept {
  if (!config_.on_phase) return;
  {
    const std::scoped_lock lock(mutex_);
    if (report_) return; // finalize() has returned, and the program may be gone that is told
  }
  try {
    config_.on_phase(name);
  } catch (...) {
    // It has nobody to tell; the phases go on.
  }
}

time_point core::finalize_asked() const {
  const std::scoped_lock lock(mutex_);
  return finalize_asked_.value_or(now());
}

time_point core::phases_end() const {
  return finalize_asked() + config_.deadline
         - (crank_ == nullptr ? reserve_of(config_.deadline) : time_point::duration(0));
}

// With mutex_ held. Whoever has not ended by now is left as it is.
finalization_report core::lost_report() const {
  finalization_report lost;
  lost.verdict = finalization_report::verdict_kind::forced;
  lost.seconds = std::chrono::duration<double>(now() - *finalize_asked_).count();
  lost.phases.push_back({"report", 0, {"the supervisor, which was late: it is not known what it did"}});
  static_cast<ends&>(lost) = ends_;
  for (const auto& [id, a] : living_) {
    a->shell().set_controls({.kill = true, .abandoned = true});
    interpreter_report r;
    r.id = id;
    r.name = a->shell().name();
    r.outcome = end_kind::abandoned;
    r.failure = {errc::killed, "it did not come to an end in time", {}, id, r.name, {}};
    lost.add(std::move(r), config_.reported_ends);
  }
  std::sort(lost.interpreters.begin(), lost.interpreters.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  return lost;
}

void core::wait_for_report(std::unique_lock<std::mutex>& lock) {
  // By the condition variable's own clock: CAF's is the same unless there is a crank, and then nobody waits here.
  if (changed_.wait_until(lock, *finalize_asked_ + config_.deadline, [&] { return report_.has_value(); })) return;
  abandoned_any_ = true;
  report_ = lost_report();
}

finalization_report core::finalize() {
  if (forked()) return forked_report();
  std::unique_lock lock(mutex_);
  const bool first = !finalize_asked_;
  if (first) {
    finalize_asked_ = now();
    lock.unlock();
    if (crank_ != nullptr) {
      set_report(finalization(*this, *crank_).run());
    } else {
      supervisor_->finalize();
    }
    lock.lock();
  }
  if (!report_) wait_for_report(lock);
  finalization_report report = *report_;
  lock.unlock();
  port_->close(); // done by the phase "seal", unless the supervisor was lost
  const std::scoped_lock no_more(log_mutex_);
  log_over_ = true;
  return report;
}

result<void> core::run_main(const spawn_options& options, const source& from,
                            const std::function<bool(wire_writer&)>& write_args) {
  if (forked()) return tl::unexpected(forked_error());
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
  if (forked()) return spawned(forked_error());
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
  if (forked()) return tl::unexpected(forked_error());
  if (port_->closed()) return tl::unexpected(finalized());
  const auto info = directory_.find(name);
  if (!info) return fail(errc::no_such_interpreter, fmt::format("there is no interpreter named '{}'", name));
  return interpreter_handle(port_, info->id, info->name);
}

std::vector<interpreter_handle> core::list() {
  std::vector<interpreter_handle> all;
  if (forked()) return all;
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
  if (forked()) return tl::unexpected(forked_error());
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
    ticker_->wake();
    return *std::move(made);
  } catch (const std::bad_alloc&) {
    return fail(errc::out_of_memory, fmt::format("no memory for a pending flag of interpreter {}", number(who)));
  }
}

bool core::look_at_flags() noexcept {
  std::vector<std::shared_ptr<pending_calls>> all;
  try {
    const std::scoped_lock lock(flags_mutex_);
    all = flagged_;
  } catch (const std::bad_alloc&) {
    return true; // what is raised stays raised
  }
  for (const auto& one : all) {
    if (one->look_at_flags()) continue;
    const std::scoped_lock lock(flags_mutex_);
    std::erase(flagged_, one); // closed, for good
  }
  return !all.empty();
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
  if (forked()) return tl::unexpected(forked_error());
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
