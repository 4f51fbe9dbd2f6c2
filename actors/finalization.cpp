#include "actors/finalization.hpp"

#include <algorithm>
#include <mutex>
#include <optional>
#include <set>

#include "actors/core.hpp"
#include "channels/channel_space.hpp"

namespace Atoll {

namespace {

constexpr time_point::duration shortest_share = std::chrono::milliseconds(2);
// For threads that only pass through, also when nothing is left of the time.
constexpr time_point::duration last_patience = std::chrono::milliseconds(20);

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

  /// True: this was the last.
  bool done(interpreter_id who) {
    const std::scoped_lock lock(mutex);
    return open.erase(who) > 0 && open.empty();
  }
  bool over() {
    const std::scoped_lock lock(mutex);
    return open.empty();
  }
  std::vector<interpreter_id> left() {
    const std::scoped_lock lock(mutex);
    return {open.begin(), open.end()};
  }
};

/// Who acts at its end. Shared with the jobs that find out.
struct finalization::roll {
  void add(interpreter_id who) {
    const std::scoped_lock lock(mutex_);
    all_.insert(who);
  }
  /// Together with those who did not answer.
  std::set<interpreter_id> with(const std::vector<interpreter_id>& silent) {
    const std::scoped_lock lock(mutex_);
    all_.insert(silent.begin(), silent.end());
    return all_;
  }

private:
  std::mutex mutex_;
  std::set<interpreter_id> all_; // under mutex_
};

namespace {

/// In their order: each of `apart` by itself, those between two of them together.
std::vector<std::vector<interpreter_id>> groups_of(const std::vector<interpreter_id>& all,
                                                   const std::set<interpreter_id>& apart) {
  std::vector<std::vector<interpreter_id>> groups;
  bool open = false; // the last one takes more
  for (const interpreter_id who : all) {
    const bool alone = apart.count(who) > 0;
    if (alone || !open) groups.emplace_back();
    groups.back().push_back(who);
    open = !alone;
  }
  return groups;
}

using question = std::function<void(interpreter&, std::function<void()> done)>;

/// Runs the question in the interpreter's turn; gone interpreters count as done.
class ask_job final : public job {
public:
  ask_job(question what, std::function<void()> done) : what_(std::move(what)), done_(std::move(done)) {}
  void run(host& owner) override {
    try {
      what_(static_cast<interpreter&>(owner), done_);
    } catch (...) {
      done_(); // no memory: the phases do not wait for what was not begun
      throw;
    }
  }
  void abandon(const error&) noexcept override { done_(); }

private:
  question what_;
  std::function<void()> done_;
};

} // namespace

finalization::finalization(core& runtime, waiter& wait)
    : core_(runtime), waiter_(wait), start_(runtime.finalize_asked()), end_(runtime.phases_end()), phase_end_(start_) {}

time_point finalization::now() const { return core_.now(); }

finalization_report finalization::run() {
  phase("close", 0.05, &finalization::close);
  phase("drain", 0.40, &finalization::drain);
  phase("exit", 0.50, &finalization::exit);
  phase("settle", 0.40, &finalization::settle);
  phase("teardown", 0.90, &finalization::teardown);
  phase("seal", 1.00, &finalization::seal);
  core_.enter_phase("report");
  finalization_report& r = report_;
  static_cast<ends&>(r) = core_.take_ends();
  std::sort(r.interpreters.begin(), r.interpreters.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  r.deadlock = core_.take_deadlock();
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
  core_.enter_phase(name);
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

bool is_quiet(core& runtime) {
  // If everybody is idle at a first look and, at a second, still idle without having begun a turn, then at the moment
  // between the looks nobody ran, nobody was scheduled, and so no inbox held anything.
  const auto all = runtime.living();
  std::vector<std::uint64_t> turns;
  for (const auto& a : all) {
    if (!a->shell().box().turn().idle()) return false;
    turns.push_back(a->shell().turns());
  }
  const std::uint64_t port_turns = runtime.port().turns();
  if (!runtime.net_idle() || !runtime.port().box().turn().idle()) return false;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!all[i]->shell().box().turn().idle() || all[i]->shell().turns() != turns[i]) return false;
  return runtime.net_idle() && runtime.port().box().turn().idle() && runtime.port().turns() == port_turns;
}

std::shared_ptr<finalization::asked> finalization::ask(const std::vector<interpreter_id>& whom, const question& what) {
  const auto board = std::make_shared<asked>();
  board->open.insert(whom.begin(), whom.end());
  core* runtime = &core_;
  for (const interpreter_id who : whom) {
    const auto done = [board, who, runtime] {
      if (board->done(who)) runtime->tell_supervisor();
    };
    core_.post(who, std::make_unique<ask_job>(what, done));
  }
  return board;
}

std::vector<interpreter_id> finalization::await(asked& board, time_point until) {
  wait_for([&] { return board.over(); }, until);
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
  report_.phases.back().forced.push_back("interpreter " + number_and_name(who, info ? info->name : ""));
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
  const auto acting = std::make_shared<roll>();
  const auto failing = ask(newest_first(), [acting](interpreter& i, const auto& done) {
    i.fail_waiting(errc::runtime_finalizing);
    if (i.acts_at_exit()) acting->add(i.id());
    done();
  });
  act_at_exit_ = acting->with(await(*failing, until));
  core_.port().fail_waiting(errc::runtime_finalizing);
  core_.close_connections();
  wait_for([this] { return core_.net_idle(); }, until);
}

void finalization::exit() {
  const auto groups = groups_of(newest_first(), act_at_exit_);
  std::size_t still_to_come = groups.size();
  std::vector<std::shared_ptr<asked>> late;
  for (const auto& group : groups) {
    const bool alone = act_at_exit_.count(group.front()) > 0;
    const auto acting = std::make_shared<roll>();
    run_exit_handlers(group, still_to_come--, late, [alone, acting](interpreter& i, const auto& done) {
      if (alone || !i.acts_at_exit()) return i.run_exit_handlers(done);
      acting->add(i.id()); // since it was asked; it has its own turn
      done();
    });
    const std::set<interpreter_id> more = acting->with({});
    for (auto who = more.rbegin(); who != more.rend(); ++who)
      run_exit_handlers({*who}, still_to_come + 1, late,
                        [](interpreter& i, const auto& done) { i.run_exit_handlers(done); });
  }
  interrupt_again(late);
  wait_for([this] { return quiet(); });
}

void finalization::run_exit_handlers(const std::vector<interpreter_id>& whom, std::size_t still_to_come,
                                     std::vector<std::shared_ptr<asked>>& late, const question& how) {
  const auto board = ask(whom, how);
  const std::vector<interpreter_id> left = await(*board, now() + share_of(phase_end_ - now(), still_to_come));
  if (left.empty()) return;
  for (const interpreter_id who : left) {
    force(who);
    core_.control(who, {.interrupt = true});
  }
  late.push_back(board);
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
  report_.channels = core_.where().channels()->close_all();
  const auto acting = std::make_shared<roll>();
  const auto dropping = ask(newest_first(), [acting](interpreter& i, const auto& done) {
    i.drop_imports();
    if (i.acts_at_close()) acting->add(i.id());
    done();
  });
  const std::vector<interpreter_id> holding = await(*dropping, phase_end_);
  act_at_close_ = acting->with(holding);
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
  for (const auto& group : groups_of(all, act_at_close_)) {
    // Each gets a share of what is left: one that hangs does not take the time of those behind it.
    const time_point until = now() + std::max(phase_end_ - now(), time_point::duration::zero()) / 2;
    core_.tell_of_ends_at(core_.alive() - std::min(core_.alive(), group.size()));
    for (const interpreter_id who : group)
      core_.post(who, std::make_unique<ask_job>(
                          [](interpreter& i, const auto&) {
                            i.end(i.id() == main_interpreter ? end_kind::exited : end_kind::stopped);
                          },
                          [] {}));
    if (wait_for(
            [&, gone = group.begin()]() mutable {
              return (gone = std::find_if(gone, group.end(), alive)) == group.end();
            },
            until))
      continue;
    for (const interpreter_id who : group) {
      if (!alive(who)) continue;
      force(who);
      core_.control(who, {.kill = true});
    }
  }
  core_.tell_of_ends_at(~std::size_t{0});
  wait_for([&] { return std::none_of(all.begin(), all.end(), alive); });
  for (const interpreter_id who : all)
    if (alive(who)) core_.abandon(who);
}

void finalization::seal() {
  // Whoever still pushes finds closed inboxes and disposes of what it brings (channels/disposal.hpp).
  // What the port has taken is told before it closes: a callback that runs after the end would find nothing it knows.
  wait_for([this] { return core_.net_idle() && core_.port().box().turn().idle(); });
  core_.port().close();
  // A host thread may still be on its way out of the runtime, with a wake-up or a job in its hands.
  gate& inside = *core_.where().inside();
  inside.close();
  if (!wait_for([&] { return inside.empty(); }, std::max(phase_end_, now() + last_patience))) {
    report_.phases.back().forced.push_back("a host thread that did not come out of the runtime");
    core_.leave_behind();
    return;
  }
  core_.where().channels()->seal();
}

} // namespace Atoll
