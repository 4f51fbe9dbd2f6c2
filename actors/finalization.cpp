#include "actors/finalization.hpp"

#include <algorithm>
#include <mutex>
#include <optional>
#include <set>

#include "actors/core.hpp"

namespace Atoll {

namespace {

constexpr time_point::duration shortest_share = std::chrono::milliseconds(2);

/// What an interpreter may take of what is left of the phase "exit": a quarter also when many are still to come, and never
/// all of it, as it may have more to do behind what had to be cut.
time_point::duration share_of(time_point::duration left, std::size_t still_to_come) {
  return still_to_come < 2 ? left * 3 / 4 : left / std::min<long>(static_cast<long>(still_to_come), 4);
}

} // namespace

/// Who was asked and has not answered yet. Shared with the jobs: a late answer finds it alive.
struct finalization::asked {
  std::mutex mutex;
  std::set<interpreter_id> open; // under mutex

  void done(interpreter_id who) {
    const std::scoped_lock lock(mutex);
    open.erase(who);
  }
  std::vector<interpreter_id> left() {
    const std::scoped_lock lock(mutex);
    return {open.begin(), open.end()};
  }
};

namespace {

using question = std::function<void(interpreter&, std::function<void()> done)>;

/// Runs the question in the interpreter's turn; gone interpreters count as done.
class ask_job final : public job {
public:
  ask_job(question what, std::function<void()> done) : what_(std::move(what)), done_(std::move(done)) {}
  void run(host& owner) override { what_(static_cast<interpreter&>(owner), done_); }
  void abandon(const error&) noexcept override { done_(); }

private:
  question what_;
  std::function<void()> done_;
};

} // namespace

finalization::finalization(core& runtime, waiter& wait)
    : core_(runtime),
      waiter_(wait),
      start_(runtime.now()),
      end_(start_ + runtime.config().deadline),
      phase_end_(start_) {}

time_point finalization::now() const { return core_.now(); }

finalization_report finalization::run() {
  phase("close", 0.05, &finalization::close);
  phase("drain", 0.40, &finalization::drain);
  phase("exit", 0.50, &finalization::exit);
  phase("settle", 0.40, &finalization::settle);
  phase("teardown", 0.90, &finalization::teardown);
  phase("seal", 1.00, &finalization::seal);
  finalization_report& r = report_;
  r.interpreters = core_.take_reports();
  std::sort(r.interpreters.begin(), r.interpreters.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  for (const interpreter_report& i : r.interpreters) {
    r.exported += i.exported;
    r.released += i.released;
    r.messages_delivered += i.messages;
    r.finalizers_run += i.finalizers_run;
    r.finalizers_failed += i.finalizers_failed;
    r.pending_calls_run += i.pending_calls_run;
    r.pending_calls_failed += i.pending_calls_failed;
    r.pending_calls_refused += i.pending_calls_refused;
  }
  r.dead_letters = core_.where().dead_letters();
  r.exit_status = core_.exit_status();
  r.seconds = std::chrono::duration<double>(now() - start_).count();
  const bool forced = std::any_of(r.phases.begin(), r.phases.end(), [](const auto& p) { return !p.forced.empty(); });
  if (forced) {
    r.verdict = finalization_report::verdict_kind::forced;
  } else if (!r.leaked.empty()) {
    r.verdict = finalization_report::verdict_kind::leaked;
  }
  return std::move(report_);
}

void finalization::phase(const char* name, double share, void (finalization::*step)()) {
  const time_point begin = now();
  const auto left = std::max(end_ - begin, time_point::duration::zero());
  phase_end_ = begin + std::chrono::duration_cast<time_point::duration>(left * share);
  report_.phases.push_back({name, 0, {}});
  (this->*step)();
  report_.phases.back().seconds = std::chrono::duration<double>(now() - begin).count();
}

bool finalization::wait_for(const std::function<bool()>& condition, time_point until) {
  // The conditions are counts that others change; most changes wake the waiter, the short sleep is for the rest.
  for (auto pause = std::chrono::microseconds(50); !condition();
       pause = std::min(pause * 2, std::chrono::microseconds(2000))) {
    if (now() >= until) return false;
    waiter_.wait(std::min(until, now() + pause));
  }
  return true;
}

bool finalization::quiet() {
  // If everybody is idle at a first look and, at a second, still idle without having begun a turn, then at the moment
  // between the looks nobody ran, nobody was scheduled, and so no inbox held anything.
  const auto all = core_.living();
  std::vector<std::uint64_t> turns;
  for (const auto& a : all) {
    if (!a->shell().box().turn().idle()) return false;
    turns.push_back(a->shell().turns());
  }
  const std::uint64_t port_turns = core_.port().turns();
  if (!core_.net_idle() || !core_.port().box().turn().idle()) return false;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!all[i]->shell().box().turn().idle() || all[i]->shell().turns() != turns[i]) return false;
  return core_.net_idle() && core_.port().box().turn().idle() && core_.port().turns() == port_turns;
}

std::shared_ptr<finalization::asked> finalization::ask(const std::vector<interpreter_id>& whom, const question& what) {
  const auto board = std::make_shared<asked>();
  board->open.insert(whom.begin(), whom.end());
  core* runtime = &core_;
  for (const interpreter_id who : whom) {
    const auto done = [board, who, runtime] {
      board->done(who);
      runtime->tell_supervisor();
    };
    core_.post(who, std::make_unique<ask_job>(what, done));
  }
  return board;
}

std::vector<interpreter_id> finalization::await(asked& board, time_point until) {
  wait_for([&] { return board.left().empty(); }, until);
  return board.left();
}

std::vector<interpreter_id> finalization::newest_first() const {
  std::vector<interpreter_id> ids;
  for (const auto& a : core_.living()) ids.push_back(a->shell().id());
  std::reverse(ids.begin(), ids.end());
  return ids;
}

void finalization::force(interpreter_id who) {
  const auto info = core_.where().look_up(who);
  report_.phases.back().forced.push_back(number_and_name(who, info ? info->name : ""));
}

void finalization::close() {
  core_.close_for_new();
  core_.port().refuse_new();
  core_.close_listeners();
}

void finalization::drain() {
  if (!wait_for([this] { return quiet(); })) {
    for (const auto& a : core_.living()) {
      if (a->shell().box().turn().idle()) continue;
      force(a->shell().id());
      core_.control(a->shell().id(), {.interrupt = true});
    }
  }
  const time_point until = now() + (end_ - now()) / 8;
  const auto failing = ask(newest_first(), [](interpreter& i, const auto& done) {
    i.fail_waiting(errc::runtime_finalizing);
    done();
  });
  await(*failing, until);
  core_.port().fail_waiting(errc::runtime_finalizing);
  core_.close_connections();
  wait_for([this] { return core_.net_idle(); }, until);
}

void finalization::exit() {
  const std::vector<interpreter_id> all = newest_first();
  std::size_t still_to_come = all.size();
  std::vector<std::shared_ptr<asked>> late;
  for (const interpreter_id who : all) {
    const auto board = ask({who}, [](interpreter& i, const auto& done) { i.run_exit_handlers(done); });
    if (await(*board, now() + share_of(phase_end_ - now(), still_to_come--)).empty()) continue;
    force(who);
    core_.control(who, {.interrupt = true});
    late.push_back(board);
  }
  interrupt_again(late);
  wait_for([this] { return quiet(); });
}

void finalization::interrupt_again(const std::vector<std::shared_ptr<asked>>& late) {
  const auto left = [&] {
    std::vector<interpreter_id> all;
    for (const auto& board : late)
      for (const interpreter_id who : board->left()) all.push_back(who);
    return all;
  };
  for (;;) {
    const auto share = std::max((phase_end_ - now()) / 4, shortest_share);
    wait_for([&] { return left().empty(); }, std::min(now() + share, phase_end_));
    const std::vector<interpreter_id> still = left();
    if (still.empty() || now() >= phase_end_) return;
    for (const interpreter_id who : still) core_.control(who, {.interrupt = true});
  }
}

void finalization::settle() {
  const auto dropping = ask(newest_first(), [](interpreter& i, const auto& done) {
    i.drop_imports();
    done();
  });
  const std::vector<interpreter_id> holding = await(*dropping, phase_end_);
  wait_for([this] { return quiet(); });
  const auto found = std::make_shared<std::pair<std::mutex, std::optional<std::vector<exported_object>>>>();
  core* runtime = &core_;
  const auto look = core_.survey_all([found, runtime](std::vector<exported_object> all) {
    {
      const std::scoped_lock lock(found->first);
      found->second = std::move(all);
    }
    runtime->tell_supervisor();
  });
  const auto known = [&] {
    const std::scoped_lock lock(found->first);
    return found->second.has_value();
  };
  if (!wait_for(known)) look->finish();
  const std::scoped_lock lock(found->first);
  report_.leaked = *found->second;
  // Who did not even come to let go cannot be asked; it is the first to suspect.
  for (exported_object& o : report_.leaked)
    if (o.holders.empty()) o.holders = holding;
}

void finalization::teardown() {
  const std::vector<interpreter_id> all = newest_first();
  const auto alive = [this](interpreter_id who) { return core_.lives(who); };
  for (const interpreter_id who : all) {
    // Each gets a share of what is left: one that hangs does not take the time of those behind it.
    const time_point until = now() + std::max(phase_end_ - now(), time_point::duration::zero()) / 2;
    core_.post(who, std::make_unique<ask_job>(
                        [](interpreter& i, const auto&) {
                          i.end(i.id() == main_interpreter ? end_kind::exited : end_kind::stopped);
                        },
                        [] {}));
    if (wait_for([&] { return !alive(who); }, until)) continue;
    force(who);
    core_.control(who, {.kill = true});
  }
  wait_for([&] { return std::none_of(all.begin(), all.end(), alive); });
  for (const interpreter_id who : all)
    if (alive(who)) core_.abandon(who);
}

void finalization::seal() {
  // Whoever still pushes finds closed inboxes and disposes of what it brings (channels/disposal.hpp).
  // What the port has taken is told before it closes: a callback that runs after the end would find nothing it knows.
  wait_for([this] { return core_.net_idle() && core_.port().box().turn().idle(); });
  core_.port().close();
}

} // namespace Atoll
