#include "tests/torture/life.hpp"

#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <new>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "guests/native/native_guest.hpp"
#include "tests/torture/residents.hpp"
#include "tests/torture/scarcity.hpp"

namespace Atoll::torture {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using dice = std::mt19937_64;

template <class T>
errc code_of(const result<T>& r) {
  return r ? errc::ok : r.error().code;
}

/// What threads and injections use of a runtime.
struct tools {
  std::shared_ptr<Atoll::system> runtime;
  std::shared_ptr<ledger> book;
  std::vector<interpreter_handle> who;
  std::vector<ref<>> refs;
  channel<int> items;
  buffer memory;
};

void add_call(const tools& t, dice& d, std::function<void(host&)> call) {
  if (t.who.empty() || t.runtime == nullptr) return;
  if (t.runtime->add_pending_call(t.who[d() % t.who.size()].id(), std::move(call))) ++t.book->accepted;
}

} // namespace

// -- the crowd --------------------------------------------------------------------------------------------------------------

struct crowd::state {
  std::mutex mutex;
  tools now;                // under mutex
  std::vector<ref<>> about; // under mutex: references of many lives
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;

  tools look() {
    const std::scoped_lock lock(mutex);
    return now;
  }
  void show(tools t) {
    const std::scoped_lock lock(mutex);
    std::swap(now, t);
  }
  void keep(ref<> r) {
    ref<> old; // ends behind the lock
    const std::scoped_lock lock(mutex);
    if (about.size() >= 256) {
      old = std::move(about.front());
      about.erase(about.begin(), about.begin() + 128);
    }
    about.push_back(std::move(r));
  }
  ref<> some(dice& d) {
    const std::scoped_lock lock(mutex);
    if (about.empty()) return {};
    std::swap(about[d() % about.size()], about.back());
    ref<> r = about.back();
    if (d() % 2 == 0) about.pop_back();
    return r;
  }

  void act(dice& d);
};

void crowd::state::act(dice& d) {
  const tools t = look();
  if (t.who.empty()) return std::this_thread::yield();
  const interpreter_handle& who = t.who[d() % t.who.size()];
  switch (d() % 14) {
  case 0: (void)who.call<int>("touch", 1).get_for(50ms); break;
  case 1: (void)who.call<int>("touch", 1); break;
  case 2: (void)who.send("pass", std::vector<ref<>>{some(d)}); break;
  case 3:
    if (auto got = who.call<ref<>>("make").get_for(50ms)) keep(std::move(*got));
    break;
  case 4: (void)some(d).call<int>("hit"); break;
  case 5: (void)some(d).call<int>("hit").get_for(50ms); break;
  case 6: (void)some(d); break;
  case 7: add_call(t, d, [book = t.book](host&) { book->note(); }); break;
  case 8: add_call(t, d, [book = t.book, r = some(d)](host&) { book->note(); }); break;
  case 9: (void)t.items.send(1, 1ms); break;
  case 10: (void)t.items.recv(1ms); break;
  case 11:
    if (auto view = t.memory.edit()) view->data()[0] = 'x';
    break;
  case 12: (void)who.send("pass", t.memory, t.items); break;
  default: (void)who.send(d() % 4 == 0 ? "fail" : "chain"); break;
  }
}

crowd::crowd(unsigned threads, std::uint64_t seed) : state_(std::make_unique<state>()) {
  for (unsigned i = 0; i < threads; ++i)
    state_->threads.emplace_back([s = state_.get(), seed, i] {
      dice d(seed * 31 + i);
      while (!s->over) {
        try {
          if (d() % 4 == 0) {
            const poor_thread poor;
            s->act(d);
          } else {
            s->act(d);
          }
        } catch (const std::bad_alloc&) {
          // The thread's own affair.
        }
        if (d() % 8 == 0) std::this_thread::sleep_for(20us);
      }
    });
}

crowd::~crowd() {
  state_->over = true;
  for (std::thread& t : state_->threads) t.join();
}

// -- a life -----------------------------------------------------------------------------------------------------------------

namespace {

class life : public std::enable_shared_from_this<life> {
public:
  life(std::uint64_t seed, crowd::state& with, bool harmless)
      : seed_(seed), dice_(seed), with_(with), harmless_(harmless) {}
  life_result run();

private:
  bool one_in(unsigned n) { return dice_() % n == 0; }
  system_config configure();
  std::string habits();
  void populate();
  void inject(std::string_view phase);
  void judge(const finalization_report& r, double seconds);
  void use_what_is_left();
  void wrong(std::string what) {
    if (result_.wrong.empty()) result_.wrong = std::move(what);
  }

  const std::uint64_t seed_;
  dice dice_;
  crowd::state& with_;
  const bool harmless_;
  const std::shared_ptr<ledger> book_ = std::make_shared<ledger>();
  tools tools_;
  std::set<interpreter_id> born_;
  std::chrono::milliseconds deadline_{5000};
  bool may_be_forced_ = false;
  bool starved_ = false;
  life_result result_;
};

system_config life::configure() {
  system_config c;
  c.workers = 1 + static_cast<unsigned>(dice_() % 3);
  c.languages["native"] = native(native_resident(book_));
  c.languages["lua"] = lua();
  if (one_in(4)) c.credit = {.grant = 4, .low = 1, .cap = 16};
  if (one_in(4)) c.pending_calls = 4;
  c.log = [book = book_](std::string_view) { book->note(); };
  // Kept until the runtime is gone: were finalize() to return too early, this would still be here.
  c.on_phase = [self = shared_from_this()](std::string_view phase) { self->inject(phase); };
  return c;
}

std::string life::habits() {
  std::string own;
  for (const char letter : std::string("escrt"))
    if (one_in(3)) own += letter;
  if (harmless_) return own;
  for (const char letter : std::string("wfk"))
    if (one_in(120)) {
      own += letter;
      may_be_forced_ = true;
    }
  if (one_in(40)) own += 'm';
  return own;
}

void life::populate() {
  const std::size_t size = 1 + dice_() % 4;
  std::vector<std::string> all;
  for (std::size_t i = 0; i < size; ++i) all.push_back(habits());
  if (may_be_forced_) deadline_ = 500ms;
  // The deadline is fixed with the runtime, so the habits were drawn first.
  system_config c = configure();
  c.deadline = deadline_;
  tools_.runtime = std::make_shared<Atoll::system>(std::move(c));
  tools_.book = book_;
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t memory = one_in(8) ? 60'000 + dice_() % 100'000 : 16U << 20U;
    auto made = one_in(3) ? tools_.runtime->spawn<native>({.memory = memory})
                          : tools_.runtime->spawn<lua>({.memory = memory}, lua_resident(), all[i], tools_.who);
    if (!made && made.error().code != errc::out_of_memory) wrong("spawn: " + made.error().message);
    if (!made) continue;
    born_.insert(made->id());
    tools_.who.push_back(*made);
  }
  tools_.items = *tools_.runtime->make_channel<int>({.capacity = 4});
  tools_.memory = *tools_.runtime->make_buffer(100);
  for (const interpreter_handle& h : tools_.who)
    if (auto got = h.call<ref<>>("make").get_for(10s)) tools_.refs.push_back(std::move(*got));
}

// On the supervisor's thread. Whatever was armed at one boundary ends at the next.
void life::inject(std::string_view phase) {
  let_every_nth_fail(0);
  switch (dice_() % 16) {
  case 0:
    if (const auto made = tools_.runtime->spawn_async({.language = "lua"}, code("return {}")).get_for(100ms); made) {
      born_.insert(made->id()); // nothing is closed yet
      if (phase != "close") wrong("an interpreter was born in phase " + std::string(phase));
    }
    break;
  case 1:
    for (const interpreter_handle& h : tools_.who) (void)h.send("touch", 1);
    break;
  case 2:
    for (int i = 0; i < 20; ++i) add_call(tools_, dice_, [book = book_](host&) { book->note(); });
    break;
  case 3:
    add_call(tools_, dice_, [book = book_](host& h) {
      book->note();
      if (auto* const g = dynamic_cast<native_guest*>(h.program()))
        (void)g->context().finalizer(
            [book](native_context& c) { (void)c.finalizer([book](native_context&) { book->note(); }, -1); }, -1);
    });
    break;
  case 4: add_call(tools_, dice_, [](host&) { throw std::runtime_error("as asked"); }); break;
  case 5: add_call(tools_, dice_, [](host&) { throw 5; }); break;
  case 6:
  case 7:
  case 8:
    starved_ = true;
    let_every_nth_fail(2 + static_cast<std::uint32_t>(seed_ % 97));
    break;
  case 9: tools_.refs.clear(); break;
  case 10: // blocks for a little
    add_call(tools_, dice_, [](host&) { std::this_thread::sleep_for(3ms); });
    break;
  case 11:
    for (const interpreter_handle& h : tools_.who) (void)h.kill();
    break;
  case 12:
    for (const interpreter_handle& h : tools_.who) (void)h.interrupt();
    break;
  case 13:
    if (!harmless_ && one_in(60)) { // blocks until long after
      may_be_forced_ = true;
      add_call(tools_, dice_, [book = book_](host&) {
        while (!book->release) std::this_thread::sleep_for(1ms);
      });
    }
    break;
  default: break;
  }
}

void life::judge(const finalization_report& r, double seconds) {
  result_.seconds = seconds;
  result_.over = seconds - std::chrono::duration<double>(deadline_).count();
  result_.verdict = name_of(r.verdict);
  if (result_.over > 1)
    wrong(fmt::format("finalize() took {:.3f} s, with a deadline of {} ms", seconds, deadline_.count()));
  std::set<interpreter_id> told;
  std::uint64_t calls = 0;
  for (const interpreter_report& i : r.interpreters) {
    if (!told.insert(i.id).second) wrong(fmt::format("interpreter {} is told of twice", number(i.id)));
    calls += i.pending_calls_run + i.pending_calls_refused;
    result_.abandoned = result_.abandoned || i.outcome == end_kind::abandoned;
    if (i.outcome == end_kind::failed && !starved_ && i.failure.code != errc::out_of_memory)
      wrong(fmt::format("interpreter {} failed: {}", number(i.id), i.failure.message));
  }
  for (const interpreter_id id : born_)
    if (told.count(id) == 0) wrong(fmt::format("interpreter {} is missing in the report", number(id)));
  if (calls != book_->accepted)
    wrong(fmt::format("{} pending calls were accepted, {} are accounted for", book_->accepted.load(), calls));
  if (r.verdict == finalization_report::verdict_kind::forced && !may_be_forced_ && !starved_)
    wrong("something had to be forced:\n" + to_text(r));
}

void life::use_what_is_left() {
  using results = std::vector<errc>;
  results all;
  for (const interpreter_handle& h : tools_.who) {
    all.push_back(code_of(h.call<int>("touch", 1).get()));
    all.push_back(code_of(h.send("touch", 1)));
    if (h.state() != run_state::gone) wrong("a handle's interpreter is not gone");
  }
  for (const ref<>& r : tools_.refs) all.push_back(code_of(r.call<int>("hit").get()));
  all.push_back(code_of(tools_.items.send(1)));
  all.push_back(code_of(tools_.items.recv()));
  all.push_back(code_of(tools_.memory.look()));
  if (tools_.runtime != nullptr) {
    all.push_back(code_of(tools_.runtime->add_pending_call(interpreter_id{2}, [] {})));
    all.push_back(code_of(tools_.runtime->find("x")));
  }
  for (const errc code : all)
    if (code != errc::runtime_finalized) wrong(fmt::format("after the end something answered {}", name_of(code)));
}

life_result life::run() {
  populate();
  with_.show(tools_);
  const auto until = clock::now() + std::chrono::microseconds(dice_() % 400);
  while (clock::now() < until) std::this_thread::yield();
  const auto start = clock::now();
  const finalization_report r = tools_.runtime->finalize();
  const double seconds = std::chrono::duration<double>(clock::now() - start).count();
  book_->over = true;
  let_every_nth_fail(0);
  with_.show({});
  use_what_is_left();
  // The last of the crowd lets go of it: then everything that was accepted is known.
  while (tools_.runtime.use_count() > 1) std::this_thread::yield();
  judge(r, seconds);
  book_->release = true;
  tools_.runtime.reset();
  use_what_is_left();
  if (book_->too_late > 0) wrong(fmt::format("guest code ran after the end, {} times", book_->too_late.load()));
  return result_;
}

} // namespace

life_result live(std::uint64_t seed, crowd& with, bool harmless) {
  return std::make_shared<life>(seed, with.shared(), harmless)->run();
}

} // namespace Atoll::torture
