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

constexpr std::chrono::milliseconds callback_grace{20};

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

core::~core() {
  finalize();
  {
    std::optional<supervisor> retired; // both end outside the lock
    decltype(living_) left;
    const std::scoped_lock lock(mutex_);
    retired = std::exchange(supervisor_, std::nullopt);
    left.swap(living_);
    if (net_) caf::anon_send_exit(net_, caf::exit_reason::user_shutdown);
    net_ = nullptr;
  }
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
  // It may wait for a name server longer than the runtime lives.
  connecting_->fetch_add(1, std::memory_order_relaxed);
  std::thread([port = port_, connecting = connecting_, address, receiver, token] {
    port->post(receiver, std::make_unique<connected_job>(token, connect_to(address, 10000)));
    connecting->fetch_sub(1, std::memory_order_release); // the job is seen by who sees this
  }).detach();
}

bool core::main_goes_on() const {
  const std::scoped_lock lock(mutex_);
  return main_asked_.load(std::memory_order_relaxed) && !main_over_;
}

bool core::awaits_outside() {
  // acquire: with the release of whoever subtracts, behind what it told.
  if (sockets_in_use_.load(std::memory_order_acquire) > 0 || connecting_->load(std::memory_order_acquire) > 0)
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

void core::tell_supervisor() noexcept {
  // Once the last has told, the runtime may be in its destructor before wake() returns: this keeps the actor until then.
  std::optional<supervisor> kept;
  {
    const std::scoped_lock lock(mutex_);
    kept = supervisor_;
  }
  try {
    if (kept) kept->wake();
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

void core::leave_behind() {
  const std::scoped_lock lock(mutex_);
  abandoned_any_ = true;
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
  const gate::visit telling(port_->callbacks());
  if (!telling.open()) return; // finalize() has returned, and the program may be gone that is told
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
  main_over_ = true;
  changed_.notify_all();
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
  port_->callbacks().close();
  // Only when time is up can one be under way. It is waited for a little: perhaps it has just begun.
  for (const auto until = clock_type::now() + callback_grace; !port_->callbacks().empty() && clock_type::now() < until;)
    std::this_thread::yield();
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
