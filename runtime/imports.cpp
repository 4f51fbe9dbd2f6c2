#include "runtime/imports.hpp"

#include <algorithm>

namespace Atoll {

import_table::index import_table::receive(const wire_ref& ref) {
  index i = find(ref.id);
  if (i == none) i = insert(ref.id);
  entry& e = entries_[i];
  ++e.uses;
  if (ref.credit > 0) {
    pay_back(e);
    add_credit(e, ref.credit);
  } else if (e.credit > 0 || e.pending || e.lost) {
    queue_.push_back({protocol_message::kind::loan_return, 1, ref.lender, e.id});
  } else {
    e.pending = true;
    e.lender = ref.lender;
    request_credit(e);
  }
  return i;
}

void import_table::drop_use(index i) {
  if (--entries_[i].uses == 0) settle(i);
}

wire_ref import_table::give(index i) {
  entry& e = entries_[i];
  if (e.pending || e.credit < 2) return lend(e);
  const std::uint32_t half = e.credit / 2;
  e.credit -= half;
  if (e.credit <= policy_.low) request_credit(e);
  return {e.id, half, {}};
}

wire_ref import_table::give_target(index i) {
  entry& e = entries_[i];
  if (e.pending || e.credit < 2) return lend(e);
  --e.credit;
  if (e.credit <= policy_.low) request_credit(e);
  return {e.id, 1, {}};
}

wire_ref import_table::lend(entry& e) {
  ++e.loans_out;
  if (!e.pending) request_credit(e);
  return {e.id, 0, holder_};
}

void import_table::on_grant(const object_id& id, std::uint32_t credit) {
  const index i = find(id);
  if (i == none) {
    // Asked for, then let go before the answer: it goes straight home.
    if (credit > 0) queue_.push_back({protocol_message::kind::decref, credit, id.owner, id});
    return;
  }
  entry& e = entries_[i];
  e.requested = false;
  e.lost = credit == 0;
  pay_back(e);
  add_credit(e, credit);
  if (e.uses == 0) settle(i);
}

void import_table::on_loan_return(const object_id& id, std::uint32_t loans) {
  const index i = find(id);
  if (i == none) return;
  entry& e = entries_[i];
  e.loans_out -= loans < e.loans_out ? loans : e.loans_out;
  if (e.uses == 0) settle(i);
}

void import_table::drop_all_uses() {
  for (index i = 0; i < entries_.size(); ++i) {
    if (!entries_[i].used) continue;
    entry& e = entries_[i];
    e.uses = 0;
    if (e.pending && e.loans_out == 0) {
      // Nobody leans on this borrowed entry any more. The grant still to come goes straight home (on_grant).
      pay_back(e);
    }
    settle(i);
  }
}

std::vector<import_table::pinned> import_table::take_pinned() {
  std::vector<pinned> all;
  for (index i = 0; i < entries_.size(); ++i) {
    entry& e = entries_[i];
    if (!e.used || e.loans_out == 0) continue;
    all.push_back({e.id, e.credit, e.loans_out, {}});
    if (e.pending) all.back().owed.push_back(e.lender);
    erase(i);
  }
  return all;
}

void import_table::put_back(const wire_ref& ref) {
  if (ref.credit == 0) return on_loan_return(ref.id, 1);
  const index i = find(ref.id);
  if (i != none) return add_credit(entries_[i], ref.credit);
  queue_.push_back({protocol_message::kind::decref, ref.credit, ref.id.owner, ref.id});
}

void import_table::settle(index i) {
  entry& e = entries_[i];
  if (e.uses > 0 || e.loans_out > 0 || e.pending) return;
  if (e.credit > 0) queue_.push_back({protocol_message::kind::decref, e.credit, e.id.owner, e.id});
  ++releases_;
  erase(i);
}

void import_table::add_credit(entry& e, std::uint32_t credit) {
  const std::uint64_t sum = std::uint64_t{e.credit} + credit;
  const std::uint64_t surplus = sum > policy_.cap ? std::max(sum / 2, sum - policy_.cap) : 0;
  e.credit = static_cast<std::uint32_t>(sum - surplus);
  if (surplus > 0)
    queue_.push_back({protocol_message::kind::decref, static_cast<std::uint32_t>(surplus), e.id.owner, e.id});
}

void import_table::request_credit(entry& e) {
  if (e.requested || e.lost) return;
  e.requested = true;
  queue_.push_back({protocol_message::kind::credit_request, 0, e.id.owner, e.id});
}

void import_table::pay_back(entry& e) {
  if (!e.pending) return;
  e.pending = false;
  queue_.push_back({protocol_message::kind::loan_return, 1, e.lender, e.id});
}

import_table::index import_table::find(const object_id& id) const noexcept {
  const index i = index_.find(id.owner, id.slot);
  return i != none && entries_[i].id == id ? i : none;
}

import_table::index import_table::insert(const object_id& id) {
  index i = free_;
  if (i == none) {
    i = static_cast<index>(entries_.size());
    entries_.emplace_back();
  } else {
    free_ = entries_[i].next_free;
  }
  index_.set(id.owner, id.slot, i);
  entries_[i].id = id;
  entries_[i].used = true;
  ++live_;
  return i;
}

void import_table::erase(index i) {
  entry& e = entries_[i];
  index_.clear(e.id.owner, e.id.slot, i);
  e = entry{};
  e.next_free = free_;
  free_ = i;
  --live_;
}

} // namespace Atoll
