#include "actors/watch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "actors/core.hpp"
#include "actors/finalization.hpp"

namespace Atoll {

namespace {

constexpr std::chrono::milliseconds deadlock_period{200};
// Everybody is idle when asked; who has not answered by then never will.
constexpr std::chrono::seconds patience{2};
constexpr std::size_t lines_max = 20;

/// What everybody says. Shared with the jobs: one that comes late finds it alive.
struct answers {
  std::mutex mutex;
  std::vector<deadlocked_task> tasks; // under mutex
  std::size_t open = 0;               // under mutex
  bool goes_on = false;               // under mutex: somebody has something to do after all

  void close() {
    const std::scoped_lock lock(mutex);
    --open;
  }
  bool complete() {
    const std::scoped_lock lock(mutex);
    return open == 0;
  }
};

class question final : public job {
public:
  explicit question(std::shared_ptr<answers> all) : all_(std::move(all)) {}

  void run(host& owner) override {
    std::vector<task_wait> waits;
    guest* const g = owner.program();
    if (g != nullptr) waits = g->waits();
    const std::scoped_lock lock(all_->mutex);
    --all_->open;
    all_->goes_on = all_->goes_on || (g != nullptr && g->has_ready());
    for (task_wait& w : waits) all_->tasks.push_back({owner.id(), owner.name(), std::move(w), false});
  }
  void abandon(const error&) noexcept override { all_->close(); }

private:
  std::shared_ptr<answers> all_;
};

} // namespace

std::optional<std::chrono::milliseconds> watch::period(const core& runtime) {
  const system_config& c = runtime.config();
  if (c.end_deadlocks) return deadlock_period;
  if (c.stuck_after.count() > 0) return std::max(c.stuck_after / 4, std::chrono::milliseconds(20));
  return std::nullopt;
}

void watch::look() {
  if (core_.finalizing()) return;
  if (core_.config().end_deadlocks) look_for_deadlock();
  if (core_.config().stuck_after.count() > 0 && core_.now() >= next_for_messages_) {
    look_for_waiting_messages();
    next_for_messages_ = core_.now() + core_.config().stuck_after / 4;
  }
}

void watch::look_for_deadlock() {
  const auto turns = core_.turns_at_rest();
  const bool rested = turns && turns == seen_;
  seen_ = turns;
  if (!rested || turns == judged_ || !core_.main_goes_on()) return;
  judged_ = turns;
  if (core_.awaits_outside() || !is_quiet(core_)) return;
  auto tasks = ask_everybody();
  judged_ = seen_ = core_.turns_at_rest();
  if (!tasks || tasks->empty() || core_.finalizing()) return;
  find_circle(*tasks);
  core_.deadlocked(std::move(*tasks));
}

std::optional<std::vector<deadlocked_task>> watch::ask_everybody() {
  const auto board = std::make_shared<answers>();
  const auto all = core_.living();
  board->open = all.size();
  for (const auto& a : all) core_.post(a->shell().id(), std::make_unique<question>(board));
  const time_point until = core_.now() + patience;
  while (!board->complete() && core_.now() < until) waiter_.wait(core_.now() + std::chrono::milliseconds(1));
  const std::scoped_lock lock(board->mutex);
  if (board->open > 0 || board->goes_on) return std::nullopt;
  return std::move(board->tasks);
}

void watch::look_for_waiting_messages() {
  const time_point now = core_.now();
  for (const auto& a : core_.living()) {
    interpreter& shell = a->shell();
    inbox& box = shell.box();
    const std::size_t waiting = box.backlog();
    const auto known = messages_.find(shell.id());
    if (known != messages_.end() && (waiting == 0 || box.handled_so_far() >= known->second.until)) {
      messages_.erase(known);
    } else if (known != messages_.end()) {
      waiting_message& m = known->second;
      if (m.told || now - m.since < core_.config().stuck_after) continue;
      m.told = true;
      const auto sender = core_.where().look_up(m.sender);
      core_.log(log_level::warn, shell.describe(),
                fmt::format("a message from {} has been waiting for more than {} s: {}; {} message{} in all",
                            m.sender == host_interpreter
                                ? "the host program"
                                : "interpreter " + number_and_name(m.sender, sender ? sender->name : ""),
                            std::chrono::duration<double>(core_.config().stuck_after).count(),
                            shell.turns() == m.turns ? "the turn that goes on does not end" : "others are before it",
                            waiting, waiting == 1 ? " waits" : "s wait"));
      continue;
    }
    if (waiting > 0)
      messages_[shell.id()] = {box.last_sender(), box.handled_so_far() + waiting, shell.turns(), now, false};
  }
  std::erase_if(messages_, [&](const auto& m) { return !core_.lives(m.first); });
}

void find_circle(std::vector<deadlocked_task>& tasks) {
  std::map<interpreter_id, std::vector<std::size_t>> of; // whose tasks are where
  for (std::size_t i = 0; i < tasks.size(); ++i) of[tasks[i].id].push_back(i);
  enum class mark : std::uint8_t { fresh, on_the_way, done };
  std::map<interpreter_id, mark> marks;
  struct step {
    interpreter_id who;
    std::size_t task = 0; // which of its own
    std::size_t whom = 0; // which of those it waits for
  };
  for (const auto& [start, own] : of) {
    std::vector<step> way;
    const auto enter = [&](interpreter_id who) {
      marks[who] = mark::on_the_way;
      way.push_back({who});
    };
    if (marks[start] == mark::fresh) enter(start);
    while (!way.empty()) {
      step& at = way.back();
      const auto& mine = of[at.who];
      if (at.task == mine.size()) {
        marks[at.who] = mark::done;
        way.pop_back();
        continue;
      }
      const auto& whom = tasks[mine[at.task]].wait.whom;
      if (at.whom == whom.size()) {
        ++at.task;
        at.whom = 0;
        continue;
      }
      const interpreter_id next = whom[at.whom];
      if (marks[next] == mark::on_the_way) {
        std::vector<deadlocked_task> ordered;
        std::vector<bool> taken(tasks.size());
        auto from = std::find_if(way.begin(), way.end(), [&](const step& s) { return s.who == next; });
        for (; from != way.end(); ++from) {
          const std::size_t i = of[from->who][from->task];
          taken[i] = true;
          tasks[i].in_circle = true;
          ordered.push_back(tasks[i]);
        }
        for (std::size_t i = 0; i < tasks.size(); ++i)
          if (!taken[i]) ordered.push_back(std::move(tasks[i]));
        tasks = std::move(ordered);
        return;
      }
      ++at.whom;
      if (marks[next] == mark::fresh) enter(next);
    }
  }
}

std::string deadlock_text(const std::vector<deadlocked_task>& tasks) {
  const bool circle = !tasks.empty() && tasks.front().in_circle;
  std::string text = circle ? "deadlock: these wait for each other, and nothing else can happen:"
                            : "deadlock: every task waits, and nothing can happen that would wake one:";
  bool others = false;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const deadlocked_task& t = tasks[i];
    if (i == lines_max) {
      text += fmt::format("\n  and {} more", tasks.size() - i);
      break;
    }
    if (circle && !t.in_circle && !std::exchange(others, true)) text += "\nand these wait, too:";
    text += "\n  " + t.text();
  }
  return text;
}

} // namespace Atoll
