// The model and the real tables, side by side: random walks through the model, each step taken by import_table and
// export_table too, everything compared after it. So what the search shows of the model is said of the code.
//
// The network, the tombstones and the order of steps are the model's; channels/ and actors/ are not run here.
// A failing walk prints its seed: ATOLL_SEED=n test_model -tc="tables:*" replays it.

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "runtime/exports.hpp"
#include "runtime/imports.hpp"
#include "tests/model/configurations.hpp"
#include "tests/model/invariants.hpp"
#include "tests/runtime/wire_buffer.hpp"
#include "tests/seeds.hpp"

using namespace Atoll::model;
using Atoll::credit_policy;
using Atoll::export_table;
using Atoll::import_table;
using Atoll::interpreter_id;
using Atoll::object_id;
using Atoll::protocol_message;
using Atoll::wire_ref;

namespace {

using random_bits = std::mt19937_64;

std::size_t at(int i) { return static_cast<std::size_t>(i); }
interpreter_id id_of(int node) { return interpreter_id{static_cast<std::uint64_t>(node) + 1}; }
int node_of(interpreter_id id) { return static_cast<int>(Atoll::number(id)) - 1; }

configuration some(random_bits& random) {
  const auto below = [&](unsigned n) { return static_cast<int>(random() % n); };
  const std::vector<std::vector<place>> lives = {
      {{0, 0}}, {{0, 0}, {0, 0}}, {{0, 0}, {1, 0}}, {{0, 0}, {1, 0}, {0, 0}}};
  configuration c{.name = "a walk", .nodes = 3 + below(2), .lives = lives[at(below(4))], .grant = 1 + below(4)};
  c.cap = c.grant + 1 + below(3);
  c.sends = 3 + below(9);
  c.calls = below(3);
  c.mortal = below(3) > 0 ? static_cast<unsigned>(below(16)) : 0;
  c.finalizing = below(2) > 0 ? static_cast<unsigned>(below(16)) : 0;
  c.take_back = below(2) > 0;
  c.late_finalizers = true;
  c.to_itself = below(2) > 0;
  return c;
}

/// The real tables of a modelled world, and what they send.
class mirror {
public:
  mirror(const configuration& c, const world& start)
      : c_(c), before_(start), slots_(c.lives.size()), ids_(c.lives.size()) {
    const credit_policy policy{static_cast<std::uint32_t>(c.grant), static_cast<std::uint32_t>(c.low),
                               static_cast<std::uint32_t>(c.cap)};
    for (int n = 0; n < c.nodes; ++n) {
      exports_.emplace_back(id_of(n), policy);
      imports_.emplace_back(id_of(n), policy);
    }
  }

  /// Nothing, or how the tables differ from `after`.
  std::string follow(const step& s, const world& after) {
    take(s, after);
    for (int n = 0; n < c_.nodes; ++n) flush(n);
    before_ = after;
    compare(after);
    return why_;
  }

private:
  int owner_of(int life) const { return c_.lives[at(life)].owner; }
  import_table::index index(int h, int life) { return imports_[at(h)].find(ids_[at(life)]); }
  node_state state_of(int node) const { return before_.nodes[at(node)]; }
  void differs(const char* what) {
    if (why_.empty()) why_ = what;
  }

  void take(const step& s, const world& after) {
    switch (s.what) {
    case action::send:
      if (before_.lives[at(s.life)].state == life_state::unborn)
        slots_[at(s.life)] = exports_[at(s.who)].add(static_cast<Atoll::guest_word>(s.life));
      post(kind::reference, s, minted(s));
      break;
    case action::forward: post(kind::reference, s, imports_[at(s.who)].give(index(s.who, s.life))); break;
    case action::call: post(kind::call, s, imports_[at(s.who)].give_target(index(s.who, s.life))); break;
    case action::finalize: imports_[at(s.who)].drop_use(index(s.who, s.life)); break;
    case action::handle:
      unpost(s.about);
      if (state_of(s.who) == node_state::gone) {
        dispose(s.about);
      } else {
        handle(s.who, s.about);
      }
      break;
    case action::destroy:
      unpost(s.about);
      dispose(s.about);
      break;
    case action::take_back: take_back(s.about); break;
    case action::drop: drop(s, after); break;
    case action::answer: net_.push_back({kind::reply, 0, s.to, 1, 0}); break;
    case action::drop_imports: imports_[at(s.who)].drop_all_uses(); break;
    case action::end: end(s.who); break;
    case action::collect: // the proxy's use ends with its finalizer
    case action::bury: break;
    }
  }

  wire_ref minted(const step& s) {
    const wire_ref ref = exports_[at(s.who)].mint(slots_[at(s.life)]);
    ids_[at(s.life)] = ref.id;
    return ref;
  }

  void post(kind what, const step& s, const wire_ref& ref) {
    const int sender = what == kind::call || c_.take_back ? s.who : 0;
    net_.push_back({what, s.life, s.to, static_cast<int>(ref.credit), ref.credit == 0 ? node_of(ref.lender) : sender});
  }

  void unpost(const message& m) {
    const auto it = std::find(net_.begin(), net_.end(), m);
    if (it == net_.end()) return differs("a message the tables never sent");
    net_.erase(it);
  }

  wire_ref ref_in(const message& m) const {
    return {ids_[at(m.life)], static_cast<std::uint32_t>(m.credit), m.credit > 0 ? interpreter_id{} : id_of(m.who)};
  }

  void handle(int to, const message& m) {
    const object_id& id = ids_[at(m.life)];
    const bool finalizing = state_of(to) == node_state::finalizing;
    const auto credit = static_cast<std::uint32_t>(m.credit);
    switch (m.what) {
    case kind::reference:
      if (to == owner_of(m.life)) return come_home(m);
      {
        const auto i = imports_[at(to)].receive(ref_in(m));
        if (finalizing || before_.imports[at(to)][at(m.life)].proxy != 0) imports_[at(to)].drop_use(i);
      }
      break;
    case kind::call:
      come_home(m);
      if (finalizing) net_.push_back({kind::reply, 0, m.to, 2, 0});
      break;
    case kind::decref: exports_[at(to)].take_back(id, credit); break;
    case kind::request:
      net_.push_back({kind::grant, m.life, m.who, static_cast<int>(exports_[at(to)].grant(id)), 0});
      break;
    case kind::grant: imports_[at(to)].on_grant(id, credit); break;
    case kind::loan_return: imports_[at(to)].on_loan_return(id, 1); break;
    case kind::reply: break;
    }
  }

  void come_home(const message& m) {
    export_table& owner = exports_[at(owner_of(m.life))];
    if (owner.find(ids_[at(m.life)]) != static_cast<Atoll::guest_word>(m.life)) differs("an object that is not there");
    if (m.credit == 0) {
      net_.push_back({kind::loan_return, m.life, m.who, 0, 0});
    } else {
      owner.take_back(ids_[at(m.life)], static_cast<std::uint32_t>(m.credit));
    }
  }

  void take_back(const message& m) {
    unpost(m);
    if (owner_of(m.life) == m.who) {
      exports_[at(m.who)].take_back(ids_[at(m.life)], static_cast<std::uint32_t>(m.credit));
    } else {
      imports_[at(m.who)].put_back(ref_in(m));
    }
  }

  /// channels/disposal.hpp, in the model's words.
  void dispose(const message& m) {
    const message decref{kind::decref, m.life, 0, m.credit, 0};
    switch (m.what) {
    case kind::reference:
    case kind::call:
      net_.push_back(m.credit > 0 ? decref : message{kind::loan_return, m.life, m.who, 0, 0});
      if (m.what == kind::call) net_.push_back({kind::reply, 0, m.to, 2, 0});
      break;
    case kind::request: net_.push_back({kind::grant, m.life, m.who, 0, 0}); break;
    case kind::grant:
      if (m.credit > 0) net_.push_back(decref);
      break;
    case kind::loan_return: return_to_tombstone(m.to, m.life); break;
    case kind::decref:
    case kind::reply: break;
    }
  }

  void return_to_tombstone(int h, int life) {
    const auto it = tombstones_.find({h, life});
    if (it == tombstones_.end()) return;
    if (--it->second.loans_out > 0) return;
    if (it->second.credit > 0) net_.push_back({kind::decref, life, 0, static_cast<int>(it->second.credit), 0});
    for (const interpreter_id owed : it->second.owed) net_.push_back({kind::loan_return, life, node_of(owed), 0, 0});
    tombstones_.erase(it);
  }

  /// The real owner drops all that is due at once; the walks avoid states in which the model has more to drop.
  void drop(const step& s, const world& after) {
    std::vector<Atoll::guest_word> dropped;
    while (const auto word = exports_[at(s.who)].take_due()) dropped.push_back(*word);
    std::vector<Atoll::guest_word> expected;
    if (after.lives[at(s.life)].state == life_state::dropped)
      expected.push_back(static_cast<Atoll::guest_word>(s.life));
    if (dropped != expected) differs("what was dropped");
  }

  void end(int node) {
    for (int i = 0; i < c_.calls; ++i) {
      const call& a = before_.calls[at(i)];
      if (a.taken == 1 && owner_of(a.target) == node) net_.push_back({kind::reply, 0, i, 2, 0});
    }
    import_table& t = imports_[at(node)];
    t.drop_all_uses();
    flush(node);
    for (const import_table::pinned& p : t.take_pinned()) tombstones_[{node, life_of(p.id)}] = p;
    if (t.size() > 0) differs("an import outlived its holder");
  }

  int life_of(const object_id& id) {
    const auto it = std::find(ids_.begin(), ids_.end(), id);
    if (it == ids_.end()) differs("an id nobody exported");
    return it == ids_.end() ? 0 : static_cast<int>(it - ids_.begin());
  }

  void flush(int node) {
    for (const protocol_message& m : imports_[at(node)].take_words()) {
      const int life = life_of(m.id);
      switch (m.what) {
      case protocol_message::kind::decref: net_.push_back({kind::decref, life, 0, static_cast<int>(m.count), 0}); break;
      case protocol_message::kind::credit_request: net_.push_back({kind::request, life, 0, 0, node}); break;
      case protocol_message::kind::loan_return: net_.push_back({kind::loan_return, life, node_of(m.to), 0, 0}); break;
      }
    }
  }

  void compare(const world& w) {
    world sent;
    for (const message& m : net_) sent.send(m);
    if (sent.net_size != w.net_size || sent.net != w.net) differs("what is in flight");
    for (int n = 0; n < c_.nodes; ++n) {
      for (int k = 0; k < static_cast<int>(c_.lives.size()); ++k) {
        if (owner_of(k) == n) continue;
        if (w.nodes[at(n)] == node_state::gone) {
          compare_tombstone(n, k, w.imports[at(n)][at(k)]);
        } else {
          compare_import(n, k, w.imports[at(n)][at(k)]);
        }
      }
    }
    for (std::size_t k = 0; k < c_.lives.size(); ++k)
      if (w.lives[k].state == life_state::exported
          && exports_[at(c_.lives[k].owner)].out(slots_[k]) != static_cast<std::uint64_t>(w.lives[k].out))
        differs("out");
  }

  void compare_import(int h, int life, const import& e) {
    const import_table& t = imports_[at(h)];
    const auto i = t.find(ids_[at(life)]);
    if ((i != import_table::none) != (e.used != 0)) return differs("which imports there are");
    if (e.used == 0) return;
    if (t.credit_of(i) != static_cast<std::uint32_t>(e.credit)) differs("an import's credit");
    if (t.loans_of(i) != static_cast<std::uint32_t>(e.loans_out)) differs("an import's loans");
    if (t.pending(i) != (e.pending != 0)) differs("whether an import is pending");
  }

  void compare_tombstone(int h, int life, const import& e) {
    const auto it = tombstones_.find({h, life});
    if ((it != tombstones_.end()) != (e.used != 0)) return differs("which tombstones there are");
    if (e.used == 0) return;
    int owed = 0;
    for (const interpreter_id l : it->second.owed) owed |= 1 << node_of(l);
    if (it->second.credit != static_cast<std::uint32_t>(e.credit)
        || it->second.loans_out != static_cast<std::uint32_t>(e.loans_out) || owed != e.lenders)
      differs("a tombstone");
  }

  const configuration& c_;
  world before_;
  std::vector<export_table> exports_;
  std::vector<import_table> imports_;
  std::vector<export_table::slot_index> slots_;
  std::vector<object_id> ids_;
  std::map<std::pair<int, int>, import_table::pinned> tombstones_;
  std::vector<message> net_;
  std::string why_;
};

bool two_due(const world& w, const configuration& c) {
  int owner = -1;
  for (std::size_t k = 0; k < c.lives.size(); ++k) {
    if (w.lives[k].due == 0) continue;
    if (c.lives[k].owner == owner) return true;
    owner = c.lives[k].owner;
  }
  return false;
}

/// One walk, until nothing is left to do; nothing, or what differs.
std::string walk(std::uint64_t seed, mutant broken, std::uint64_t& steps) {
  random_bits random(seed);
  configuration c = some(random);
  c.broken = broken;
  protocol rules(c);
  world w = rules.initial();
  mirror real(c, w);
  std::vector<successor> next;
  for (rules.successors(w, next); !next.empty(); rules.successors(w, next)) {
    const successor s = next[random() % next.size()];
    if (s.to.fault != nullptr || two_due(s.to, c)) break; // a bound of the model; see drop()
    ++steps;
    const std::string different = real.follow(s.how, s.to);
    if (!different.empty()) return different + ", after: " + describe(s.how, w, c) + "\n" + describe(s.to, c);
    w = s.to;
  }
  return {};
}

} // namespace

TEST_CASE("tables: the real tables take every step as the model does") {
  const auto seeds = Atoll::testing::seeds::from_environment(1, 20'000);
  std::uint64_t steps = 0;
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    const std::string different = walk(seed, mutant::none, steps);
    CHECK_MESSAGE(different.empty(), different << "replay with ATOLL_SEED=" << seed);
    if (!different.empty()) break;
  }
  MESSAGE(steps << " steps of " << seeds.count << " walks");
  if (seeds.count > 1) CHECK(steps > 300'000);
}

TEST_CASE("tables: a model with another rule is noticed") {
  for (const mutant broken :
       {mutant::gives_all_credit, mutant::no_lender_pin, mutant::receipt_overwrites, mutant::loan_returned_early,
        mutant::late_grant_lost, mutant::decref_sent_twice, mutant::surplus_lost, mutant::put_back_lost,
        mutant::target_keeps_credit, mutant::loans_collected, mutant::tombstone_forgotten,
        mutant::dead_borrower_keeps_loan, mutant::tombstone_forgets_lender, mutant::borrows_what_is_lost,
        mutant::refill_forgotten, mutant::released_before_last_use, mutant::finalizer_touches_reimport}) {
    std::uint64_t steps = 0;
    bool noticed = false;
    for (std::uint64_t seed = 1; seed <= 20'000 && !noticed; ++seed) noticed = !walk(seed, broken, steps).empty();
    CHECK_MESSAGE(noticed, "mutant " << static_cast<int>(broken));
  }
}
