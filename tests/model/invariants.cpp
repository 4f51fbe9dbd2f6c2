#include "tests/model/invariants.hpp"

namespace Atoll::model {

namespace {

struct tally {
  int credit = 0;
  const char* needed_by = nullptr;
};

using tallies = std::array<tally, lives_max>;

bool lives_on(const world& w, int node) { return w.nodes[static_cast<std::size_t>(node)] < node_state::closing; }

tallies count(const world& w, const configuration& c) {
  tallies all;
  for (std::size_t n = 0; n < static_cast<std::size_t>(c.nodes); ++n) {
    for (std::size_t k = 0; k < c.lives.size(); ++k) {
      const import& e = w.imports[n][k];
      all[k].credit += e.credit;
      if (e.used != 0) all[k].needed_by = w.nodes[n] < node_state::closing ? "an import" : "a tombstone";
      if (e.proxy + e.garbage > 0) all[k].needed_by = "a proxy";
    }
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(w.net_size); ++i) {
    const message m = message::of(w.net[i]);
    if (m.what == kind::reply) continue;
    tally& t = all[static_cast<std::size_t>(m.life)];
    t.credit += m.credit;
    if (m.what == kind::reference || m.what == kind::call) t.needed_by = "a reference in flight";
  }
  return all;
}

std::string adds_up(const world& w, const configuration& c) {
  const tallies all = count(w, c);
  for (std::size_t k = 0; k < c.lives.size(); ++k) {
    const life& l = w.lives[k];
    if (l.state == life_state::died || !lives_on(w, c.lives[k].owner)) continue;
    const std::string object = life_name(static_cast<int>(k));
    if (all[k].needed_by != nullptr && (l.state != life_state::exported || l.out == 0))
      return "I2: " + std::string(all[k].needed_by) + " needs " + object + ", which "
             + (l.state != life_state::exported ? "was dropped" : "has no credit out");
    if (l.out != all[k].credit)
      return "I1: out of " + object + " is " + std::to_string(l.out) + ", credit held and in flight is "
             + std::to_string(all[k].credit);
  }
  return {};
}

std::string all_home(const world& w, const configuration& c) {
  for (int n = 0; n < c.nodes; ++n) {
    for (std::size_t k = 0; k < c.lives.size(); ++k) {
      const import& e = w.imports[static_cast<std::size_t>(n)][k];
      if (e.used == 0) continue;
      const std::string object = life_name(static_cast<int>(k));
      const std::string what = node_name(n) + "'s import of " + object;
      if (!lives_on(w, n)) return "I3: it waits for its loans for ever: " + node_name(n) + "'s tombstone for " + object;
      if (e.uses != e.proxy) return "I3: nobody needs it, and it never settles: " + what;
      if (e.pending != 0 || e.requested != 0) return "I3: it waits for credit for ever: " + what;
      if (e.loans_out != 0) return "I3: it waits for its loans for ever: " + what;
    }
  }
  for (std::size_t k = 0; k < c.lives.size(); ++k)
    if (w.lives[k].state == life_state::exported && w.lives[k].out == 0)
      return "I3: nobody holds " + life_name(static_cast<int>(k)) + ", and it is never dropped";
  for (std::size_t i = 0; i < static_cast<std::size_t>(c.calls); ++i)
    if (w.calls[i].state == call_state::open) return "I5: call " + std::to_string(i) + " is never answered";
  return {};
}

} // namespace

bool quiet(const world& w, const configuration& c) {
  if (w.net_size > 0) return false;
  for (const life& l : w.lives)
    if (l.due > 0) return false;
  for (const call& a : w.calls)
    if (a.taken == 1) return false;
  for (int n = 0; n < c.nodes; ++n) {
    if (w.nodes[static_cast<std::size_t>(n)] == node_state::closing) return false;
    for (const import& e : w.imports[static_cast<std::size_t>(n)])
      if (e.garbage > 0) return false;
  }
  return true;
}

std::string broken_invariant(const world& w, const configuration& c) {
  if (w.fault != nullptr) return w.fault;
  if (std::string why = adds_up(w, c); !why.empty()) return why;
  return quiet(w, c) ? all_home(w, c) : std::string();
}

// Each weighs more than all that its end can bring forth. A reference, for one: an import (3) that is pending (2), a proxy
// (2), a request (4). What an import sends when it settles is paid by the import, the loan it returns by `pending`.
int measure(const world& w, const configuration& c) {
  constexpr std::array<int, 7> weights = {14, 6, 2, 4,
                                          3,  1, 1}; // by kind: reference, call, decref, request, grant, ...
  int sum = 19 * w.sends_left + 11 * w.calls_left;
  for (std::size_t i = 0; i < static_cast<std::size_t>(w.net_size); ++i)
    sum += weights[static_cast<std::size_t>(message::of(w.net[i]).what)];
  for (std::size_t n = 0; n < static_cast<std::size_t>(c.nodes); ++n) {
    sum += 3 - static_cast<int>(w.nodes[n]);
    for (const import& e : w.imports[n]) sum += 3 * e.used + 2 * e.pending + 2 * e.proxy + e.garbage;
  }
  for (const life& l : w.lives) sum += l.due;
  for (const call& a : w.calls) sum += 2 * static_cast<int>(a.taken == 1);
  return sum;
}

} // namespace Atoll::model
