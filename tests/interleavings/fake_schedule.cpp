#include "tests/interleavings/schedule.hpp"

#include <bit>

namespace Atoll::stepped {

namespace {
constexpr std::size_t stack_bytes = 256 * 1024;
constexpr std::size_t steps_max = 500; // a run with more does not end
schedule* present = nullptr;           // that runs a party now
} // namespace

std::vector<const void*>& locked() noexcept {
  static std::vector<const void*> all;
  return all;
}

void about_to(step kind, const void* what, const bool* blocked) noexcept {
  if (present == nullptr) return;
  schedule& s = *present;
  schedule::fiber& f = s.fibers_[static_cast<std::size_t>(s.running_)];
  f.next = {kind, what, blocked};
  swapcontext(&f.context, &s.home_);
}

void schedule::enter(unsigned high, unsigned low) {
  auto* self = reinterpret_cast<schedule*>((static_cast<std::uintptr_t>(high) << 32U) | low);
  for (;;) {
    const int party = self->running_;
    self->world_->live(party);
    fiber& f = self->fibers_[static_cast<std::size_t>(party)];
    f.over = true;
    swapcontext(&f.context, &self->home_);
  }
}

schedule::schedule() {
  for (fiber& f : fibers_) make(f);
}

// By itself: getcontext() may return twice, and no variable of a loop around it may be in a register then.
void schedule::make(fiber& f) {
  const auto self = reinterpret_cast<std::uintptr_t>(this);
  f.stack = std::make_unique<char[]>(stack_bytes);
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack.get();
  f.context.uc_stack.ss_size = stack_bytes;
  f.context.uc_link = nullptr;
  makecontext(&f.context, reinterpret_cast<void (*)()>(&schedule::enter), 2, static_cast<unsigned>(self >> 32U),
              static_cast<unsigned>(self));
}

schedule::~schedule() = default;

schedule::set schedule::possible() const noexcept {
  set all = 0;
  for (unsigned i = 0; i < parties_max; ++i) {
    const fiber& f = fibers_[i];
    if (!f.over && (f.next.blocked == nullptr || !*f.next.blocked)) all |= 1U << i;
  }
  return all;
}

void schedule::take(int party) {
  running_ = party;
  present = this;
  swapcontext(&home_, &fibers_[static_cast<std::size_t>(party)].context);
  present = nullptr;
}

bool schedule::choose() {
  const bool repeated = depth_ < way_.size();
  if (!repeated) way_.emplace_back();
  choice& c = way_[depth_];
  for (unsigned i = 0; i < parties_max; ++i) c.next[i] = fibers_[i].next; // in each run at other addresses
  if (repeated) return true;
  c.possible = possible();
  if (depth_ > 0) {
    const choice& before = way_[depth_ - 1];
    const move& last = before.next[static_cast<std::size_t>(before.taken)];
    for (unsigned i = 0; i < parties_max; ++i)
      if ((((before.sleeping | before.done) >> i) & 1U) != 0 && independent(before.next[i], last))
        c.sleeping |= 1U << i;
  }
  const set fresh = c.possible & ~c.sleeping;
  if (fresh == 0) {
    way_.pop_back();
    return false;
  }
  c.taken = std::countr_zero(fresh);
  return true;
}

const char* schedule::run(findings& f) {
  world_->begin();
  for (std::size_t i = 0; i < static_cast<std::size_t>(world_->parties()); ++i) {
    fibers_[i].next = {step::begin, &fibers_[i], nullptr};
    fibers_[i].over = false;
  }
  for (depth_ = 0; possible() != 0; ++depth_) {
    if (depth_ == steps_max) return "a run that does not end";
    if (!choose()) return finish_run();
    take(way_[depth_].taken);
    ++f.steps;
    if (const char* const why = world_->look()) return why;
  }
  std::array<bool, parties_max> over{};
  for (std::size_t i = 0; i < parties_max; ++i) {
    over[i] = fibers_[i].over;
    if (!over[i] && fibers_[i].next.kind == step::lock) return "parties that wait for each other's locks";
  }
  if (const char* const why = world_->quiet(over)) return why;
  ++f.runs;
  if (depth_ > f.most) f.most = depth_;
  return finish_run();
}

// In any order: what is behind here is known.
const char* schedule::finish_run() {
  world_->let_go();
  for (std::size_t n = 0; n < steps_max; ++n) {
    const set all = possible();
    if (all == 0) return world_->end();
    take(std::countr_zero(all));
  }
  return "a run that does not end";
}

// To the last choice that has another side. False: everything was seen.
bool schedule::back() {
  for (; !way_.empty(); way_.pop_back()) {
    choice& c = way_.back();
    c.done |= 1U << static_cast<unsigned>(c.taken);
    const set fresh = c.possible & ~c.sleeping & ~c.done;
    if (fresh == 0) continue;
    c.taken = std::countr_zero(fresh);
    return true;
  }
  return false;
}

findings schedule::explore(world& w) {
  findings f;
  world_ = &w;
  way_.clear();
  do {
    if (const char* const why = run(f)) {
      f.violation = tell(why);
      return f;
    }
  } while (back());
  return f;
}

std::string schedule::tell(const char* why) const {
  static constexpr std::array words = {" locks ", " reads ", " writes ", " tells ", " is told ", " begins "};
  std::string text = std::string("broken: ") + why + "\n";
  for (std::size_t i = 0; i < way_.size() && i <= depth_; ++i) {
    const move& m = way_[i].next[static_cast<std::size_t>(way_[i].taken)];
    text += "  " + std::string(1, static_cast<char>('A' + way_[i].taken)) + words[static_cast<std::size_t>(m.kind)]
            + (m.kind == step::begin ? "" : world_->name_of(m.what)) + "\n";
  }
  return text;
}

} // namespace Atoll::stepped
