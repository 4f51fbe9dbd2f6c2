#include "tests/model/world.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

namespace Atoll::model {

std::uint16_t message::code() const noexcept {
  return static_cast<std::uint16_t>((static_cast<int>(what) << 10) | (life << 8) | (to << 6) | (credit << 2) | who);
}

message message::of(std::uint16_t code) noexcept {
  return {static_cast<kind>(code >> 10), (code >> 8) & 3, (code >> 6) & 3, (code >> 2) & 15, code & 3};
}

void world::send(const message& m) {
  if (net_size == net_max || m.credit > 15) {
    fault = "the model's bound on messages is too small";
    return;
  }
  const std::uint16_t code = m.code();
  int i = net_size++;
  for (; i > 0 && net[static_cast<std::size_t>(i - 1)] > code; --i)
    net[static_cast<std::size_t>(i)] = net[static_cast<std::size_t>(i - 1)];
  net[static_cast<std::size_t>(i)] = code;
}

void world::remove(int position) {
  std::copy(net.begin() + position + 1, net.begin() + net_size, net.begin() + position);
  net[static_cast<std::size_t>(--net_size)] = 0;
}

namespace {

class bit_writer {
public:
  void put(int value, int bits) {
    pending_ |= static_cast<std::uint64_t>(value) << filled_;
    filled_ += bits;
    if (filled_ < 32) return;
    out.words[static_cast<std::size_t>(size_++)] = static_cast<std::uint32_t>(pending_);
    pending_ >>= 32U;
    filled_ -= 32;
  }
  packed take() {
    if (filled_ > 0) put(0, 32 - filled_);
    out.words[0] |= static_cast<std::uint32_t>(size_);
    return out;
  }

private:
  packed out;
  std::uint64_t pending_ = 0;
  int filled_ = 0;
  int size_ = 0;
};

class bit_reader {
public:
  explicit bit_reader(const std::uint32_t* words) : next_(words) {}
  int get(int bits) {
    if (left_ < bits) {
      pending_ |= static_cast<std::uint64_t>(*next_++) << left_;
      left_ += 32;
    }
    const int value = static_cast<int>(pending_ & ((1U << bits) - 1U));
    pending_ >>= bits;
    left_ -= bits;
    return value;
  }

private:
  const std::uint32_t* next_;
  std::uint64_t pending_ = 0;
  int left_ = 0;
};

constexpr int message_bits = 13;

/// One description of the layout for both directions: f(field, bits).
template <class World, class F>
void each_field(World& w, const configuration& c, F&& f) {
  const std::size_t lives = c.lives.size();
  f(w.sends_left, 4);
  for (std::size_t n = 0; n < static_cast<std::size_t>(c.nodes); ++n) {
    f(w.nodes[n], 2);
    for (std::size_t k = 0; k < lives; ++k) {
      auto& e = w.imports[n][k];
      int there = e.used != 0 || e.proxy != 0 || e.garbage != 0 ? 1 : 0;
      f(there, 1);
      if (there == 0) continue;
      f(e.used, 1);
      f(e.credit, 4);
      f(e.loans_out, 3);
      f(e.uses, 3);
      f(e.pending, 1);
      f(e.requested, 1);
      f(e.lost, 1);
      f(e.lenders, nodes_max);
      f(e.proxy, 1);
      f(e.garbage, 2);
    }
  }
  for (std::size_t k = 0; k < lives; ++k) {
    f(w.lives[k].state, 2);
    f(w.lives[k].due, 2);
    f(w.lives[k].out, 6);
  }
  if (c.calls > 0) {
    f(w.calls_left, 2);
    for (std::size_t i = 0; i < static_cast<std::size_t>(c.calls); ++i) {
      auto& a = w.calls[i];
      f(a.state, 2);
      f(a.caller, 2);
      f(a.target, 2);
      f(a.taken, 2);
    }
  }
  f(w.net_size, 4);
  for (std::size_t i = 0; i < static_cast<std::size_t>(w.net_size); ++i) f(w.net[i], message_bits);
}

} // namespace

packed pack(const world& w, const configuration& c) {
  bit_writer out;
  out.put(0, 5); // the size
  each_field(w, c, [&](const auto& field, int bits) { out.put(static_cast<int>(field), bits); });
  return out.take();
}

world unpack(const std::uint32_t* words, const configuration& c) {
  bit_reader in(words);
  in.get(5);
  world w;
  each_field(w, c, [&](auto& field, int bits) {
    field = static_cast<std::remove_reference_t<decltype(field)>>(in.get(bits));
  });
  return w;
}

symmetry symmetry_of(const configuration& c) {
  const auto alike = [&](int a, int b) {
    for (const place& p : c.lives)
      if (p.owner == a || p.owner == b) return false;
    const auto same = [&](unsigned mask) { return ((mask >> a) & 1U) == ((mask >> b) & 1U); };
    return same(c.mortal) && same(c.finalizing);
  };
  symmetry s;
  for (int a = 0; a < c.nodes; ++a)
    for (int b = a + 1; b < c.nodes; ++b)
      if (alike(a, b)) s.alike.emplace_back(a, b);
  renaming r{0, 1, 2, 3};
  do {
    renaming back{};
    bool fits = true;
    for (int n = 0; n < nodes_max; ++n) {
      const int to = r[static_cast<std::size_t>(n)];
      fits = fits && (to == n || (n < c.nodes && to < c.nodes && alike(n, to)));
      back[static_cast<std::size_t>(to)] = n;
    }
    if (!fits) continue;
    s.all.push_back(r);
    s.back.push_back(back);
  } while (std::next_permutation(r.begin(), r.end()));
  return s;
}

namespace {

bool is_to_node(const message& m) {
  return m.what == kind::reference || m.what == kind::grant || m.what == kind::loan_return;
}
bool has_who(const message& m, const configuration& c) {
  return m.what == kind::request || m.what == kind::call
         || (m.what == kind::reference && (m.credit == 0 || c.take_back));
}

std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 31U)) * 0xD6E8FEB86659FD93U;
  return (x ^ (x >> 32U)) * 0x9E3779B97F4A7C15U;
}

/// A number for each interpreter that does not depend on names.
std::array<std::uint64_t, nodes_max> marks(const world& w, const configuration& c) {
  std::array<std::uint64_t, nodes_max> all{};
  for (std::size_t n = 0; n < static_cast<std::size_t>(c.nodes); ++n) {
    std::uint64_t h = static_cast<std::uint64_t>(w.nodes[n]);
    for (std::size_t k = 0; k < c.lives.size(); ++k) {
      const import& e = w.imports[n][k];
      const int bits = e.used | (e.credit << 1) | (e.loans_out << 5) | (e.uses << 8) | (e.pending << 11)
                       | (e.requested << 12) | (e.lost << 13) | (e.proxy << 14) | (e.garbage << 15);
      h = (h << 17U | h >> 47U) ^ static_cast<std::uint64_t>(bits);
    }
    all[n] = mixed(h);
  }
  const auto add = [&](int node, std::uint64_t what) { all[static_cast<std::size_t>(node)] += mixed(what + 1); };
  for (std::size_t i = 0; i < static_cast<std::size_t>(w.net_size); ++i) {
    message m = message::of(w.net[i]);
    const bool to_node = is_to_node(m);
    const bool named = has_who(m, c);
    const int to = to_node ? std::exchange(m.to, 0) : 0;
    const int who = named ? std::exchange(m.who, 0) : 0;
    if (to_node) add(to, m.code() * 2U);
    if (named) add(who, m.code() * 2U + 1U);
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(c.calls); ++i)
    if (w.calls[i].state != call_state::unused) add(w.calls[i].caller, (1U << 20U) + i);
  return all;
}

} // namespace

world renamed(const world& w, const configuration& c, const renaming& to) {
  const auto name = [&](int n) { return to[static_cast<std::size_t>(n)]; };
  world r = w;
  for (std::size_t n = 0; n < static_cast<std::size_t>(c.nodes); ++n) {
    const auto as = static_cast<std::size_t>(to[n]);
    r.nodes[as] = w.nodes[n];
    r.imports[as] = w.imports[n];
    for (import& e : r.imports[as]) {
      int lenders = 0;
      for (int l = 0; e.lenders >> l != 0; ++l)
        if (((e.lenders >> l) & 1) != 0) lenders |= 1 << name(l);
      e.lenders = lenders;
    }
  }
  for (call& a : r.calls)
    if (a.state != call_state::unused) a.caller = name(a.caller);
  r.net_size = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(w.net_size); ++i) {
    message m = message::of(w.net[i]);
    if (is_to_node(m)) m.to = name(m.to);
    if (has_who(m, c)) m.who = name(m.who);
    r.send(m);
  }
  return r;
}

packed canonical(const world& w, const configuration& c, const symmetry& s) {
  if (s.alike.empty()) return pack(w, c);
  // Only the renamings that sort the marks; of several, which take equal marks apart, the least packed form.
  const auto mark = marks(w, c);
  packed least;
  for (std::size_t i = 0; i < s.all.size(); ++i) {
    const bool sorted = std::all_of(s.alike.begin(), s.alike.end(), [&](const std::pair<int, int>& p) {
      const auto at = [&](int place) {
        return mark[static_cast<std::size_t>(s.back[i][static_cast<std::size_t>(place)])];
      };
      return at(p.first) <= at(p.second);
    });
    if (!sorted) continue;
    const packed other = i == 0 ? pack(w, c) : pack(renamed(w, c, s.all[i]), c);
    if (least.words[0] == 0 || other.words < least.words) least = other;
  }
  return least;
}

std::string node_name(int node) { return std::string(1, static_cast<char>('A' + node)); }
std::string life_name(int life) { return std::string(1, static_cast<char>('x' + life)); }

std::string describe(const message& m, const world& w, const configuration& c) {
  const std::string object = life_name(m.life);
  const std::string owner = node_name(c.lives[static_cast<std::size_t>(m.life)].owner);
  const auto weight = [&] {
    return m.credit > 0 ? "credit " + std::to_string(m.credit) : "a loan of " + node_name(m.who);
  };
  switch (m.what) {
  case kind::reference: return "reference to " + object + " for " + node_name(m.to) + ", " + weight();
  case kind::call:
    return "call " + std::to_string(m.to) + " of " + node_name(m.who) + " on " + owner + "'s " + object + ", "
           + weight();
  case kind::decref: return "decref of " + object + " to " + owner + ", credit " + std::to_string(m.credit);
  case kind::request: return "credit_request of " + node_name(m.who) + " for " + object + " to " + owner;
  case kind::grant: return "credit_grant for " + object + " to " + node_name(m.to) + ", " + std::to_string(m.credit);
  case kind::loan_return: return "loan_return of " + object + " to " + node_name(m.to);
  case kind::reply:
    return "answer to call " + std::to_string(m.to) + " of " + node_name(w.calls[static_cast<std::size_t>(m.to)].caller)
           + ", " + (m.credit == 1 ? "a result" : "interpreter_gone");
  }
  return {};
}

std::string describe(const world& w, const configuration& c) {
  std::string text;
  for (std::size_t k = 0; k < c.lives.size(); ++k) {
    static const char* const states[] = {"not exported yet", "exported", "dropped", "died with its owner"};
    const life& l = w.lives[k];
    text += "  " + life_name(static_cast<int>(k)) + " " + states[static_cast<int>(l.state)] + ", out "
            + std::to_string(l.out) + (l.due > 0 ? ", due\n" : "\n");
  }
  for (int n = 0; n < c.nodes; ++n) {
    const node_state state = w.nodes[static_cast<std::size_t>(n)];
    for (std::size_t k = 0; k < c.lives.size(); ++k) {
      const import& e = w.imports[static_cast<std::size_t>(n)][k];
      if (e == import{}) continue;
      text += "  " + node_name(n) + (state == node_state::gone ? "'s tombstone for " : "'s import of ")
              + life_name(static_cast<int>(k)) + ": ";
      if (e.used != 0) {
        text += "credit " + std::to_string(e.credit) + ", uses " + std::to_string(e.uses) + ", loans out "
                + std::to_string(e.loans_out);
        if (e.requested != 0) text += ", asked";
        if (e.lost != 0) text += ", lost";
        if (e.pending != 0) text += ", pending, leans on";
        for (int l = 0; l < nodes_max; ++l)
          if (((e.lenders >> l) & 1) != 0) text += " " + node_name(l);
      } else {
        text += "none";
      }
      if (e.proxy != 0) text += "; a proxy";
      if (e.garbage != 0) text += "; " + std::to_string(e.garbage) + " proxies wait for their finalizer";
      text += "\n";
    }
  }
  for (int i = 0; i < w.net_size; ++i)
    text += "  in flight: " + describe(message::of(w.net[static_cast<std::size_t>(i)]), w, c) + "\n";
  return text;
}

} // namespace Atoll::model
