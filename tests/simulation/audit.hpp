// The books of a whole runtime between two turns: whether every object's credit adds up.
// Why: I1 and I2 (runtime/exports.hpp) must hold in every state, not only at the end; an error is seen where it happens.
// Threads: one, while nobody runs a turn.
//
// For every object of a living owner:
//   out         == credit of imports + credit in messages + credit on its way home or to a holder + what tombstones pin
//   loans given == loans held: by borrowers, in messages, on their way back, owed by the dead
//   held, lent or in a message  =>  out > 0
#pragma once

#include <map>
#include <set>
#include <string>

#include "channels/directory.hpp"
#include "runtime/exports.hpp"
#include "runtime/imports.hpp"
#include "runtime/records.hpp"

namespace Atoll::test {

class audit {
public:
  explicit audit(const directory& where) {
    where.for_each_tombstone([this](interpreter_id, const tombstone& stone) {
      tally& t = at(stone.id);
      t.credit += stone.credit;
      t.loans_given += stone.loans_out;
      t.loans_held += static_cast<std::int64_t>(stone.owed.size());
      t.needed = true;
    });
  }

  /// What a living holder has. Its protocol words have all been sent: between turns nothing waits.
  void holder(const import_table& imports) {
    if (imports.queued() > 0) violated("protocol words wait after a turn");
    imports.for_each([&](const object_id& id, std::uint32_t credit, std::uint32_t loans) {
      tally& t = at(id);
      t.credit += credit;
      t.loans_given += loans;
      if (imports.pending(imports.find(id))) ++t.loans_held;
      t.needed = true;
      lent = lent || loans > 0;
    });
  }

  /// Takes every envelope of an inbox out, counts it, and puts it back.
  void in_flight(inbox& box) {
    std::vector<envelope_ptr> all;
    while (envelope_ptr e = box.take()) all.push_back(std::move(e));
    for (envelope_ptr& e : all) {
      records(box.id(), e->reader());
      const std::uint32_t count = e->count();
      if (!box.push(std::move(e))) violated("an inbox closed between two turns");
      if (!box.handled(count).empty()) violated("somebody was told of room that is not there");
    }
  }

  /// Records on their way to an interpreter.
  void records(interpreter_id to, wire_reader in) {
    while (!in.at_end()) {
      record r = next_record(in);
      switch (r.kind) {
      case record_kind::decref:
        for (std::uint32_t n = r.body.get_u32(); n > 0; --n) {
          const std::uint32_t slot = r.body.get_u32();
          const std::uint32_t generation = r.body.get_u32();
          at({to, slot, generation}).credit += r.body.get_u32();
        }
        break;
      case record_kind::credit_grant: {
        const object_id id = r.body.get_object_id();
        at(id).credit += r.body.get_u32();
        break;
      }
      case record_kind::loan_return: {
        const object_id id = r.body.get_object_id();
        at(id).loans_held += r.body.get_u32();
        break;
      }
      default: {
        struct counter final : record_visitor {
          explicit counter(audit& a) : self(a) {}
          void on_reference(const wire_ref& ref) override {
            tally& t = self.at(ref.id);
            t.credit += ref.credit;
            t.needed = true;
            if (ref.credit == 0) ++t.loans_held;
          }
          audit& self;
        } count(*this);
        walk_record(r, count);
      }
      }
    }
  }

  /// Last, once for each of the living: compares what its objects have out with what was found.
  void owner(interpreter_id who, const export_table& exports) {
    owners_.insert(who);
    exports.for_each([&](const object_id& id, guest_word, std::uint64_t out) {
      const tally t = at(id);
      tallies_.erase(id);
      const std::string name = "object " + text(id) + ": out " + std::to_string(out) + ", credit "
                               + std::to_string(t.credit) + ", loans given " + std::to_string(t.loans_given) + ", held "
                               + std::to_string(t.loans_held);
      if (t.credit > out) violated("I1: more credit about than was given: " + name);
      if (t.credit < out) violated("I1: credit was lost: " + name);
      if (t.loans_given > t.loans_held) violated("rule 4: a loan was lost: " + name);
      if (t.loans_given < t.loans_held) violated("rule 4: a loan nobody gave: " + name);
    });
  }

  /// The first violation; empty when all is well.
  std::string verdict() {
    for (const auto& [id, t] : tallies_)
      if (owners_.contains(id.owner) && (t.needed || t.credit > 0))
        violated("I2: object " + text(id) + " of a living owner is referred to and not out");
    return why_;
  }

  bool lent = false; // somebody has lent: rule 4 was tried

private:
  struct tally {
    std::uint64_t credit = 0;
    std::int64_t loans_given = 0;
    std::int64_t loans_held = 0;
    bool needed = false;
  };
  static std::string text(const object_id& id) {
    return std::to_string(number(id.owner)) + "." + std::to_string(id.slot) + "." + std::to_string(id.generation);
  }
  tally& at(const object_id& id) { return tallies_[id]; }
  void violated(std::string what) {
    if (why_.empty()) why_ = std::move(what);
  }

  std::map<object_id, tally> tallies_;
  std::set<interpreter_id> owners_;
  std::string why_;
};

} // namespace Atoll::test
