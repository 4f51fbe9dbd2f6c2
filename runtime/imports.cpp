#include "runtime/imports.hpp"

#include <algorithm>

namespace Atoll {

import_table::index import_table::receive(const wire_ref& ref) {
  index i = find(ref.id);
  if (i == none) i = insert(ref.id);
  entry& e = entries_[i];
  e.type = ref.type;
  ++e.uses;
  if (ref.credit > 0) {
    pay_back(i);
    add_credit(e, ref.credit);
  } else if (e.credit > 0 || e.pending || e.lost) {
    queue_.add({protocol_message::kind::loan_return, 1, ref.lender, e.id});
  } else {
    lenders_[i] = ref.lender;
    e.pending = true;
    request_credit(e);
  }
  return i;
}

wire_ref import_table::give(index i) {
  entry& e = entries_[i];
  if (e.pending || e.credit < 2) return lend(e);
  const std::uint32_t half = e.credit / 2;
  e.credit -= half;
  if (e.credit <= policy_.low) request_credit(e);
  return {e.id, half, {}, e.type};
}

wire_ref import_table::give_target(index i) {
  entry& e = entries_[i];
  if (e.pending || e.credit < 2) return lend(e);
  --e.credit;
  if (e.credit <= policy_.low) request_credit(e);
  return {e.id, 1, {}, e.type};
}

wire_ref import_table::lend(entry& e) {
  ++e.loans_out;
  if (!e.pending) request_credit(e);
  return {e.id, 0, holder_, e.type};
}

void import_table::on_grant(const object_id& id, std::uint32_t credit) {
  const index i = find(id);
  if (i == none) {
    // Asked for, then let go before the answer: it goes straight home.
    if (credit > 0) queue_.add_decref(id, credit);
    return;
  }
  entry& e = entries_[i];
  e.requested = false;
  e.lost = credit == 0;
  pay_back(i);
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
      pay_back(i);
    }
    settle(i);
    if (e.used && e.loans_out == 0 && !e.pending && e.credit > 0)
      throw std::bad_alloc(); // not settled: to be tried again
  }
}

std::vector<import_table::pinned> import_table::take_pinned() {
  std::vector<pinned> all;
  for (index i = 0; i < entries_.size(); ++i) {
    entry& e = entries_[i];
    if (!e.used || e.loans_out == 0) continue;
    all.push_back({e.id, e.credit, e.loans_out, {}});
    if (e.pending) all.back().owed.push_back(lenders_.at(i));
    erase(i);
  }
  return all;
}

void import_table::put_back(const wire_ref& ref) {
  if (ref.credit == 0) return on_loan_return(ref.id, 1);
  const index i = find(ref.id);
  if (i != none) return add_credit(entries_[i], ref.credit);
  queue_.add_decref(ref.id, ref.credit);
}

// The whole path of letting go in one function: it is what dropping references in bulk costs.
[[gnu::flatten]] void import_table::settle(index i) {
  entry& e = entries_[i];
  if (e.uses > 0 || e.loans_out > 0 || e.pending) return;
  try {
    if (e.credit > 0) queue_.add_decref(e.id, e.credit);
  } catch (const std::bad_alloc&) {
    return; // uses end in destructors: it goes home with the next settling of this entry, at the latest by drop_all_uses()
  }
  ++releases_;
  erase(i);
}

void import_table::add_credit(entry& e, std::uint32_t credit) {
  const std::uint64_t sum = std::uint64_t{e.credit} + credit;
  const std::uint64_t surplus = sum > policy_.cap ? std::max(sum / 2, sum - policy_.cap) : 0;
  e.credit = static_cast<std::uint32_t>(sum - surplus);
  if (surplus > 0) queue_.add_decref(e.id, static_cast<std::uint32_t>(surplus));
}

void import_table::request_credit(entry& e) {
  if (e.requested || e.lost) return;
  e.requested = true;
  queue_.add({protocol_message::kind::credit_request, 0, e.id.owner, e.id});
}

void import_table::pay_back(index i) {
  entry& e = entries_[i];
  if (!e.pending) return;
  e.pending = false;
  const auto lender = lenders_.find(i);
  queue_.add({protocol_message::kind::loan_return, 1, lender->second, e.id});
  lenders_.erase(lender);
}

import_table::index import_table::find(const object_id& id) const noexcept {
  const index i = index_.find(id.owner, id.slot);
  return i != none && entries_[i].id == id ? i : none;
}

import_table::index import_table::insert(const object_id& id) {
  const index i = free_ != none ? free_ : entries_.grow();
  index_.set(id.owner, id.slot, i);
  entry& e = entries_[i];
  if (i == free_) free_ = e.id.slot;
  e.id = id;
  e.used = true;
  ++live_;
  return i;
}

void import_table::erase(index i) {
  entry& e = entries_[i];
  index_.clear(e.id.owner, e.id.slot, i);
  if (e.pending) lenders_.erase(i);
  e = entry{};
  e.id.slot = free_;
  free_ = i;
  --live_;
}

std::vector<protocol_message> import_table::words() const {
  std::vector<protocol_message> all;
  for (const decref_run& run : queue_.decrefs)
    for (std::uint32_t k = 0; k < run.count; ++k)
      all.push_back({protocol_message::kind::decref, run.credit, run.owner, {run.owner, run.slot + k, run.generation}});
  all.insert(all.end(), queue_.others.begin(), queue_.others.end());
  return all;
}

std::vector<protocol_message> import_table::take_words() {
  std::vector<protocol_message> all = words();
  queue_.clear();
  return all;
}

std::size_t import_table::bytes() const noexcept {
  return entries_.bytes() + index_.bytes() + lenders_.size() * (sizeof(index) + sizeof(interpreter_id) + sizeof(void*));
}

} // namespace Atoll
