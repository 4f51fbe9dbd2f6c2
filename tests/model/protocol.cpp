#include "tests/model/protocol.hpp"

#include <algorithm>
#include <utility>

namespace Atoll::model {

world protocol::initial() const {
  world w;
  w.sends_left = c_.sends;
  w.calls_left = c_.calls;
  return w;
}

// -- the holder's side ------------------------------------------------------------------------------------------------

void protocol::receive(int h, int k, const message& m) {
  import& e = at(h, k);
  e.used = 1;
  ++e.uses;
  if (m.credit > 0) {
    pay_back(h, k);
    if (is(mutant::receipt_overwrites)) e.credit = 0;
    add_credit(h, k, m.credit);
  } else if (e.credit > 0 || e.pending != 0 || (e.lost != 0 && !is(mutant::borrows_what_is_lost))) {
    if (is(mutant::loans_collected) && e.pending != 0 && ((e.lenders >> m.who) & 1) == 0) {
      e.lenders |= 1 << m.who;
      return;
    }
    note(m.who == h ? event::to_itself : event::loan_straight_back);
    w_.send({kind::loan_return, k, m.who, 0, 0});
  } else {
    note(event::borrowed);
    e.pending = 1;
    e.lenders = 1 << m.who;
    if (!is(mutant::refill_forgotten)) request_credit(h, k);
    if (is(mutant::loan_returned_early)) {
      w_.send({kind::loan_return, k, m.who, 0, 0});
      e.lenders = 0;
    }
  }
}

void protocol::drop_use(int h, int k) {
  import& e = at(h, k);
  if (--e.uses == 0) return settle(h, k);
  if (!is(mutant::released_before_last_use)) return;
  const int left = std::exchange(e.uses, 0);
  settle(h, k);
  if (e.used != 0) e.uses = left;
}

message protocol::give(int h, int k, int credit) {
  import& e = at(h, k);
  const int least = is(mutant::gives_all_credit) ? 1 : 2;
  if (e.pending != 0 || e.credit < least) {
    if (e.pending != 0) note(event::lender_was_pending);
    note(event::loan);
    if (++e.loans_out > 7) w_.fault = "the model's bound on loans is too small";
    if (e.pending == 0) request_credit(h, k);
    return {kind::reference, k, 0, 0, h};
  }
  if (is(mutant::gives_all_credit)) credit = e.credit;
  e.credit -= credit;
  if (e.credit <= c_.low) request_credit(h, k);
  return {kind::reference, k, 0, credit, sender_of(h)};
}

void protocol::put_back(int h, int k, const message& m) {
  if (m.credit == 0) return on_loan_return(h, k);
  if (at(h, k).pending != 0) note(event::put_back_pending);
  if (at(h, k).used != 0) return add_credit(h, k, m.credit);
  note(event::put_back_late);
  if (!is(mutant::put_back_lost)) send_decref(k, m.credit);
}

void protocol::on_grant(int h, int k, int credit) {
  import& e = at(h, k);
  if (e.used == 0) {
    if (credit > 0) note(event::late_grant);
    if (credit > 0 && !is(mutant::late_grant_lost)) send_decref(k, credit);
    return;
  }
  note(credit > 0 ? event::refill : event::lost);
  e.requested = 0;
  e.lost = credit == 0 ? 1 : 0;
  pay_back(h, k);
  add_credit(h, k, credit);
  if (e.uses == 0) settle(h, k);
}

void protocol::on_loan_return(int h, int k) {
  import& e = at(h, k);
  if (e.used == 0) return;
  if (e.loans_out > 0) --e.loans_out;
  if (e.uses == 0) settle(h, k);
}

void protocol::drop_all_uses(int h) {
  for (int k = 0; k < lives(); ++k) {
    import& e = at(h, k);
    if (e.used == 0) continue;
    e.uses = 0;
    if (e.pending != 0 && e.loans_out == 0) {
      // The grant still to come goes straight home.
      if (is(mutant::dead_borrower_keeps_loan)) e.pending = e.lenders = 0;
      pay_back(h, k);
    }
    settle(h, k);
  }
}

void protocol::settle(int h, int k) {
  import& e = at(h, k);
  if (e.uses > 0 || (e.loans_out > 0 && !is(mutant::no_lender_pin)) || e.pending != 0) return;
  send_decref(k, e.credit);
  if (is(mutant::decref_sent_twice)) send_decref(k, e.credit);
  erase(h, k);
}

void protocol::add_credit(int h, int k, int credit) {
  import& e = at(h, k);
  const int sum = e.credit + credit;
  const int surplus = sum > c_.cap ? std::max(sum / 2, sum - c_.cap) : 0;
  e.credit = sum - surplus;
  if (surplus == 0) return;
  note(event::surplus);
  if (!is(mutant::surplus_lost)) send_decref(k, surplus);
}

void protocol::request_credit(int h, int k) {
  import& e = at(h, k);
  if (e.requested != 0 || e.lost != 0) return;
  e.requested = 1;
  w_.send({kind::request, k, 0, 0, h});
}

void protocol::pay_back(int h, int k) {
  import& e = at(h, k);
  if (e.pending == 0) return;
  for (int l = 0; l < nodes_max; ++l)
    if (((e.lenders >> l) & 1) != 0) w_.send({kind::loan_return, k, l, 0, 0});
  e.pending = e.lenders = 0;
}

void protocol::erase(int h, int k) {
  import& e = at(h, k);
  // What the guest has does not go with the entry: the rules must see to that.
  const int proxy = e.proxy;
  const int garbage = e.garbage;
  e = {};
  e.proxy = proxy;
  e.garbage = garbage;
}

void protocol::send_decref(int k, int credit) {
  if (credit > 0) w_.send({kind::decref, k, 0, credit, 0});
}

// -- the owner's side -------------------------------------------------------------------------------------------------

bool protocol::exportable(int k) {
  if (!alive(owner_of(k))) return false;
  if (life_at(k).state != life_state::unborn) return life_at(k).state == life_state::exported;
  const place& p = c_.lives[static_cast<std::size_t>(k)];
  for (int other = 0; other < k; ++other) {
    const place& q = c_.lives[static_cast<std::size_t>(other)];
    if (q.owner == p.owner && q.slot == p.slot && life_at(other).state != life_state::dropped) return false;
  }
  return true;
}

void protocol::mint(int k) {
  life& l = life_at(k);
  if (l.state == life_state::unborn) {
    const place& p = c_.lives[static_cast<std::size_t>(k)];
    for (int other = 0; other < k; ++other)
      if (c_.lives[static_cast<std::size_t>(other)].owner == p.owner
          && c_.lives[static_cast<std::size_t>(other)].slot == p.slot)
        note(event::slot_reused);
  }
  l.state = life_state::exported;
  if (l.due > 0) note(event::minted_while_due);
  l.out += c_.grant;
  if (l.out > 63) w_.fault = "the model's bound on credit is too small";
}

int protocol::resolve(int k) {
  if (life_at(k).state == life_state::exported) return k;
  if (!is(mutant::generation_ignored)) return -1;
  const place& p = c_.lives[static_cast<std::size_t>(k)];
  for (int other = 0; other < lives(); ++other) {
    const place& q = c_.lives[static_cast<std::size_t>(other)];
    if (q.owner == p.owner && q.slot == p.slot && life_at(other).state == life_state::exported) return other;
  }
  return -1;
}

void protocol::take_back(int k, int credit) {
  const int found = resolve(k);
  if (found < 0) return;
  life& l = life_at(found);
  if (credit > l.out || credit == 0) return;
  l.out -= credit;
  if (l.out == 0 && (l.due == 0 || is(mutant::listed_due_twice)) && l.due < 3) ++l.due;
}

void protocol::come_home(const message& m) {
  if (resolve(m.life) != m.life) w_.fault = "I2: a reference came home, and its object was not there any more";
  if (m.credit == 0) {
    w_.send({kind::loan_return, m.life, m.who, 0, 0});
  } else if (m.what != kind::call || !is(mutant::target_keeps_credit)) {
    take_back(m.life, m.credit);
  }
}

// -- messages and ends ------------------------------------------------------------------------------------------------

int protocol::receiver_of(const message& m) {
  switch (m.what) {
  case kind::reference:
  case kind::grant:
  case kind::loan_return: return m.to;
  case kind::reply: return call_at(m.to).caller;
  default: return owner_of(m.life);
  }
}

void protocol::handle(const message& m) {
  const int to = receiver_of(m);
  if (is_gone(to)) return dispose(m);
  switch (m.what) {
  case kind::reference: {
    if (to == owner_of(m.life)) return come_home(m);
    import& e = at(to, m.life);
    if (e.garbage > 0 && e.proxy == 0) note(event::reimported);
    receive(to, m.life, m);
    if (state_of(to) == node_state::finalizing) {
      note(event::refused);
      drop_use(to, m.life);
    } else if (e.proxy != 0) {
      drop_use(to, m.life); // the proxy has a use of its own
    } else {
      e.proxy = 1;
    }
    break;
  }
  case kind::call: return handle_call(m);
  case kind::decref: return take_back(m.life, m.credit);
  case kind::request: {
    const int found = resolve(m.life);
    if (found < 0) note(event::stale_request);
    if (found >= 0) mint(found);
    w_.send({kind::grant, m.life, m.who, found >= 0 ? c_.grant : 0, 0});
    break;
  }
  case kind::grant: return on_grant(to, m.life, m.credit);
  case kind::loan_return: return on_loan_return(to, m.life);
  case kind::reply: {
    call& a = call_at(m.to);
    if (a.state == call_state::open) {
      a.state = call_state::answered;
    } else if (a.state == call_state::answered) {
      w_.fault = "I5: a call was answered twice";
    }
    break;
  }
  }
}

void protocol::handle_call(const message& m) {
  come_home(m);
  if (state_of(owner_of(m.life)) == node_state::finalizing) return reply(m.to, 2);
  call_at(m.to).taken = 1;
}

void protocol::dispose(const message& m) {
  switch (m.what) {
  case kind::reference:
  case kind::call:
    note(event::unread);
    if (!is(mutant::unread_keeps_credit)) {
      if (m.credit == 0) w_.send({kind::loan_return, m.life, m.who, 0, 0});
      send_decref(m.life, m.credit);
    }
    if (m.what == kind::reference) break;
    note(event::call_after_end);
    if (!is(mutant::unread_call_unanswered)) reply(m.to, 2);
    break;
  case kind::request:
    if (!is(mutant::request_to_dead_unanswered)) w_.send({kind::grant, m.life, m.who, 0, 0});
    break;
  case kind::grant: return send_decref(m.life, m.credit);
  case kind::loan_return: return return_to_tombstone(m.to, m.life);
  case kind::decref:
  case kind::reply: break; // to the dead: nothing
  }
}

void protocol::return_to_tombstone(int h, int k) {
  import& e = at(h, k);
  if (e.used == 0 || state_of(h) == node_state::closing) return;
  note(event::loan_to_tombstone);
  if (e.loans_out > 0) --e.loans_out;
  if (e.loans_out > 0) return;
  send_decref(k, e.credit);
  if (!is(mutant::tombstone_forgets_lender)) pay_back(h, k);
  erase(h, k);
}

void protocol::reply(int call, int what) { w_.send({kind::reply, 0, call, what, 0}); }

void protocol::end(int node) {
  // The guest is closed: its proxies and its objects go, and what it was asked is answered.
  for (int k = 0; k < lives(); ++k) {
    at(node, k).proxy = at(node, k).garbage = 0;
    life& l = life_at(k);
    if (owner_of(k) == node && l.state == life_state::exported) l = {life_state::died, 0, 0};
    if (owner_of(k) == node) l.due = 0;
  }
  for (int i = 0; i < c_.calls; ++i) {
    call& a = call_at(i);
    if (a.state == call_state::unused) continue;
    if (a.caller == node && a.state == call_state::open) a.state = call_state::abandoned;
    if (owner_of(a.target) != node) continue;
    if (a.taken == 1) note(event::call_before_end);
    if ((a.taken == 1 && !is(mutant::taken_call_unanswered)) || a.taken == 2) reply(i, 2);
    a.taken = 0;
  }
  drop_all_uses(node);
  for (int k = 0; k < lives(); ++k) {
    const import& e = at(node, k);
    if (e.used == 0) continue;
    if (e.loans_out == 0 || is(mutant::tombstone_forgotten)) {
      erase(node, k);
      continue;
    }
    note(event::tombstone);
    if (e.pending != 0) note(event::tombstone_in_debt);
  }
  state_of(node) = is(mutant::closed_before_tombstones) ? node_state::closing : node_state::gone;
}

// -- which steps there are --------------------------------------------------------------------------------------------

void protocol::successors(const world& from, std::vector<successor>& all) {
  all.clear();
  from_ = &from;
  all_ = &all;
  for (int n = 0; n < c_.nodes; ++n) {
    begin(from);
    if (alive(n)) guest_steps(n);
    answers(n);
    ends(n);
  }
  message_steps();
  owner_steps();
}

void protocol::done(const step& s) { all_->push_back({s, w_}); }

void protocol::guest_steps(int h) {
  const world& from = *from_;
  for (int k = 0; k < lives(); ++k) {
    const import& e = from.imports[static_cast<std::size_t>(h)][static_cast<std::size_t>(k)];
    const bool own = owner_of(k) == h;
    begin(from);
    const bool can_send = own ? exportable(k) : e.proxy != 0 && e.used != 0;
    for (int to = 0; to < c_.nodes && from.sends_left > 0 && can_send; ++to) {
      begin(from);
      if (is_gone(to) || (to == h && !c_.to_itself)) continue;
      --w_.sends_left;
      message m{kind::reference, k, to, c_.grant, sender_of(h)};
      if (own) {
        mint(k);
      } else {
        m = give(h, k, e.credit / 2);
        m.to = to;
      }
      w_.send(m);
      done({own ? action::send : action::forward, h, k, to, {}});
    }
    if (own || e.proxy + e.garbage == 0) continue;
    if (e.proxy != 0 && e.used != 0 && from.calls_left > 0) {
      begin(from);
      message m = give(h, k, 1);
      m.what = kind::call;
      m.to = c_.calls - w_.calls_left--;
      m.who = h;
      call_at(m.to) = {call_state::open, h, k, 0};
      w_.send(m);
      done({action::call, h, k, m.to, {}});
    }
    if (e.proxy != 0 && e.garbage < 3) {
      begin(from);
      at(h, k).proxy = 0;
      if (c_.late_finalizers) {
        ++at(h, k).garbage;
      } else if (e.used != 0) {
        drop_use(h, k);
      }
      done({action::collect, h, k, 0, {}});
    }
    if (e.garbage > 0) {
      begin(from);
      --at(h, k).garbage;
      if (e.used != 0) {
        if (is(mutant::finalizer_touches_reimport)) at(h, k).uses = 1;
        drop_use(h, k);
      }
      done({action::finalize, h, k, 0, {}});
    }
  }
}

void protocol::answers(int h) {
  for (int i = 0; i < c_.calls; ++i) {
    begin(*from_);
    call& a = call_at(i);
    if (a.state == call_state::unused || owner_of(a.target) != h || a.taken != 1) continue;
    a.taken = is(mutant::answered_again_at_end) ? 2 : 0;
    note(event::call_answered);
    reply(i, 1);
    done({action::answer, h, a.target, i, {}});
  }
}

void protocol::message_steps() {
  const world& from = *from_;
  for (int i = 0; i < from.net_size; ++i) {
    if (i > 0 && from.net[static_cast<std::size_t>(i)] == from.net[static_cast<std::size_t>(i - 1)]) continue;
    const message m = message::of(from.net[static_cast<std::size_t>(i)]);
    begin(from);
    const int to = receiver_of(m);
    w_.remove(i);
    handle(m);
    done({action::handle, to, m.life, 0, m});
    if (m.what != kind::reference && m.what != kind::call) continue;
    if (!is_gone(to)) {
      begin(from);
      w_.remove(i);
      dispose(m);
      done({action::destroy, to, m.life, 0, m});
    }
    begin(from);
    if (!c_.take_back || !alive(m.who)) continue;
    w_.remove(i);
    if (owner_of(m.life) == m.who) {
      take_back(m.life, m.credit);
    } else {
      put_back(m.who, m.life, m);
    }
    if (m.what == kind::call) call_at(m.to).state = call_state::answered; // the caller is told at once
    done({action::take_back, m.who, m.life, 0, m});
  }
}

void protocol::owner_steps() {
  for (int k = 0; k < lives(); ++k) {
    begin(*from_);
    life& l = life_at(k);
    if (l.due == 0) continue;
    --l.due;
    if (l.out == 0 || is(mutant::freed_on_temporary_zero)) {
      if (l.state != life_state::exported) w_.fault = "I4: an object was dropped twice";
      l.state = life_state::dropped;
    }
    done({action::drop, owner_of(k), k, 0, {}});
  }
}

void protocol::ends(int node) {
  begin(*from_);
  if (state_of(node) == node_state::closing) {
    state_of(node) = node_state::gone;
    return done({action::bury, node, 0, 0, {}});
  }
  if (is_gone(node)) return;
  if (((c_.mortal >> node) & 1U) != 0) {
    end(node);
    done({action::end, node, 0, 0, {}});
  }
  begin(*from_);
  if (((c_.finalizing >> node) & 1U) != 0 && alive(node)) {
    for (int k = 0; k < lives(); ++k) at(node, k).proxy = at(node, k).garbage = 0;
    drop_all_uses(node);
    state_of(node) = node_state::finalizing;
    done({action::drop_imports, node, 0, 0, {}});
  }
}

std::string describe(const step& s, const world& before, const configuration& c) {
  const std::string who = node_name(s.who);
  const std::string object = life_name(s.life);
  switch (s.what) {
  case action::send: return who + " sends its object " + object + " to " + node_name(s.to);
  case action::forward: return who + " passes " + object + " on to " + node_name(s.to);
  case action::call: return who + " calls " + object + " (call " + std::to_string(s.to) + ")";
  case action::collect: return who + "'s proxy of " + object + (c.late_finalizers ? " becomes garbage" : " is let go");
  case action::finalize: return who + "'s finalizer lets an old proxy of " + object + " go";
  case action::handle: {
    const bool gone = before.nodes[static_cast<std::size_t>(s.who)] == node_state::gone
                      || before.nodes[static_cast<std::size_t>(s.who)] == node_state::closing;
    return who + (gone ? " is gone, disposed of: " : " handles: ") + describe(s.about, before, c);
  }
  case action::destroy: return "destroyed unread: " + describe(s.about, before, c);
  case action::take_back: return who + " takes back: " + describe(s.about, before, c);
  case action::drop: return who + " takes " + object + " off the list of what is due";
  case action::answer: return who + " answers call " + std::to_string(s.to);
  case action::drop_imports: return who + " drops all its imports and goes on";
  case action::end: return who + " ends";
  case action::bury: return who + "'s tombstones stand";
  }
  return {};
}

} // namespace Atoll::model
