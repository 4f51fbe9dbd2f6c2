// Invariants I1 and I2 of references (runtime/exports.hpp), checked at a still moment over all of a runtime.
// Why: credit is counted in tables, in envelopes and on tombstones; only who sees all of them can tell that none was lost.
// Use: between two turns make one, show it everything there is, in any order, and ask for the violations:
//   every participant (show), every envelope on its way (show_inbox) or half handled (show_in_flight), every tombstone
//   (show_pinned).
// Then, for every object:
//   I1  out == credit of its imports + credit in flight + credit the dead pin, if its owner lives;
//   rule 4  loans given by the living and the dead == loans held, owed or on their way, whoever owns it;
//   I2  nothing refers to an object of the living that is not out;
// and for shared memory (show_buffers): its occurrences in messages are as many as were counted.
// Threads: no turn may run between the first look and the last.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "actors/shell/interpreter.hpp"
#include "channels/directory.hpp"
#include "channels/inbox.hpp"
#include "runtime/exports.hpp"
#include "runtime/imports.hpp"
#include "runtime/records.hpp"

namespace Atoll::test {

/// Between turns: calls f(wire_reader) for each envelope of an inbox; it is taken out and put back. What went wrong with
/// that; empty when nothing.
template <class F>
std::string look_into(inbox& box, F&& f) {
  std::string why;
  std::vector<envelope_ptr> all;
  while (envelope_ptr e = box.take()) all.push_back(std::move(e));
  for (envelope_ptr& e : all) {
    f(e->reader());
    const std::uint32_t count = e->count();
    if (!box.push(std::move(e))) why = "an inbox closed between two turns";
    if (!box.handled(count).empty()) why = "somebody was told of room that is not there";
  }
  return why;
}

class audit {
public:
  /// One of the living. The host program has imports alone.
  void show(interpreter_id id, const import_table& imports, const export_table* exports = nullptr) {
    living_.insert(id);
    if (imports.queued() > 0) blame("protocol words of interpreter " + name(id) + " wait after the turn");
    imports.for_each([&](const object_id& o, std::uint32_t credit, std::uint32_t loans) {
      tally& t = all_[key(o)];
      t.credit += credit;
      t.loans_given += loans;
      t.loans_held += imports.pending(imports.find(o)) ? 1 : 0;
      t.referred_to = true;
      lent_ = lent_ || loans > 0;
    });
    if (exports == nullptr) return;
    exports->for_each([&](const object_id& o, guest_word, std::uint64_t out) { all_[key(o)].out += out; });
  }
  /// Records for `to` that nobody has handled yet.
  void show_in_flight(interpreter_id to, wire_reader records) {
    while (!records.at_end()) {
      record r = next_record(records);
      show_record(to, r);
    }
  }
  void show_inbox(inbox& box) {
    std::string why = look_into(box, [&](wire_reader records) { show_in_flight(box.id(), records); });
    if (!why.empty()) blame(std::move(why));
  }
  void show_pinned(const tombstone& t) {
    tally& sum = all_[key(t.id)];
    sum.credit += t.credit;
    sum.loans_given += t.loans_out;
    sum.loans_held += static_cast<std::int64_t>(t.owed.size());
    sum.referred_to = true;
  }

  void show_buffers(const buffer_space& all) { buffers_counted_ = all.in_flight(); }

  /// Empty when all is well.
  std::vector<std::string> violations() {
    if (buffers_counted_ && *buffers_counted_ != buffers_seen_)
      blame("buffers: " + std::to_string(*buffers_counted_) + " are said to be in messages, and "
            + std::to_string(buffers_seen_) + " are");
    for (const auto& [k, t] : all_) {
      const auto [owner, slot, generation] = k;
      const std::string what = "object " + name(owner) + "." + std::to_string(slot) + "." + std::to_string(generation)
                               + ": out " + std::to_string(t.out) + ", credit " + std::to_string(t.credit)
                               + ", loans given " + std::to_string(t.loans_given) + ", held "
                               + std::to_string(t.loans_held);
      if (t.loans_given != t.loans_held) blame("rule 4, loans do not add up: " + what);
      if (living_.count(owner) == 0) continue; // its objects died with it
      if (t.credit != t.out) blame("I1, credit does not add up: " + what);
      if (t.out == 0 && (t.referred_to || t.credit > 0)) blame("I2, referred to and not out: " + what);
    }
    return violations_;
  }
  /// Whether a loan was seen.
  bool lent() const noexcept { return lent_; }

private:
  using object_key = std::tuple<interpreter_id, std::uint32_t, std::uint32_t>;
  struct tally {
    std::uint64_t out = 0;
    std::uint64_t credit = 0;
    std::int64_t loans_given = 0;
    std::int64_t loans_held = 0;
    bool referred_to = false; // held, lent, pinned or in a message: the object must live
  };

  static object_key key(const object_id& id) { return {id.owner, id.slot, id.generation}; }
  static std::string name(interpreter_id id) { return std::to_string(number(id)); }
  void blame(std::string what) { violations_.push_back(std::move(what)); }

  void show_record(interpreter_id to, record& r) {
    struct counter final : record_visitor {
      explicit counter(audit& a) : self(a) {}
      void on_reference(const wire_ref& ref) override {
        tally& t = self.all_[key(ref.id)];
        t.credit += ref.credit;
        t.loans_held += ref.credit == 0 ? 1 : 0;
        t.referred_to = true;
      }
      void on_buffer(const wire_slice&) override { ++self.buffers_seen_; }
      audit& self;
    };
    wire_reader& in = r.body;
    switch (r.kind) {
    case record_kind::decref:
      for (std::uint32_t n = in.get_u32(); n > 0; --n) {
        const decref_run run = in.get_decrefs(to);
        for (std::uint32_t k = 0; k < run.count; ++k) all_[{to, run.slot + k, run.generation}].credit += run.credit;
      }
      break;
    case record_kind::credit_grant: {
      const object_id id = in.get_object_id();
      all_[key(id)].credit += in.get_u32();
      break;
    }
    case record_kind::loan_return: {
      const object_id id = in.get_object_id();
      all_[key(id)].loans_held += in.get_u32();
      break;
    }
    default: {
      counter c(*this);
      walk_record(r, c);
      break;
    }
    }
  }

  std::set<interpreter_id> living_;
  std::map<object_key, tally> all_;
  std::vector<std::string> violations_;
  std::optional<std::uint64_t> buffers_counted_;
  std::uint64_t buffers_seen_ = 0;
  bool lent_ = false;
};

/// What an interpreter still has when everybody has let go and come to rest.
inline std::vector<std::string> left_over(interpreter& i) {
  std::vector<std::string> all;
  if (i.imports().size() != 0) all.emplace_back("I3: an import is left");
  if (i.exports_live() != 0) all.emplace_back("I3: an export is left");
  if (i.exports().minted() != i.exports().returned()) all.emplace_back("I1: minted and returned differ");
  if (i.exports().added() != i.exports().released()) all.emplace_back("I4: added and released differ");
  if (i.buffers().owned() != 0) all.emplace_back("a block that nobody holds is left");
  if (i.box().backlog() != 0) all.emplace_back("the backlog is wrong");
  if (!i.box().turn().idle()) all.emplace_back("it does not rest");
  return all;
}

} // namespace Atoll::test
